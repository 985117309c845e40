// @ts-check
// Offers and answers with one peer, by the "perfect negotiation" pattern: both sides may offer at any time, and
// when two offers cross, the polite side drops its own. Some clients answer only once in their life; a later
// offer that stays unanswered is taken back, and no more are made to that peer.

/** @typedef {import('./signaling.js').Frame} Frame */
/**
 * @typedef {object} NegotiationOptions
 * @property {boolean} polite
 * @property {(frame: Frame) => void} send
 * @property {() => Promise<void>} beforeAnswer  called between the offer received and the answer made
 * @property {(sdp: string) => string} describe  the session description as it is sent to the peer
 * @property {(sdp: string) => void} onDescription  the peer's session description was applied
 */

const UNANSWERED_MS = 8_000;

export class Negotiation {
  #pc;
  #options;
  #makingOffer = false;
  #ignoring = false;
  #answersOnce = false;
  #again = false;
  /** @type {RTCIceCandidateInit[]} */ #early = [];
  /** @type {Promise<unknown>} */ #inbox = Promise.resolve();

  /** @param {RTCPeerConnection} pc @param {NegotiationOptions} options */
  constructor(pc, options) {
    this.#pc = pc;
    this.#options = options;
    pc.addEventListener('negotiationneeded', () => this.#offer());
    pc.addEventListener('icecandidate', ({ candidate }) => this.#sendCandidate(candidate));
    pc.addEventListener('signalingstatechange', () => this.#settle());
  }

  /** Frames of one peer are taken strictly one after another. @param {Frame} frame */
  receive(frame) {
    this.#inbox = this.#inbox.then(() => this.#handle(frame)).catch((error) => console.warn('negotiation', error));
  }

  /** Makes a fresh offer, for what the browser does not see as a change. Does nothing before the first exchange. */
  renegotiate() {
    if (!this.#pc.remoteDescription) return;
    this.#again = true;
    this.#settle();
  }

  #settle() {
    if (!this.#again || this.#pc.signalingState !== 'stable') return;
    this.#again = false;
    this.#offer();
  }

  async #offer() {
    const isFirst = !this.#pc.remoteDescription;
    if (this.#answersOnce) return;
    try {
      this.#makingOffer = true;
      await this.#pc.setLocalDescription();
      this.#sendDescription();
    } catch (error) {
      console.warn('offer', error);
    } finally {
      this.#makingOffer = false;
    }
    if (!isFirst) setTimeout(() => this.#takeBack(), UNANSWERED_MS);
  }

  async #takeBack() {
    if (this.#pc.signalingState !== 'have-local-offer') return;
    this.#answersOnce = true;
    await this.#pc.setLocalDescription({ type: 'rollback' }).catch(() => {});
  }

  #sendDescription() {
    const description = this.#pc.localDescription;
    if (!description) return;
    const sdp = { type: description.type, sdp: this.#options.describe(description.sdp) };
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

  /** @param {RTCSessionDescriptionInit} offer */
  async #takeOffer(offer) {
    const collides = this.#makingOffer || this.#pc.signalingState !== 'stable';
    this.#ignoring = !this.#options.polite && collides;
    if (this.#ignoring) return;
    await this.#pc.setRemoteDescription(offer);
    this.#options.onDescription(offer.sdp ?? '');
    await this.#options.beforeAnswer();
    await this.#pc.setLocalDescription();
    this.#sendDescription();
    await this.#addEarly();
  }

  /** @param {RTCSessionDescriptionInit} answer */
  async #takeAnswer(answer) {
    if (this.#pc.signalingState !== 'have-local-offer') return;
    await this.#pc.setRemoteDescription(answer);
    this.#options.onDescription(answer.sdp ?? '');
    await this.#addEarly();
  }

  /** @param {RTCIceCandidateInit} candidate */
  async #takeCandidate(candidate) {
    if (!this.#pc.remoteDescription) {
      this.#early.push(candidate);
      return;
    }
    await this.#pc.addIceCandidate(candidate).catch((error) => {
      if (!this.#ignoring) console.warn('candidate', error);
    });
  }

  async #addEarly() {
    for (const candidate of this.#early.splice(0)) await this.#takeCandidate(candidate);
  }
}

/** @param {Frame} frame @param {'offer' | 'answer'} type @returns {RTCSessionDescriptionInit} */
function description(frame, type) {
  const sdp = /** @type {{sdp?: unknown} | undefined} */ (frame['sdp']);
  return { type, sdp: String(sdp?.sdp ?? '') };
}

/** @param {Frame} frame @returns {RTCIceCandidateInit} */
function candidate(frame) {
  const init = /** @type {RTCIceCandidateInit | undefined} */ (frame['iceCandidate']);
  return init && typeof init === 'object' ? init : {};
}
