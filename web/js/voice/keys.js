// @ts-check
// A user is a P-256 key pair. Signatures are DER in hex. A challenge is not hashed: its bytes, padded at the front with
// zeros, are the digest that is signed.
//
// Two kinds of challenges exist and must not be confused: the server's are letters, those of users are digits.
// Otherwise a caller could pass a challenge of the server on, and use the signature to act in this user's name there;
// the server could do the same to another user.

import { p256 } from '../../vendor/noble-p256.js';

const OPTIONS = /** @type {const} */ ({ prehash: false, lowS: false, format: 'der' });
const DIGEST_BYTES = 32;
/** Challenges are numbers below this one. */
const CHALLENGE_MAX = 100_000_000;

const OF_SERVER = /^[A-Za-z]{8,32}$/;
const OF_PERSON = /^[0-9]{1,16}$/;
const PUBLIC_KEY = /^0[23][0-9a-f]{64}$/;

/** @typedef {'server' | 'person'} Asker  the sender of a challenge; a person is another user */

export class KeyPair {
  #secret;

  /** @param {Uint8Array} secret */
  constructor(secret) {
    this.#secret = secret;
    this.publicKey = toHex(p256.getPublicKey(secret, true));
  }

  static generate() {
    return new KeyPair(p256.utils.randomSecretKey());
  }

  /** @param {string} hex @returns {KeyPair | null} */
  static restore(hex) {
    try {
      return new KeyPair(fromHex(hex));
    } catch {
      return null;
    }
  }

  /** For this browser's own storage and for the owner's key file, and for nothing else. */
  get secretHex() {
    return toHex(this.#secret);
  }

  /** @param {string} challenge @param {Asker} asker */
  sign(challenge, asker) {
    const isExpected = (asker === 'server' ? OF_SERVER : OF_PERSON).test(challenge);
    if (!isExpected) throw new UnsafeChallenge();
    return toHex(p256.sign(digestOf(challenge), this.#secret, OPTIONS));
  }
}

/** A challenge that a correct program would not send for signing. */
export class UnsafeChallenge extends Error {}

export function newChallenge() {
  const [random = 0] = crypto.getRandomValues(new Uint32Array(1));
  return String(random % CHALLENGE_MAX);
}

/** @param {string} signature @param {string} challenge @param {string} publicKey  @returns {boolean} */
export function verify(signature, challenge, publicKey) {
  try {
    return p256.verify(fromHex(signature), digestOf(challenge), fromHex(publicKey), OPTIONS);
  } catch {
    return false;
  }
}

/** @param {string} text */
export function isPublicKey(text) {
  return PUBLIC_KEY.test(text) && p256.utils.isValidPublicKey(fromHex(text), true);
}

/** @param {string} challenge */
function digestOf(challenge) {
  const bytes = new TextEncoder().encode(challenge);
  if (bytes.length === 0 || bytes.length > DIGEST_BYTES) throw new UnsafeChallenge();
  const digest = new Uint8Array(DIGEST_BYTES);
  digest.set(bytes, DIGEST_BYTES - bytes.length);
  return digest;
}

/** @param {Uint8Array} bytes */
function toHex(bytes) {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {string} hex */
export function fromHex(hex) {
  if (hex.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(hex)) throw new TypeError('not hexadecimal');
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
