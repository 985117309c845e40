// @ts-check
// A call whose server was started anew: the new one knows nothing of it. The end that rang before rings again, and the other
// end accepts, if the caller proves the same key. Where that does not come about in time, the call has ended.

/** @typedef {import('./conversation.js').Conversation} Conversation */
/** @typedef {import('./handshake.js').IncomingCall} IncomingCall */
/** @typedef {import('./phone.js').Phone} Phone */
/**
 * @typedef {object} RevivalEvents
 * @property {() => void} onChange
 * @property {(conversation: Conversation) => void} onEnd  it will not come back
 */

const WITHIN_MS = 30_000;
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

  /** Our call did not come about: the other end may not be back yet. @param {Phone} phone @param {string} other @returns {boolean} whether it is tried again */
  failed(phone, other) {
    if (!other || other !== this.other || !this.#lost?.isCaller) return false;
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.serverIsBack(phone), AGAIN_MS);
    return true;
  }

  /** Accepts the call that is awaited. @param {Phone} phone @param {(from: string) => void} accept */
  accept(phone, accept) {
    const call = phone.incoming.get(this.other);
    if (call && (call.isVerified || !call.isChecked)) accept(call.from);
  }

  /** It has come back, or is not wanted any more. @returns {Conversation | null} what was lost */
  stop() {
    clearTimeout(this.#deadline);
    clearTimeout(this.#again);
    const lost = this.#lost;
    this.#lost = null;
    if (lost) lost.isReviving = false;
    return lost;
  }

  /** It will not come back. */
  end() {
    const lost = this.stop();
    if (lost) this.events.onEnd(lost);
  }
}
