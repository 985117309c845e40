// @ts-check
// Moves the focus when the focused element is removed, so that it does not return to the top of the page.

/** Runs `change`. If this hides or removes `place` while it has the focus, `next` gets the focus. @param {HTMLElement} place @param {() => void} change @param {() => HTMLElement} next */
export function keepFocus(place, change, next) {
  const hadFocus = place.contains(document.activeElement);
  change();
  if (hadFocus && (place.hidden || !place.isConnected)) next().focus();
}
