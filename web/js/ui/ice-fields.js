// @ts-check
// The fields for a STUN or TURN server, before and during the call. An error is shown in its field.

import { mistakes } from '../ice.js';
import { askedServers, remember } from '../settings.js';
import { byId, say } from './dom.js';

/** @typedef {import('../ice.js').Typed} Typed */

export class IceFields {
  #urls = byId('ice', HTMLInputElement);
  #username = byId('ice-user', HTMLInputElement);
  #credential = byId('ice-credential', HTMLInputElement);
  #error = byId('ice-error', HTMLElement);

  /** @param {() => void} onChange  the servers were changed, and are valid */
  constructor(onChange) {
    this.onChange = onChange;
    const { urls, username, credential } = askedServers();
    this.#urls.value = urls;
    this.#username.value = username;
    this.#credential.value = credential;
    for (const field of this.#fields()) field.addEventListener('change', () => this.#changed());
    this.#check();
  }

  /** @returns {Typed} */
  get typed() {
    return { urls: this.#urls.value.trim(), username: this.#username.value.trim(), credential: this.#credential.value };
  }

  #fields() {
    return [this.#urls, this.#username, this.#credential];
  }

  #changed() {
    if (!this.#check()) return;
    const { urls, username, credential } = this.typed;
    remember('ice', urls);
    remember('ice-user', username);
    remember('ice-credential', credential);
    this.onChange();
  }

  #check() {
    const wrong = mistakes(this.typed);
    for (const [field, mistake] of /** @type {const} */ ([[this.#urls, wrong.urls], [this.#username, wrong.username], [this.#credential, wrong.credential]])) {
      field.setAttribute('aria-invalid', String(mistake !== ''));
    }
    const first = wrong.urls || wrong.username || wrong.credential;
    say(this.#error, first);
    return first === '';
  }
}
