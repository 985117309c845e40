// @ts-check
// Offers and answers with one peer, by the "perfect negotiation" pattern: both sides may offer at any time, and
// when two offers cross, the polite side drops its own. Frames of the peer and own offers are handled in one queue, one
// after another. A later offer that stays unanswered was delayed or lost by the server. A page gets it once more, and
// answers it however often it comes. Other clients may have ignored it, so it is taken back: their own offers must not be
// blocked. They get only a few more, because some clients answer only one offer.
// Chromium shows no picture any more after an offer was taken back (its receiver loses its sink). So of two pages only
// the impolite one makes offers while they can reach each other directly; the polite one asks for them.

import { markOf } from './page-channel.js';
import { sdpOf } from './untrusted.js';

/** @typedef {import('./signaling.js').Frame} Frame */
/**
 * @typedef {object} NegotiationOptions
 * @property {boolean} polite
 * @property {(frame: Frame) => void} send
 * @property {() => boolean} isPage  whether the peer is a page of Switchboard
 * @property {() => boolean} delegate  asks the peer's page to make the offer; false if it cannot be asked
 * @property {() => Promise<void>} beforeAnswer  called between the offer received and the answer made
 * @property {(sdp: string, offer: number) => string} describe  the session description as it is sent to the peer, with the
 *   number of the offer that it is or answers
 * @property {(sdp: string) => void} onDescription  the peer's session description was applied
 */

const UNANSWERED_MS = 8_000;
const RETRY_MAX_MS = 30_000;
const OFFERS_TO_CLIENT_THAT_ANSWERS_ONCE = 3;
/** Candidates that are kept before the first session description; later ones are dropped. */
const EARLY_MAX = 100;

export class Negotiation {
  #pc;
  #options;
  /** An offer is to be made as soon as the state allows it. */
  #isWanted = false;
  /** No offer is made before the retry, or before the peer has sent a frame. */
  #isHeldBack = false;
  #isIgnoring = false;
  /** Number of the latest own offer. */
  #offer = 0;
  /** Offers taken back since the last frame of the peer. */
  #unanswered = 0;
  #answers = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #offerTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {RTCIceCandidateInit[]} */ #early = [];
  /** @type {Promise<unknown>} */ #inbox = Promise.resolve();

  /** @param {RTCPeerConnection} pc @param {NegotiationOptions} options */
  constructor(pc, options) {
    this.#pc = pc;
    this.#options = options;
    pc.addEventListener('negotiationneeded', () => this.#want());
    pc.addEventListener('icecandidate', ({ candidate }) => this.#sendCandidate(candidate));
    pc.addEventListener('signalingstatechange', () => this.#enqueue(() => this.#makeOffer()));
  }

  /** Whether a description of the peer was applied; false for a closed connection, for which Firefox only throws an error. */
  get hasRemoteDescription() {
    return this.#pc.signalingState !== 'closed' && this.#pc.remoteDescription !== null;
  }

  /** @param {Frame} frame */
  receive(frame) {
    this.#enqueue(() => this.#handle(frame));
  }

  /** Makes a fresh offer, for what the browser does not see as a change. Does nothing before the first exchange. */
  renegotiate() {
    if (this.hasRemoteDescription) this.#want();
  }

  /** The server has a new session for one of the two: frames on their way are lost, so a pending offer is sent again. */
  resume() {
    this.#enqueue(async () => {
      this.#alive();
      if (this.#pc.signalingState === 'have-local-offer') this.#sendAgain();
      await this.#makeOffer();
    });
  }

  close() {
    clearTimeout(this.#offerTimer);
    clearTimeout(this.#retryTimer);
  }

  /** @param {() => Promise<void>} task */
  #enqueue(task) {
    this.#inbox = this.#inbox.then(task).catch((error) => {
      if (this.#pc.signalingState !== 'closed') console.warn('negotiation', error);
    });
  }

  #want() {
    this.#isWanted = true;
    this.#enqueue(() => this.#makeOffer());
  }

  async #makeOffer() {
    if (!this.#isWanted || this.#isHeldBack || this.#pc.signalingState !== 'stable') return;
    const isFirst = !this.#pc.remoteDescription;
    this.#isWanted = false;
    if (!isFirst && this.#options.polite && this.#options.delegate()) return;
    this.#offer += 1;
    const offer = this.#offer;
    await this.#pc.setLocalDescription();
    this.#sendDescription(offer);
    if (!isFirst) this.#await(offer);
  }

  /** @param {number} offer */
  #await(offer) {
    clearTimeout(this.#offerTimer);
    const ms = Math.min(RETRY_MAX_MS, UNANSWERED_MS * 2 ** this.#unanswered);
    this.#offerTimer = setTimeout(() => this.#enqueue(() => this.#isUnanswered(offer)), ms);
  }

  /** @param {number} offer */
  async #isUnanswered(offer) {
    if (offer !== this.#offer || this.#pc.signalingState !== 'have-local-offer') return;
    if (this.#options.isPage()) this.#sendAgain();
    else await this.#takeBack();
  }

  #sendAgain() {
    this.#unanswered += 1;
    this.#sendDescription(this.#offer);
    this.#await(this.#offer);
  }

  async #takeBack() {
    this.#isHeldBack = true;
    await this.#rollBack();
    this.#unanswered += 1;
    const answersOnce = this.#answers < 2;
    if (answersOnce && this.#unanswered >= OFFERS_TO_CLIENT_THAT_ANSWERS_ONCE) return;
    this.#retryTimer = setTimeout(() => this.#retry(), retryDelay(this.#unanswered));
  }

  #retry() {
    this.#isHeldBack = false;
    this.#enqueue(() => this.#makeOffer());
  }

  async #rollBack() {
    clearTimeout(this.#offerTimer);
    this.#isWanted = true;
    await this.#pc.setLocalDescription({ type: 'rollback' });
  }

  #alive() {
    clearTimeout(this.#offerTimer);
    clearTimeout(this.#retryTimer);
    this.#unanswered = 0;
    this.#isHeldBack = false;
  }

  /** @param {number} offer */
  #sendDescription(offer) {
    const description = this.#pc.localDescription;
    if (!description) return;
    const sdp = { type: description.type, sdp: this.#options.describe(description.sdp, offer) };
    this.#options.send({ type: description.type === 'offer' ? 'SDP_OFFER' : 'SDP_ANSWER', sdp });
  }

  /** @param {RTCIceCandidate | null} candidate */
  #sendCandidate(candidate) {
    if (candidate?.candidate) this.#options.send({ type: 'ICE_CANDIDATE', iceCandidate: candidate.toJSON() });
  }

  /** @param {Frame} frame */
  async #handle(frame) {
    if (this.#pc.signalingState === 'closed') return;
    if (frame.type === 'SDP_OFFER') await this.#takeOffer(description(frame, 'offer'));
    if (frame.type === 'SDP_ANSWER') await this.#takeAnswer(description(frame, 'answer'));
    if (frame.type === 'ICE_CANDIDATE') await this.#takeCandidate(candidate(frame));
  }

  /** @param {{type: 'offer', sdp: string}} offer */
  async #takeOffer(offer) {
    const collides = this.#pc.signalingState !== 'stable';
    this.#isIgnoring = !this.#options.polite && collides;
    if (this.#isIgnoring) return;
    if (collides) await this.#rollBack();
    await this.#pc.setRemoteDescription(offer);
    this.#alive();
    this.#options.onDescription(offer.sdp);
    await this.#options.beforeAnswer();
    await this.#pc.setLocalDescription();
    this.#sendDescription(markOf(offer.sdp)?.offer ?? 0);
    await this.#addEarly();
  }

  // The answer to an offer that was taken back comes late; the peer answers the present one, too.
  /** @param {{type: 'answer', sdp: string}} answer */
  async #takeAnswer(answer) {
    if (this.#pc.signalingState !== 'have-local-offer') return;
    const answered = markOf(answer.sdp)?.offer;
    if (answered && answered !== this.#offer) return;
    await this.#pc.setRemoteDescription(answer);
    this.#answers += 1;
    this.#alive();
    this.#options.onDescription(answer.sdp);
    await this.#addEarly();
  }

  /** @param {RTCIceCandidateInit} candidate */
  async #takeCandidate(candidate) {
    if (!this.#pc.remoteDescription) {
      if (this.#early.length < EARLY_MAX) this.#early.push(candidate);
      return;
    }
    await this.#pc.addIceCandidate(candidate).catch((error) => {
      if (!this.#isIgnoring) console.info('candidate', error);
    });
  }

  async #addEarly() {
    for (const candidate of this.#early.splice(0)) await this.#takeCandidate(candidate);
  }
}

// The first retry comes at once: the offer has waited long enough.
/** @param {number} unanswered */
function retryDelay(unanswered) {
  return unanswered < 2 ? 0 : Math.min(RETRY_MAX_MS, UNANSWERED_MS * 2 ** (unanswered - 2));
}

/**
 * @template {'offer' | 'answer'} T
 * @param {Frame} frame @param {T} type @returns {{type: T, sdp: string}}
 */
function description(frame, type) {
  return { type, sdp: sdpOf(frame) };
}

/** @param {Frame} frame @returns {RTCIceCandidateInit} */
function candidate(frame) {
  const init = /** @type {RTCIceCandidateInit | undefined} */ (frame['iceCandidate']);
  return init && typeof init === 'object' ? init : {};
}
