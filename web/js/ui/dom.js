// @ts-check
// The helpers by which all other files change the document. Text of other members is inserted as text only.

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return element;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {{className?: string, text?: string, testid?: string}} [options]
 * @param {Node[]} [children]
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, { className, text, testid } = {}, children = []) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  if (testid) element.dataset['testid'] = testid;
  element.append(...children);
  return element;
}

/** An icon of the page's SVG sprite. @param {string} id */
export function icon(id) {
  const namespace = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(namespace, 'svg');
  const use = document.createElementNS(namespace, 'use');
  use.setAttribute('href', `#${id}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

/** Sets the accessible name of a button with an icon. @param {HTMLElement} button @param {string} text @param {string} [title] */
export function label(button, text, title = text) {
  const span = button.querySelector('span');
  if (span) span.textContent = text;
  button.title = title;
}

/** Shows another icon on a button. @param {HTMLElement} button @param {string} id */
export function draw(button, id) {
  const use = button.querySelector('use');
  if (use?.getAttribute('href') !== `#${id}`) use?.setAttribute('href', `#${id}`);
}

/** Shows a text. The same text is not set again, because a screen reader would announce it again. @param {HTMLElement} element @param {string} text */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a text, or hides the element if the text is empty. @param {HTMLElement} element @param {string} text */
export function say(element, text) {
  put(element, text);
  element.hidden = text === '';
}

/** @param {HTMLElement} button @param {boolean} isPressed */
export function press(button, isPressed) {
  button.setAttribute('aria-pressed', String(isPressed));
}
