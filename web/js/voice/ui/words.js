// @ts-check
// Words in places that are read aloud when they change. The same words again would be read again, so they are left alone.

/** @param {HTMLElement} element @param {string} words */
export function put(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/** And the place is hidden when there are none. @param {HTMLElement} element @param {string} words */
export function putOrHide(element, words) {
  put(element, words);
  element.hidden = words === '';
}
