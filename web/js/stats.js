// @ts-check
// What really goes over the wire, once a second, from getStats. Transport counters hold everything a connection
// carries; the RTP counters beside them say how much of it is picture and sound. Clients of other dialects have
// no frame for "camera off", so that is read from the counters: no frames.

/** @typedef {import('./peer.js').Peer} Peer */
/**
 * @typedef {object} Counters
 * @property {number} at
 * @property {number} sent
 * @property {number} received
 * @property {number} videoSent
 * @property {number} audioSent
 * @property {number} frames
 * @property {string} picture
 */
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
      const now = count(await peer.pc.getStats());
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

/** @param {RTCStatsReport} report @returns {Counters} */
function count(report) {
  const counters = { at: 0, sent: 0, received: 0, videoSent: 0, audioSent: 0, frames: 0, picture: '' };
  for (const stat of report.values()) {
    counters.at = Math.max(counters.at, stat.timestamp);
    if (stat.type === 'transport') addTransport(counters, stat);
    if (stat.type === 'outbound-rtp') addOutbound(counters, stat);
    if (stat.type === 'inbound-rtp') addInbound(counters, stat);
  }
  return counters;
}

/** @param {Counters} counters @param {{bytesSent?: number, bytesReceived?: number}} stat */
function addTransport(counters, stat) {
  counters.sent += stat.bytesSent ?? 0;
  counters.received += stat.bytesReceived ?? 0;
}

/** @param {Counters} counters @param {RTCOutboundRtpStreamStats} stat */
function addOutbound(counters, stat) {
  const bytes = stat.bytesSent ?? 0;
  if (stat.kind === 'audio') counters.audioSent += bytes;
  if (stat.kind !== 'video') return;
  counters.videoSent += bytes;
  const fps = Math.round(stat.framesPerSecond ?? 0);
  if (stat.frameWidth && fps > 0) counters.picture = `${stat.frameWidth}×${stat.frameHeight} ${fps} fps`;
}

/** @param {Counters} counters @param {RTCInboundRtpStreamStats} stat */
function addInbound(counters, stat) {
  counters.frames += stat.framesReceived ?? 0;
}
