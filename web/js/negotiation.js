// @ts-check
// Offers and answers with one peer, by the "perfect negotiation" pattern: both sides may offer at any time, and
// when two offers cross, the polite side drops its own. Frames of the peer and own offers are handled in one queue, one
// after another.
//
// An offer after the first one that stays unanswered was delayed or lost by the server, or ignored. A page gets the
// same offer again, because it answers an offer as often as it comes. For any other client the offer is rolled back:
// otherwise it would block the offers of that client. Such a client gets only a few more offers, because some clients
// answer only one.
//
// After a rollback, Chromium shows no picture any more (its receiver loses its sink). So of two pages only the impolite
// one makes offers while their data channel is open; the polite one requests them over that channel.

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

/** Time that the peer has to answer an offer; doubled after each unanswered one, up to RETRY_MAX_MS. */
const UNANSWERED_MS = 8_000;
const RETRY_MAX_MS = 30_000;
const OFFERS_TO_CLIENT_THAT_ANSWERS_ONCE = 3;
/** Candidates that are kept before the first session description; later ones are dropped. */
const EARLY_MAX = 100;

export class Negotiation {
  #pc;
  #options;
  /** An offer is to be made as soon as the state allows it. */
  #isOfferWanted = false;
  /** No offer is made before the retry, or before the peer has sent a frame. */
  #isHeldBack = false;
  /** The peer's latest offer crossed an own one and is ignored: so are its candidates. */
  #isIgnoringOffer = false;
  /** Number of the latest own offer. */
  #offer = 0;
  /** Offers repeated or rolled back since the last description of the peer. */
  #unanswered = 0;
  #answers = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #offerTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {RTCIceCandidateInit[]} */ #earlyCandidates = [];
  /** The end of the queue. @type {Promise<unknown>} */ #queue = Promise.resolve();

  /** @param {RTCPeerConnection} pc @param {NegotiationOptions} options */
  constructor(pc, options) {
    this.#pc = pc;
    this.#options = options;
    pc.addEventListener('negotiationneeded', () => this.#requestOffer());
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

  /** Makes a new offer for a change that the browser does not notice. Does nothing before the first exchange. */
  renegotiate() {
    if (this.hasRemoteDescription) this.#requestOffer();
  }

  /** The server has a new session for one of the two: frames on their way are lost, so a pending offer is sent again. */
  resume() {
    this.#enqueue(async () => {
      this.#peerResponded();
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
    this.#queue = this.#queue.then(task).catch((error) => {
      if (this.#pc.signalingState !== 'closed') console.warn('negotiation', error);
    });
  }

  #requestOffer() {
    this.#isOfferWanted = true;
    this.#enqueue(() => this.#makeOffer());
  }

  async #makeOffer() {
    if (!this.#isOfferWanted || this.#isHeldBack || this.#pc.signalingState !== 'stable') return;
    const isFirst = !this.#pc.remoteDescription;
    this.#isOfferWanted = false;
    if (!isFirst && this.#options.polite && this.#options.delegate()) return;
    this.#offer += 1;
    const offer = this.#offer;
    await this.#pc.setLocalDescription();
    this.#sendDescription(offer);
    if (!isFirst) this.#startAnswerTimer(offer);
  }

  /** @param {number} offer */
  #startAnswerTimer(offer) {
    clearTimeout(this.#offerTimer);
    const ms = Math.min(RETRY_MAX_MS, UNANSWERED_MS * 2 ** this.#unanswered);
    this.#offerTimer = setTimeout(() => this.#enqueue(() => this.#answerTimedOut(offer)), ms);
  }

  /** @param {number} offer */
  async #answerTimedOut(offer) {
    if (offer !== this.#offer || this.#pc.signalingState !== 'have-local-offer') return;
    if (this.#options.isPage()) this.#sendAgain();
    else await this.#withdrawOffer();
  }

  #sendAgain() {
    this.#unanswered += 1;
    this.#sendDescription(this.#offer);
    this.#startAnswerTimer(this.#offer);
  }

  async #withdrawOffer() {
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
    this.#isOfferWanted = true;
    await this.#pc.setLocalDescription({ type: 'rollback' });
  }

  /** The peer has answered, offered, or has a new session: forgets that it was silent. */
  #peerResponded() {
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
    if (frame.type === 'SDP_OFFER') await this.#applyOffer(description(frame, 'offer'));
    if (frame.type === 'SDP_ANSWER') await this.#applyAnswer(description(frame, 'answer'));
    if (frame.type === 'ICE_CANDIDATE') await this.#addCandidate(candidate(frame));
  }

  /** @param {{type: 'offer', sdp: string}} offer */
  async #applyOffer(offer) {
    const collides = this.#pc.signalingState !== 'stable';
    this.#isIgnoringOffer = !this.#options.polite && collides;
    if (this.#isIgnoringOffer) return;
    if (collides) await this.#rollBack();
    await this.#pc.setRemoteDescription(offer);
    this.#peerResponded();
    this.#options.onDescription(offer.sdp);
    await this.#options.beforeAnswer();
    await this.#pc.setLocalDescription();
    this.#sendDescription(markOf(offer.sdp)?.offer ?? 0);
    await this.#addEarlyCandidates();
  }

  // An answer to an offer that was rolled back is ignored: the peer answers the present offer, too.
  /** @param {{type: 'answer', sdp: string}} answer */
  async #applyAnswer(answer) {
    if (this.#pc.signalingState !== 'have-local-offer') return;
    const answered = markOf(answer.sdp)?.offer;
    if (answered && answered !== this.#offer) return;
    await this.#pc.setRemoteDescription(answer);
    this.#answers += 1;
    this.#peerResponded();
    this.#options.onDescription(answer.sdp);
    await this.#addEarlyCandidates();
  }

  /** @param {RTCIceCandidateInit} candidate */
  async #addCandidate(candidate) {
    if (!this.#pc.remoteDescription) {
      if (this.#earlyCandidates.length < EARLY_MAX) this.#earlyCandidates.push(candidate);
      return;
    }
    await this.#pc.addIceCandidate(candidate).catch((error) => {
      if (!this.#isIgnoringOffer) console.info('candidate', error);
    });
  }

  async #addEarlyCandidates() {
    for (const candidate of this.#earlyCandidates.splice(0)) await this.#addCandidate(candidate);
  }
}

// The first retry comes at once: the rolled back offer has waited for UNANSWERED_MS already.
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
