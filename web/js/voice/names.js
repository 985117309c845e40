// @ts-check
// Names of other users. A name that the user gave to a key is stored in this browser and overrides all others; a
// website may give names too. A display name that a key gave itself proves nothing, so it is shown with the key, never
// alone.

import { givenPeople } from './directory.js';
import { recall, remember } from './store.js';
import { texts } from './texts.js';

export const NAME_MAX = 40;
const SHORT_MAX = 20;
const DISPLAY_NAMES_MAX = 1_000;

export class Names {
  /** @type {Map<string, string>} */ #names = new Map(read());
  /** @type {Map<string, string>} */ #displayNames = new Map();
  /** @type {Set<() => void>} */ #listeners = new Set();

  /** @param {() => void} listener */
  onChange(listener) {
    this.#listeners.add(listener);
  }

  /** @param {string} address @returns {string} the name, else the display name with the short address, else that alone */
  of(address) {
    const displayName = this.#displayNames.get(address);
    return this.#known(address) ?? (displayName ? `${isolated(displayName)} (${short(address)})` : short(address));
  }

  /** The name and the short key, for places that show them apart. @param {string} address */
  parts(address) {
    const isKey = address.length > SHORT_MAX;
    const name = this.#known(address) ?? this.#displayNames.get(address);
    return { name: name ?? (isKey ? '' : short(address)), key: isKey ? short(address) : '' };
  }

  /** Stores the display name of a key; an empty one removes it. @param {string} address @param {string} name */
  setDisplayName(address, name) {
    const shown = [...name].slice(0, NAME_MAX).join('');
    if ((this.#displayNames.get(address) ?? '') === shown) return;
    this.#displayNames.delete(address);
    if (shown) this.#displayNames.set(address, shown);
    const [oldest] = this.#displayNames.keys();
    if (oldest !== undefined && this.#displayNames.size > DISPLAY_NAMES_MAX) this.#displayNames.delete(oldest);
    this.#changed();
  }

  /** The display name that the owner of this key has chosen. @param {string} address */
  displayNameOf(address) {
    return this.#displayNames.get(address) ?? '';
  }

  /** @param {string} address */
  has(address) {
    return this.#names.has(address) || givenPeople.has(address);
  }

  /** Whether the website has a name for this address, which is used if the user removes the own one. @param {string} address */
  isGiven(address) {
    return givenPeople.has(address);
  }

  /** The address with this name, in any case. @param {string} name @returns {string | null} */
  addressOf(name) {
    const wanted = name.trim().toLowerCase();
    const found = this.all.find(([, known]) => known.toLowerCase() === wanted);
    return found ? found[0] : null;
  }

  /** All named addresses, sorted by name. @returns {[address: string, name: string][]} */
  get all() {
    return [...new Map([...givenPeople, ...this.#names])].sort(([, one], [, other]) => one.localeCompare(other));
  }

  /** @param {string} address @param {string} name  an empty name removes the stored one */
  set(address, name) {
    const trimmed = name.trim().slice(0, NAME_MAX);
    if (trimmed) this.#names.set(address, trimmed);
    else this.#names.delete(address);
    remember('names', JSON.stringify([...this.#names]));
    this.#changed();
  }

  /** @param {string} address */
  #known(address) {
    return this.#names.get(address) ?? givenPeople.get(address);
  }

  #changed() {
    for (const listener of this.#listeners) listener();
  }
}

/** Isolates the text direction of a name (UAX #9: FSI and PDI). @param {string} name */
function isolated(name) {
  return `\u2068${name}\u2069`;
}

/** @param {string} address */
export function short(address) {
  return address.length > SHORT_MAX ? `${address.slice(0, 8)}…${address.slice(-4)}` : texts.calling.user(address);
}

/** The full key, for decisions about trust: an attacker can make a key with the same short form. Empty without keys. @param {string} address */
export function fullAddress(address) {
  return address.length > SHORT_MAX ? address : '';
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
