// @ts-check
// The identity of this user at the server: a key, or a user of a website. All other modules use the interface
// `Identity`. With a key, the user proves the identity by a signature over a ticket, a challenge of the server; with a
// website, by a token of the website.

import { KeyPair, isPublicKey } from './keys.js';
import { explain, isRefusal } from './server.js';
import { recall, remember } from './store.js';
import { texts } from './texts.js';

/** @typedef {import('./server.js').Server} Server */
/** @typedef {import('./server.js').Params} Params */
/**
 * @typedef {object} Identity
 * @property {'keys' | 'site'} kind
 * @property {string} me  the address under which others reach us
 * @property {() => Promise<void>} prepare  makes sure that the server knows us
 * @property {() => Promise<Params>} proof  the parameters that prove the identity to the server
 * @property {() => Params} proofAtHand  the latest proof, without a request: for the unload of the page
 * @property {() => Promise<Params>} eventsProof  the proof for the event stream
 * @property {(ticket: string) => void} setTicket  a ticket that came with a response; it replaces the one before
 * @property {(rejected: Params) => void} renew  this proof was not accepted: the next one must be another
 * @property {(text: string) => string | null} addressIn  the address that a person typed or pasted
 * @property {(text: string) => boolean} isAddress
 */

/** @implements {Identity} */
export class KeyIdentity {
  kind = /** @type {const} */ ('keys');
  #server;
  #keys = ownKeys();
  /** @type {Promise<string> | null} */ #ticket = null;
  /** The ticket of the current signature. */
  #signedTicket = '';
  #signature = '';

  /** @param {Server} server */
  constructor(server) {
    this.#server = server;
    this.me = this.#keys.publicKey;
  }

  async prepare() {}

  async proof() {
    this.#ticket ??= this.#fetchTicket();
    this.#signTicket(await this.#ticket);
    return this.proofAtHand();
  }

  proofAtHand() {
    return { PKey: this.me, signature: this.#signature };
  }

  // Most servers need no signature for the event stream; for those that do, the ticket must not be expired.
  async eventsProof() {
    return this.proof();
  }

  /** @param {Params} rejected */
  renew(rejected) {
    if (rejected['signature'] === this.#signature) this.#ticket = null;
  }

  /** @param {string} ticket */
  setTicket(ticket) {
    if (!ticket) return;
    this.#signTicket(ticket);
    this.#ticket = Promise.resolve(ticket);
  }

  /** @param {string} challenge  of another user, which proves the key to that user */
  signFor(challenge) {
    return this.#keys.sign(challenge, 'person');
  }

  /** @param {string} text */
  addressIn(text) {
    const found = text.toLowerCase().match(/(?:^|[^0-9a-f])(0[23][0-9a-f]{64})(?![0-9a-f])/)?.[1];
    return found && isPublicKey(found) ? found : null;
  }

  /** @param {string} text */
  isAddress(text) {
    return isPublicKey(text);
  }

  async #fetchTicket() {
    try {
      return await this.#server.get('getCallTicket', { PKey: this.me });
    } catch (error) {
      this.#ticket = null;
      throw error;
    }
  }

  /** @param {string} ticket */
  #signTicket(ticket) {
    if (ticket === this.#signedTicket) return;
    this.#signature = this.#keys.sign(ticket, 'server');
    this.#signedTicket = ticket;
  }
}

/** @implements {Identity} */
export class SiteIdentity {
  kind = /** @type {const} */ ('site');
  me = '';
  #server;
  #token = '';

  /** @param {Server} server @param {string} site */
  constructor(server, site) {
    this.#server = server;
    this.site = site;
  }

  async prepare() {
    if (this.me) return;
    await this.proof();
    const id = await this.#server.get('tokenCheck', { token: this.#token });
    if (!this.isAddress(id)) throw new NotSignedIn();
    this.me = id;
  }

  async proof() {
    this.#token ||= await this.#fetchToken();
    return this.proofAtHand();
  }

  /** @returns {Params} */
  proofAtHand() {
    return { token: this.#token };
  }

  async eventsProof() {
    const { token = '' } = await this.proof();
    return { CSRFtoken: token };
  }

  setTicket() {}

  /** @param {Params} rejected */
  renew(rejected) {
    if ((rejected['token'] ?? rejected['CSRFtoken']) === this.#token) this.#token = '';
  }

  /** @param {string} text */
  addressIn(text) {
    const number = text.trim().replace(/^.*#call=/, '');
    return this.isAddress(number) ? number : null;
  }

  /** @param {string} text */
  isAddress(text) {
    return /^[1-9][0-9]{0,17}$/.test(text);
  }

  async #fetchToken() {
    const address = new URL('Membres/newCRSF', this.site.endsWith('/') ? this.site : `${this.site}/`);
    const response = await fetch(address, { credentials: 'include', cache: 'no-store' }).catch(fetchError(address));
    if (!response.ok) throw new NotSignedIn();
    const answer = await response.json().catch(() => null);
    if (typeof answer?.token !== 'string' || !answer.token) throw new NotSignedIn();
    return answer.token;
  }
}

/** The user is not signed in on the website. */
export class NotSignedIn extends Error {}

/**
 * Sends a request with the identity of this user; an expired proof is renewed once.
 * @template T
 * @param {Identity} identity @param {(proof: Params) => Promise<T>} ask
 * @returns {Promise<T>}
 */
export async function asOurselves(identity, ask) {
  const proof = await identity.proof();
  try {
    return await ask(proof);
  } catch (error) {
    if (!isRefusal(error, 401) && !isRefusal(error, 403)) throw error;
    identity.renew(proof);
    return ask(await identity.proof());
  }
}

/** @param {unknown} error */
export function explainIdentity(error) {
  return error instanceof NotSignedIn ? texts.server.notSignedIn : explain(error);
}

// A browser reports a website that allows only requests of its own pages as a network error: then the user must open
// the page of the website.
/** @param {URL} address @returns {(error: unknown) => never} */
function fetchError(address) {
  return (error) => {
    throw address.origin === location.origin ? error : new NotSignedIn();
  };
}

function ownKeys() {
  const kept = KeyPair.restore(recall('key'));
  if (kept) return kept;
  const fresh = KeyPair.generate();
  remember('key', fresh.secretHex);
  return fresh;
}
