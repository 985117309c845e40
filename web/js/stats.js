// @ts-check
// The bit rates that are measured on each connection, once a second. Clients of other dialects have no frame for "camera off", so that is
// read from the counters: no frames.

import { count } from './counters.js';

/** @typedef {import('./peer.js').Peer} Peer */
/** @typedef {import('./counters.js').Counters} Counters */
/**
 * @typedef {object} Rates
 * @property {number} up  kbit/s
 * @property {number} down  kbit/s
 * @property {number} videoUp  kbit/s
 * @property {number} audioUp  kbit/s
 * @property {string} picture  what is sent, as "320×240 12 fps"
 * @property {boolean} hasVideo  frames arrive
 */

const PERIOD_MS = 1_000;
const QUIET_TICKS = 2;

export class StatsMeter {
  /** @type {WeakMap<Peer, Counters>} */ #last = new WeakMap();
  /** @type {WeakMap<Peer, {frames: number}>} */ #quiet = new WeakMap();

  #isCounting = false;

  /** @param {() => Iterable<Peer>} peers @param {(rates: Map<Peer, Rates>) => void} onRates */
  constructor(peers, onRates) {
    this.peers = peers;
    this.onRates = onRates;
    this.timer = setInterval(() => this.#tick(), PERIOD_MS);
  }

  stop() {
    clearInterval(this.timer);
  }

  async #tick() {
    if (this.#isCounting) return;
    this.#isCounting = true;
    this.onRates(await this.#rates().finally(() => (this.#isCounting = false)));
  }

  async #rates() {
    /** @type {Map<Peer, Rates>} */
    const rates = new Map();
    for (const peer of this.peers()) {
      // Firefox throws for a connection that was closed meanwhile.
      const report = await peer.pc.getStats().catch(() => null);
      if (!report) continue;
      const now = count(report);
      const last = this.#last.get(peer);
      this.#last.set(peer, now);
      if (last) rates.set(peer, this.#compare(peer, last, now));
    }
    return rates;
  }

  /** @param {Peer} peer @param {Counters} last @param {Counters} now @returns {Rates} */
  #compare(peer, last, now) {
    const quiet = this.#quiet.get(peer) ?? { frames: QUIET_TICKS };
    quiet.frames = now.frames > last.frames ? 0 : quiet.frames + 1;
    this.#quiet.set(peer, quiet);
    const seconds = Math.max(0.001, (now.at - last.at) / 1000);
    /** @param {number} bytes */
    const kbits = (bytes) => (Math.max(0, bytes) * 8) / 1000 / seconds;
    return {
      up: kbits(now.sent - last.sent),
      down: kbits(now.received - last.received),
      videoUp: kbits(now.videoSent - last.videoSent),
      audioUp: kbits(now.audioSent - last.audioSent),
      picture: now.picture,
      hasVideo: quiet.frames < QUIET_TICKS,
    };
  }
}
