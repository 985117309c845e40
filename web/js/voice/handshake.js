// @ts-check
// The mutual proof of keys of two users. With keys:
//
//   caller  newCall  challenge 1                          →  callee
//   callee  answer   challenge 2, challenge 1 signed      →  caller   the callee is proven to the caller
//   caller  answer2  challenge 3, challenge 2 signed      →  callee   the caller is proven to the callee
//   callee  accept or reject, challenge 3 signed          →  caller   the accept is proven
//
// With a website there is no such proof: the website authenticates all users.

import { KeyIdentity } from './identity.js';
import { newChallenge, verify } from './keys.js';

/** @typedef {import('./identity.js').Identity} Identity */
/** @typedef {import('./events.js').VoiceEvent} VoiceEvent */
/** @typedef {import('./server.js').Params} Params */

export class OutgoingCall {
  #keys;
  #first = newChallenge();
  /** @type {string[]} */ #third = [];
  isVerified = false;
  /** Whether an answer had a signature that is not the callee's. */
  isDoubtful = false;
  isRinging = false;

  /** @param {Identity} identity @param {string} to */
  constructor(identity, to) {
    this.#keys = identity instanceof KeyIdentity ? identity : null;
    this.to = to;
  }

  /** @returns {Params} */
  get opening() {
    return this.#keys ? { Destination: this.to, challenge: this.#first } : { Destination: this.to };
  }

  // Several devices of one person may answer, each with a challenge of its own.
  /**
   * @param {VoiceEvent} answer
   * @returns {Params | null} the parameters of the response; null without keys, and if the callee did not sign it
   */
  answered(answer) {
    if (!this.#keys) return null;
    if (!verify(answer.answer, this.#first, this.to)) {
      this.isDoubtful = true;
      return null;
    }
    this.isVerified = true;
    const challenge = newChallenge();
    this.#third.push(challenge);
    return { Destination: this.to, challenge, signature: this.#keys.signFor(answer.challenge), PKey: this.#keys.me };
  }

  // A callee that accepts at once, without an answer, has only the first challenge to sign.
  /** @param {VoiceEvent} event  acceptedCall or declineCall @returns {boolean} whether the callee signed it */
  isFromCallee(event) {
    if (!this.#keys) return true;
    const challenges = this.#third.length > 0 ? this.#third : [this.#first];
    const isOwn = challenges.some((challenge) => verify(event.answer, challenge, this.to));
    this.isVerified ||= isOwn;
    return isOwn;
  }
}

export class IncomingCall {
  #keys;
  #latest;
  isVerified = false;

  /**
   * @param {Identity} identity
   * @param {VoiceEvent} event
   * @param {string} second  our own challenge, the same in all windows of this browser
   */
  constructor(identity, event, second) {
    this.#keys = identity instanceof KeyIdentity ? identity : null;
    this.from = event.from;
    this.first = event.challenge;
    this.#latest = event.challenge;
    this.second = second;
  }

  /** Whether the caller will be asked for a proof. */
  get isChecked() {
    return this.#keys !== null;
  }

  /** @returns {Params | null} */
  get answer() {
    if (!this.#keys) return null;
    const signature = this.#keys.signFor(this.first);
    return { Destination: this.from, challenge: this.second, signature, PKey: this.#keys.me };
  }

  // A confirmation may reply to the answer of another device of this user. The caller accepts its challenge, too.
  /** @param {VoiceEvent} event  answer2 */
  confirm(event) {
    this.#latest = event.challenge;
    this.isVerified ||= verify(event.answer, this.second, this.from);
  }

  /**
   * The parameters that accept or reject a call. The caller of this function adds those of the identity.
   * @returns {Params}
   */
  get closing() {
    const signed = this.#keys ? { signature: this.#keys.signFor(this.#latest), PKey: this.#keys.me } : {};
    return { From: this.from, ...signed };
  }
}
