// @ts-check
// The details of one connection, from getStats: the route, the round trip, losses, bit rates, pictures, codecs. Firefox
// has no statistics of the transport, so the rates are those of the media.

import { texts } from './texts.js';

/**
 * @typedef {object} Flow  one kind of media in one direction
 * @property {number | null} kbits  per second; null before the second sample
 * @property {string} codec  as "VP8"; empty if unknown
 * @property {string} picture  as "640×480, 30 fps"; empty for sound and while there is none
 */
/**
 * @typedef {object} Route
 * @property {boolean} isRelayed  by a TURN server of either side
 * @property {string} local  type of the local candidate
 * @property {string} remote  type of the remote candidate
 * @property {string} protocol  as "udp"
 */
/**
 * @typedef {object} Details
 * @property {Route | null} route
 * @property {number | null} roundTripMs
 * @property {number | null} lossUp  share of the packets sent, 0 to 1
 * @property {number | null} lossDown  share of the packets to be received, 0 to 1
 * @property {{audio: Flow, video: Flow}} up
 * @property {{audio: Flow, video: Flow}} down
 */
/** @typedef {any} Stat  of any of the types that RTCStatsReport holds */
/** @typedef {{at: number, stats: Stat[]}} Sample */

/** The number of samples. Rates and losses are those between the first and the last one. */
const SAMPLES = 5;

export class ConnectionDetails {
  /** @type {Sample[]} */ #samples = [];

  /** Must be called once a second. @param {Iterable<[string, Stat]>} report @returns {Details} */
  read(report) {
    const stats = [...report].map(([, stat]) => stat);
    const now = { at: Math.max(0, ...stats.map(({ timestamp }) => timestamp)), stats };
    this.#samples = [...this.#samples, now].slice(-SAMPLES);
    return detailsOf(this.#samples[0] ?? now, now);
  }
}

/** @param {Sample} first @param {Sample} now @returns {Details} */
function detailsOf(first, now) {
  const pair = selectedPair(now.stats);
  /** @param {string} type @param {string} counter */
  const grown = (type, counter) => Math.max(0, sum(now, type, counter) - sum(first, type, counter));
  /** @param {'audio' | 'video'} kind @param {'outbound-rtp' | 'inbound-rtp'} type @param {string} counter */
  const flow = (kind, type, counter) => flowOf(ofKind(first, kind), ofKind(now, kind), type, counter);
  return {
    route: pair && routeOf(pair, now.stats),
    roundTripMs: roundTripOf(pair, now.stats),
    lossUp: share(grown('remote-inbound-rtp', 'packetsLost'), grown('outbound-rtp', 'packetsSent')),
    lossDown: share(grown('inbound-rtp', 'packetsLost'), grown('inbound-rtp', 'packetsLost') + grown('inbound-rtp', 'packetsReceived')),
    up: { audio: flow('audio', 'outbound-rtp', 'bytesSent'), video: flow('video', 'outbound-rtp', 'bytesSent') },
    down: { audio: flow('audio', 'inbound-rtp', 'bytesReceived'), video: flow('video', 'inbound-rtp', 'bytesReceived') },
  };
}

/** @param {Sample} first @param {Sample} now @param {string} type @param {string} counter @returns {Flow} */
function flowOf(first, now, type, counter) {
  const seconds = Math.max(0.001, (now.at - first.at) / 1000);
  const kbits = (Math.max(0, sum(now, type, counter) - sum(first, type, counter)) * 8) / 1000 / seconds;
  const stream = now.stats.find((stat) => stat.type === type && stat.codecId);
  const mime = String(byId(now.stats, stream?.codecId)?.mimeType ?? '');
  return { kbits: first.at === now.at ? null : kbits, codec: mime.split('/')[1] ?? '', picture: pictureOf(now.stats.find((stat) => stat.type === type)) };
}

/** @param {Stat} stream */
function pictureOf(stream) {
  if (!stream?.frameWidth || !stream.framesPerSecond) return '';
  return texts.details.picture(stream.frameWidth, stream.frameHeight ?? 0, stream.framesPerSecond);
}

/** The candidate pair in use. Chromium names it in the transport, Firefox marks it as selected. @param {Stat[]} stats @returns {Stat} */
function selectedPair(stats) {
  const named = stats.find(({ type, selectedCandidatePairId }) => type === 'transport' && selectedCandidatePairId);
  const pairs = stats.filter(({ type }) => type === 'candidate-pair');
  const marked = pairs.find(({ selected }) => selected) ?? pairs.find(({ nominated, state }) => nominated && state === 'succeeded');
  return (named && byId(stats, named.selectedCandidatePairId)) ?? marked ?? null;
}

/** @param {Stat} pair @param {Stat[]} stats @returns {Route | null} */
function routeOf(pair, stats) {
  const local = byId(stats, pair.localCandidateId);
  const remote = byId(stats, pair.remoteCandidateId);
  if (!local || !remote) return null;
  const isRelayed = local.candidateType === 'relay' || remote.candidateType === 'relay';
  return { isRelayed, local: local.candidateType, remote: remote.candidateType, protocol: local.relayProtocol ?? local.protocol ?? '' };
}

/** @param {Stat} pair @param {Stat[]} stats */
function roundTripOf(pair, stats) {
  const heard = stats.find(({ type, roundTripTime }) => type === 'remote-inbound-rtp' && roundTripTime > 0);
  const seconds = pair?.currentRoundTripTime ?? heard?.roundTripTime;
  return typeof seconds === 'number' ? seconds * 1000 : null;
}

/** @param {Stat[]} stats @param {string | undefined} id @returns {Stat} */
function byId(stats, id) {
  return id === undefined ? undefined : stats.find((stat) => stat.id === id);
}

/** @param {Sample} sample @param {string} kind @returns {Sample} */
function ofKind({ at, stats }, kind) {
  return { at, stats: stats.filter((stat) => stat.type === 'codec' || stat.kind === kind) };
}

/** @param {Sample} sample @param {string} type @param {string} counter */
function sum({ stats }, type, counter) {
  return stats.filter((stat) => stat.type === type).reduce((total, stat) => total + (stat[counter] ?? 0), 0);
}

/** @param {number} part @param {number} whole */
function share(part, whole) {
  return whole > 0 ? Math.min(1, part / whole) : null;
}
