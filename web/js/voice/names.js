// @ts-check
// What this person calls the others. Keys are long and numbers say nothing; names stay in this browser. A site may have
// given some, which hold until this person says otherwise.

import { givenPeople } from './directory.js';
import { recall, remember } from './store.js';

const NAME_MAX = 40;

export class Names {
  /** @type {Map<string, string>} */ #names = new Map(read());
  /** @type {Set<() => void>} */ #listeners = new Set();

  /** @param {() => void} listener */
  onChange(listener) {
    this.#listeners.add(listener);
  }

  /** @param {string} address @returns {string} the name, else the address made short */
  of(address) {
    return this.#names.get(address) ?? givenPeople.get(address) ?? short(address);
  }

  /** @param {string} address */
  has(address) {
    return this.#names.has(address) || givenPeople.has(address);
  }

  /** Whether it would still be known if this person forgot it. @param {string} address */
  isGiven(address) {
    return givenPeople.has(address);
  }

  /** By a name as typed. @param {string} name @returns {string | null} */
  addressOf(name) {
    const wanted = name.trim().toLowerCase();
    const found = this.all.find(([, known]) => known.toLowerCase() === wanted);
    return found ? found[0] : null;
  }

  /** @returns {[address: string, name: string][]} by name */
  get all() {
    return [...new Map([...givenPeople, ...this.#names])].sort(([, one], [, other]) => one.localeCompare(other));
  }

  /** @param {string} address @param {string} name  nothing forgets it */
  set(address, name) {
    const trimmed = name.trim().slice(0, NAME_MAX);
    if (trimmed) this.#names.set(address, trimmed);
    else this.#names.delete(address);
    remember('names', JSON.stringify([...this.#names]));
    for (const listener of this.#listeners) listener();
  }
}

/** @param {string} address */
export function short(address) {
  return address.length > 20 ? `${address.slice(0, 8)}…${address.slice(-4)}` : `User ${address}`;
}

/** In full where somebody decides whom to trust: keys that look alike when short can be made. @param {string} address */
export function fullAddress(address) {
  return address.length > 20 ? address : '';
}

/** @returns {[string, string][]} */
function read() {
  try {
    const names = JSON.parse(recall('names') || '[]');
    const isPair = (/** @type {unknown} */ pair) => Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === 'string');
    return Array.isArray(names) ? names.filter(isPair) : [];
  } catch {
    return [];
  }
}
