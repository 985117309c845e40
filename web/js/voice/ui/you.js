// @ts-check
// Who one is here, and how to hand it on.

import { byId } from '../../ui/dom.js';
import { givenPeople } from '../directory.js';
import { short } from '../names.js';

/** @typedef {import('../identity.js').Identity} Identity */

const COPIED_MS = 2_000;

export class You {
  #card = byId('you', HTMLElement);
  #short = byId('my-address', HTMLElement);
  #copyKey = byId('copy-key', HTMLButtonElement);
  #copyLink = byId('copy-call-link', HTMLButtonElement);

  /** @param {Identity} identity */
  constructor(identity) {
    this.identity = identity;
    this.#copyKey.addEventListener('click', () => copy(this.#copyKey, identity.me));
    this.#copyLink.addEventListener('click', () => copy(this.#copyLink, callLink(identity.me)));
    const isKeys = identity.kind === 'keys';
    byId('you-keys', HTMLElement).hidden = !isKeys;
    byId('you-site', HTMLElement).hidden = isKeys;
    this.#copyKey.hidden = !isKeys;
    this.refresh();
  }

  refresh() {
    const { me } = this.identity;
    this.#card.hidden = me === '';
    this.#short.textContent = me ? (givenPeople.get(me) ?? short(me)) : '';
    this.#short.title = me;
    this.#card.dataset['address'] = me;
  }
}

/** @param {string} address */
function callLink(address) {
  const link = new URL(location.href);
  link.hash = `call=${address}`;
  return link.href;
}

/** @param {HTMLButtonElement} button @param {string} text */
async function copy(button, text) {
  const label = button.querySelector('span') ?? button;
  const words = label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = 'Copied';
    button.disabled = true;
    setTimeout(() => {
      label.textContent = words;
      button.disabled = false;
    }, COPIED_MS);
  } catch {
    prompt('Copy this:', text);
  }
}
