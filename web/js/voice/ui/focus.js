// @ts-check
// Where the focus goes when what had it is gone: not to the top of the page.

/** Does `change`. If it hides or removes `place`, which had the focus, `next` has it then. @param {HTMLElement} place @param {() => void} change @param {() => HTMLElement} next */
export function keepFocus(place, change, next) {
  const hadFocus = place.contains(document.activeElement);
  change();
  if (hadFocus && (place.hidden || !place.isConnected)) next().focus();
}
