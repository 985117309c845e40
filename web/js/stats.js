// @ts-check
// The bit rates that are measured on each connection, once a second. Clients of other dialects do not report that their
// camera is off: it counts as off while no video frames arrive.

import { count } from './counters.js';

/** @typedef {import('./peer.js').Peer} Peer */
/** @typedef {import('./counters.js').Counters} Counters */
/**
 * @typedef {object} Rates
 * @property {number} up  kbit/s
 * @property {number} down  kbit/s
 * @property {number} videoUp  kbit/s
 * @property {number} audioUp  kbit/s
 * @property {string} picture  the video that is sent, as "320×240 12 fps"
 * @property {boolean} hasVideo  video frames arrive
 */

const PERIOD_MS = 1_000;
/** Periods without a video frame after which the peer's camera counts as off. */
const TICKS_WITHOUT_FRAMES_MAX = 2;

export class StatsMeter {
  /** @type {WeakMap<Peer, Counters>} */ #last = new WeakMap();
  /** Periods since the latest video frame of each peer. @type {WeakMap<Peer, number>} */ #ticksWithoutFrames = new WeakMap();
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
    const ticksBefore = this.#ticksWithoutFrames.get(peer) ?? TICKS_WITHOUT_FRAMES_MAX;
    const ticks = now.frames > last.frames ? 0 : ticksBefore + 1;
    this.#ticksWithoutFrames.set(peer, ticks);
    const seconds = Math.max(0.001, (now.at - last.at) / 1000);
    /** @param {number} bytes */
    const kbits = (bytes) => (Math.max(0, bytes) * 8) / 1000 / seconds;
    return {
      up: kbits(now.sent - last.sent),
      down: kbits(now.received - last.received),
      videoUp: kbits(now.videoSent - last.videoSent),
      audioUp: kbits(now.audioSent - last.audioSent),
      picture: now.picture,
      hasVideo: ticks < TICKS_WITHOUT_FRAMES_MAX,
    };
  }
}
