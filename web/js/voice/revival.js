// @ts-check
// Restores a call after a restart of the server, which has forgotten it. The side that rang rings again, and the other
// side accepts if the caller proves the same key. If that does not succeed in time, the call has ended.

/** @typedef {import('./conversation.js').Conversation} Conversation */
/** @typedef {import('./handshake.js').IncomingCall} IncomingCall */
/** @typedef {import('./phone.js').Phone} Phone */
/**
 * @typedef {object} RevivalEvents
 * @property {() => void} onChange
 * @property {(conversation: Conversation) => void} onEnd  the call was not restored
 */

/** Time to restore a call. */
const WITHIN_MS = 30_000;
/** Delay between two attempts to ring. */
const AGAIN_MS = 1_500;

export class Revival {
  /** @type {Conversation | null} */ #lost = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #deadline;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #again;

  /** @param {RevivalEvents} events */
  constructor(events) {
    this.events = events;
  }

  /** The address of the other end of the lost call; empty without one. */
  get other() {
    return this.#lost?.address ?? '';
  }

  /** @param {Conversation} conversation */
  begin(conversation) {
    this.stop();
    this.#lost = conversation;
    conversation.isReviving = true;
    this.#deadline = setTimeout(() => this.end(), WITHIN_MS);
    this.events.onChange();
  }

  /** The event stream of the new server is open. @param {Phone} phone */
  serverIsBack(phone) {
    if (this.#lost?.isCaller) phone.call(this.#lost.address);
  }

  /** The call was not connected: the other side may not be online yet. @param {Phone} phone @param {string} other @returns {boolean} whether it is tried again */
  failed(phone, other) {
    if (!other || other !== this.other || !this.#lost?.isCaller) return false;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.serverIsBack(phone), AGAIN_MS);
    return true;
  }

  /** Accepts the call of the other side, once the caller has proven its key. @param {Phone} phone @param {(from: string) => void} accept */
  accept(phone, accept) {
    const call = phone.incoming.get(this.other);
    if (call && (call.isVerified || !call.isChecked)) accept(call.from);
  }

  /** The call was restored, or is no longer wanted. @returns {Conversation | null} the lost call */
  stop() {
    clearTimeout(this.#deadline);
    clearTimeout(this.#again);
    const lost = this.#lost;
    this.#lost = null;
    if (lost) lost.isReviving = false;
    return lost;
  }

  /** The call was not restored in time. */
  end() {
    const lost = this.stop();
    if (lost) this.events.onEnd(lost);
  }
}
