// @ts-check
// Calling somebody: by what was typed or pasted, or from the list of those one has given a name.

import { byId, icon, make, say } from '../../ui/dom.js';
import { short } from '../names.js';

/** @typedef {import('../identity.js').Identity} Identity */
/** @typedef {import('../names.js').Names} Names */

export class People {
  #input = byId('call-address', HTMLInputElement);
  #button = byId('call-button', HTMLButtonElement);
  #error = byId('call-error', HTMLElement);
  #list = byId('people', HTMLUListElement);
  #empty = byId('people-empty', HTMLElement);

  /** @param {Identity} identity @param {Names} names @param {(address: string) => void} onCall */
  constructor(identity, names, onCall) {
    this.identity = identity;
    this.names = names;
    this.onCall = onCall;
    byId('call-form', HTMLFormElement).addEventListener('submit', (event) => this.#submit(event));
    this.#input.addEventListener('input', () => say(this.#error, ''));
    const isKeys = identity.kind === 'keys';
    byId('call-label', HTMLElement).textContent = isKeys ? 'Key, link or name' : 'Number or name';
    names.onChange(() => this.#refresh());
    this.#refresh();
  }

  /** From a link. @param {string} address */
  offer(address) {
    this.#input.value = address;
    this.#button.focus();
  }

  /** The call has come about. */
  clear() {
    this.#input.value = '';
    this.problem('');
  }

  /** @param {string} words */
  problem(words) {
    say(this.#error, words);
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const typed = this.#input.value;
    const address = this.identity.addressIn(typed) ?? this.names.addressOf(typed);
    if (!address) return this.problem(this.identity.kind === 'keys' ? NO_KEY : NO_NUMBER);
    if (address === this.identity.me) return this.problem('That is you. Send your link to somebody else.');
    this.problem('');
    this.onCall(address);
  }

  #refresh() {
    const all = this.names.all.filter(([address]) => address !== this.identity.me);
    this.#empty.hidden = all.length > 0;
    this.#list.replaceChildren(...all.map(([address, name]) => this.#row(address, name)));
  }

  /** @param {string} address @param {string} name */
  #row(address, name) {
    const input = make('input', { testid: 'person-name' });
    input.value = name;
    input.maxLength = 40;
    input.setAttribute('aria-label', `Name for ${short(address)}`);
    input.addEventListener('change', () => this.names.set(address, input.value.trim() || name));
    const key = make('span', { className: 'address', text: short(address) });
    key.title = address;
    const call = make('button', { className: 'small primary', testid: 'person-call' }, [icon('i-call'), make('span', { text: 'Call' })]);
    call.setAttribute('aria-label', `Call ${name}`);
    call.addEventListener('click', () => this.onCall(address));
    const forget = make('button', { className: 'small', testid: 'person-forget', text: 'Forget' });
    forget.setAttribute('aria-label', `Forget ${name}`);
    forget.addEventListener('click', () => this.names.set(address, ''));
    for (const button of [call, forget]) button.type = 'button';
    forget.hidden = this.names.isGiven(address);
    const row = make('li', { className: 'person', testid: 'person' }, [make('div', { className: 'who' }, [input, key]), call, forget]);
    row.dataset['address'] = address;
    return row;
  }
}

const NO_KEY = 'That is no key. A key has 66 characters and begins with 02 or 03; a whole link works as well.';
const NO_NUMBER = 'That is no number of a person.';
