// @ts-check
// Moves the focus when the focused element is removed, so that it does not return to the top of the page.

/** Does `change`. If it hides or removes `place`, which had the focus, `next` has it then. @param {HTMLElement} place @param {() => void} change @param {() => HTMLElement} next */
export function keepFocus(place, change, next) {
  const hadFocus = place.contains(document.activeElement);
  change();
  if (hadFocus && (place.hidden || !place.isConnected)) next().focus();
}
