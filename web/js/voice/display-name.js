// @ts-check
// The display name of this user, which the server sends to others along with the key while the page is connected.

import { asOurselves } from './identity.js';
import { NAME_MAX } from './names.js';
import { recall, remember } from './store.js';

/** @typedef {import('./identity.js').Identity} Identity */
/** @typedef {import('./server.js').Server} Server */

export class DisplayName {
  #name = recall('me');
  /** The name that the server knows. */
  #announced = '';

  /** @param {Server} server @param {Identity} identity */
  constructor(server, identity) {
    this.server = server;
    this.identity = identity;
  }

  get text() {
    return this.#name;
  }

  /** Whether the user can choose the display name: a website names its users itself. */
  get isOwn() {
    return this.identity.kind === 'keys';
  }

  /** The server forgets the name with the last event stream. */
  async streamOpened() {
    this.#announced = '';
    await this.#announce().catch((error) => console.info('display name', error));
  }

  /** Throws the error of the server. @param {string} name */
  async set(name) {
    this.#name = [...name.trim()].slice(0, NAME_MAX).join('');
    remember('me', this.#name);
    await this.#announce();
  }

  /** @returns {Promise<void>} */
  async #announce() {
    const name = this.#name;
    if (!this.isOwn || name === this.#announced) return;
    const kept = await asOurselves(this.identity, (proof) => this.server.post('voice/name', { ...proof, name }));
    if (name !== this.#name) return this.#announce();
    this.#announced = this.#name = kept;
    remember('me', kept);
  }
}
