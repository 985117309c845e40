// @ts-check
// Calls a user: by a typed or pasted key or link, or from the list of users with a name.

import { byId, icon, make, say } from '../../ui/dom.js';
import { short } from '../names.js';
import { texts } from '../texts.js';

/** @typedef {import('../identity.js').Identity} Identity */
/** @typedef {import('../names.js').Names} Names */

export class People {
  #input = byId('call-address', HTMLInputElement);
  #button = byId('call-button', HTMLButtonElement);
  #error = byId('call-error', HTMLElement);
  #list = byId('people', HTMLUListElement);
  #empty = byId('people-empty', HTMLElement);
  #shown = '';

  /** @param {Identity} identity @param {Names} names @param {(address: string) => void} onCall */
  constructor(identity, names, onCall) {
    this.identity = identity;
    this.names = names;
    this.onCall = onCall;
    byId('call-form', HTMLFormElement).addEventListener('submit', (event) => this.#submit(event));
    this.#input.addEventListener('input', () => say(this.#error, ''));
    const isKeys = identity.kind === 'keys';
    byId('call-label', HTMLElement).textContent = isKeys ? texts.calling.label : texts.calling.labelNumber;
    names.onChange(() => this.#refresh());
    this.#refresh();
  }

  /** Fills the field from a link. @param {string} address */
  offer(address) {
    this.#input.value = address;
    this.#button.focus();
  }

  /** The call is connected. */
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
    if (!address) return this.problem(this.identity.kind === 'keys' ? texts.calling.noKey : texts.calling.noNumber);
    if (address === this.identity.me) return this.problem(texts.calling.yourself);
    this.problem('');
    this.onCall(address);
  }

  #refresh() {
    const all = this.names.all.filter(([address]) => address !== this.identity.me);
    const shown = JSON.stringify(all);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#empty.hidden = all.length > 0;
    const focused = document.activeElement;
    const row = focused?.closest('li');
    this.#list.replaceChildren(...all.map(([address, name]) => this.#row(address, name)));
    if (row && focused instanceof HTMLElement) this.#focusAgain(row.dataset['address'] ?? '', focused.dataset['testid'] ?? '');
  }

  /** @param {string} address @param {string} testid */
  #focusAgain(address, testid) {
    const row = [...this.#list.children].find((one) => one instanceof HTMLElement && one.dataset['address'] === address);
    const control = row?.querySelector(`[data-testid="${testid}"]`);
    (control instanceof HTMLElement ? control : this.#input).focus();
  }

  /** @param {string} address @param {string} name */
  #row(address, name) {
    const input = make('input', { testid: 'person-name' });
    input.value = name;
    input.maxLength = 40;
    input.setAttribute('aria-label', texts.calling.nameFor(short(address)));
    // After the focus has moved, because the row is created again.
    input.addEventListener('change', () => setTimeout(() => this.names.set(address, input.value.trim() || name)));
    const key = make('span', { className: 'address', text: short(address) });
    key.title = address;
    const call = make('button', { className: 'small primary', testid: 'person-call' }, [icon('i-call'), make('span', { text: texts.calling.call })]);
    call.setAttribute('aria-label', texts.calling.callName(name));
    call.addEventListener('click', () => this.onCall(address));
    const forget = make('button', { className: 'small', testid: 'person-forget', text: texts.calling.forget });
    forget.setAttribute('aria-label', texts.calling.forgetName(name));
    forget.addEventListener('click', () => this.names.set(address, ''));
    for (const button of [call, forget]) button.type = 'button';
    forget.hidden = this.names.isGiven(address);
    const row = make('li', { className: 'person', testid: 'person' }, [make('div', { className: 'who' }, [input, key]), call, forget]);
    row.dataset['address'] = address;
    return row;
  }
}
