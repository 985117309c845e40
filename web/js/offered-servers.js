// @ts-check
// The STUN and TURN servers that Switchboard offers. If a TURN server shares a secret with Switchboard, its username is
// `EXPIRY:RANDOM` (draft-uberti-behave-turn-rest-00, section 2.2): new credentials are fetched halfway to the expiry,
// by the clock of the server. Servers without an expiry stay as they are.

import { offeredServers } from './ice.js';

/** Longest timer: timers of a browser count 24 days at most, and stand still while the machine sleeps. */
const WAIT_MAX_MS = 60_000;
const RENEWAL_MIN_MS = 2_000;
/** The pause after a fetch that failed or returned expired credentials. */
const RETRY_MS = 10_000;
const EXPIRY = /^(\d{1,12}):/;

export class OfferedServers {
  /** @type {RTCIceServer[]} */ servers = [];
  #fetchedAt = 0;
  #renewAt = Infinity;
  /** @type {number | undefined} */ #timer;
  /** @type {Promise<void> | null} */ #refreshing = null;

  /** @param {() => void} onRenewed  `servers` has new credentials, because the former ones were about to expire */
  constructor(onRenewed) {
    this.onRenewed = onRenewed;
  }

  /** Fetches the servers. The former ones are kept if Switchboard does not answer. */
  refresh() {
    this.#refreshing ??= this.#fetch().finally(() => (this.#refreshing = null));
    return this.#refreshing;
  }

  /** Fetches new credentials if it is time to. */
  async renewIfDue() {
    clearTimeout(this.#timer);
    if (Date.now() < this.#renewAt) return this.#wait();
    await this.refresh();
    this.onRenewed();
  }

  /** The credentials were refused: others are fetched, at most every ten seconds. */
  replace() {
    this.#renewAt = Math.min(this.#renewAt, this.#fetchedAt + RETRY_MS);
    this.#wait();
  }

  async #fetch() {
    const offer = await offeredServers();
    if (offer) this.servers = offer.servers;
    this.#fetchedAt = Date.now();
    this.#renewAt = this.#fetchedAt + (offer ? renewalMs(offer) : RETRY_MS);
    this.#wait();
  }

  #wait() {
    clearTimeout(this.#timer);
    if (this.#renewAt === Infinity) return;
    const ms = Math.min(WAIT_MAX_MS, Math.max(0, this.#renewAt - Date.now()));
    this.#timer = setTimeout(() => this.renewIfDue(), ms);
  }
}

/** @param {import('./ice.js').Offer} offer */
function renewalMs({ servers, serverTime }) {
  const expiries = servers.map(({ username }) => Number(EXPIRY.exec(username ?? '')?.[1] ?? Infinity) * 1000);
  const lifeMs = Math.min(...expiries) - serverTime;
  return lifeMs > 0 ? Math.max(RENEWAL_MIN_MS, lifeMs / 2) : RETRY_MS;
}
