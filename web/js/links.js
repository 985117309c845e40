// @ts-check
// Tells whether a link works on other machines.

/** Whether other machines cannot open a page of this host. @param {string} hostname */
export function isOnlyHere(hostname) {
  return /^(?:localhost|.+\.localhost|127(?:\.\d+){3}|\[::1\]|0\.0\.0\.0)$/.test(hostname);
}
