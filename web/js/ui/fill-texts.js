// @ts-check
// Fills the page with its texts: the HTML names them by attributes, so that all texts stand in one file.
//
//   data-text         the content of the element
//   data-label        its accessible name (aria-label)
//   data-placeholder  its placeholder
//   data-tooltip      its title

const ATTRIBUTES = /** @type {const} */ ({ label: 'aria-label', placeholder: 'placeholder', tooltip: 'title' });

/** @param {ParentNode} root @param {Record<string, Record<string, unknown>>} texts  by area and name, as in `data-text="area.name"` */
export function fillTexts(root, texts) {
  for (const element of elements(root, 'text')) element.textContent = textOf(texts, element.dataset['text'] ?? '');
  for (const [name, attribute] of Object.entries(ATTRIBUTES)) {
    for (const element of elements(root, name)) element.setAttribute(attribute, textOf(texts, element.dataset[name] ?? ''));
  }
}

/** @param {ParentNode} root @param {string} name @returns {Iterable<HTMLElement>} */
function elements(root, name) {
  return root.querySelectorAll(`[data-${name}]`);
}

/** @param {Record<string, Record<string, unknown>>} texts @param {string} path @returns {string} */
function textOf(texts, path) {
  const [area = '', name = ''] = path.split('.');
  const text = texts[area]?.[name];
  if (typeof text !== 'string') throw new Error(`there is no text ${path}`);
  return text;
}
