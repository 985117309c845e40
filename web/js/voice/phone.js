// @ts-check
// Makes, accepts, declines and ends calls. The audio of a call is in `line.js`.

import { IncomingCall, OutgoingCall } from './handshake.js';
import { asOurselves } from './identity.js';
import { UnsafeChallenge } from './keys.js';
import { explain, isRefusal } from './server.js';
import { texts } from './texts.js';

/** @typedef {import('./identity.js').Identity} Identity */
/** @typedef {import('./server.js').Server} Server */
/** @typedef {import('./server.js').Params} Params */
/** @typedef {import('./events.js').VoiceEvent} VoiceEvent */
/** @typedef {import('./tabs.js').Tabs} Tabs */
/**
 * @typedef {object} PhoneEvents
 * @property {() => void} onChange  an incoming call began or ended
 * @property {(other: string, isVerified: boolean, isCaller: boolean) => void} onTalk  a call exists; whether this user is the caller
 * @property {(other: string) => void} onHangUp  the other ended it
 * @property {(words: string, other: string) => void} onFailure  the call was not connected
 * @property {(from: string) => void} onMissed
 */

const RING_MS = 60_000;
/** Calls that ring at the same time; further ones are missed. (A caller can make any number of keys.) */
const RINGING_MAX = 50;

export class Phone {
  /** @type {OutgoingCall | null} */ outgoing = null;
  /** @type {Map<string, IncomingCall>} */ incoming = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /** @param {{server: Server, identity: Identity, tabs: Tabs}} parts @param {PhoneEvents} events */
  constructor({ server, identity, tabs }, events) {
    this.server = server;
    this.identity = identity;
    this.tabs = tabs;
    this.events = events;
    addEventListener('pagehide', () => this.#hangUpAtUnload());
  }

  /** @param {string} to */
  async call(to) {
    this.cancel();
    const call = new OutgoingCall(this.identity, to);
    this.outgoing = call;
    this.#timer = setTimeout(() => this.#noAnswer(call), RING_MS);
    this.events.onChange();
    try {
      const ticket = await asOurselves(this.identity, (proof) => this.server.post('newCall', { ...proof, ...call.opening }));
      this.identity.setTicket(ticket);
      call.isRinging = true;
      if (this.outgoing === call) this.events.onChange();
      else this.#endRinging(call);
    } catch (error) {
      if (this.outgoing === call) this.#fail(call, explain(error, texts.server.callingStatus));
    }
  }

  cancel() {
    const call = this.outgoing;
    if (!call) return;
    this.#forgetOutgoing();
    this.#endRinging(call);
  }

  /** @param {string} from */
  async accept(from) {
    const call = this.incoming.get(from);
    if (!call) return;
    this.#forget(from);
    this.tabs.settled(from);
    if (this.outgoing?.to === from) this.#forgetOutgoing();
    try {
      await this.#close('acceptCall', call);
      this.events.onTalk(from, call.isVerified, false);
    } catch (error) {
      const words = isRefusal(error, 404) ? texts.phone.isOver : explain(error, texts.server.callingStatus);
      this.events.onFailure(words, from);
    }
  }

  /** @param {string} from */
  async decline(from) {
    const call = this.incoming.get(from);
    if (!call) return;
    this.#forget(from);
    this.tabs.settled(from);
    // A caller that has not answered its challenge yet cannot be rejected with a signature; hanging up has the same
    // effect.
    await this.#close('rejectCall', call).catch(() => this.hangUp(from));
  }

  /** @param {string} other */
  async hangUp(other) {
    const ask = (/** @type {Params} */ proof) => this.server.post('hangupCall', { ...proof, otherID: other });
    await asOurselves(this.identity, ask).catch((error) => console.info('hang up', error));
  }

  /** Another window has accepted or declined this call. @param {string} from */
  settledElsewhere(from) {
    if (this.incoming.has(from)) this.#forget(from);
  }

  /** @param {VoiceEvent} event */
  receive(event) {
    if (!this.identity.isAddress(event.from) || event.from === this.identity.me) return;
    if (event.kind === 'newCall') this.#ring(event);
    else if (event.kind === 'answer') this.#answered(event);
    else if (event.kind === 'answer2') this.#confirmed(event);
    else if (event.kind === 'acceptedCall') this.#accepted(event);
    else if (event.kind === 'declineCall') this.#declined(event);
  }

  /** @param {VoiceEvent} event */
  async #ring(event) {
    const { second, isFirst } = await this.tabs.challengeFor(event);
    if (!this.incoming.has(event.from) && this.incoming.size >= RINGING_MAX) return this.events.onMissed(event.from);
    const call = new IncomingCall(this.identity, event, second);
    this.incoming.set(event.from, call);
    setTimeout(() => this.#missed(call), RING_MS);
    this.events.onChange();
    if (isFirst) this.#answer(call);
  }

  /** @param {IncomingCall} call */
  async #answer(call) {
    try {
      const answer = call.answer;
      if (answer) await this.server.post('answer', answer);
    } catch (error) {
      if (error instanceof UnsafeChallenge) console.warn('a caller asked for a signature that is not for callers');
      else console.info('answer', error);
    }
  }

  /** @param {VoiceEvent} event */
  async #answered(event) {
    const call = this.outgoing;
    if (call?.to !== event.from) return;
    try {
      const confirmation = call.answered(event);
      if (confirmation) await this.server.post('answer2', confirmation);
    } catch (error) {
      console.info('answer2', error);
    }
    this.events.onChange();
  }

  /** @param {VoiceEvent} event */
  #confirmed(event) {
    const call = this.incoming.get(event.from);
    if (!call) return;
    call.confirm(event);
    this.events.onChange();
  }

  /** @param {VoiceEvent} event */
  #accepted(event) {
    const call = this.outgoing;
    if (call?.to !== event.from) return;
    if (!call.isFromCallee(event)) {
      this.#endRinging(call);
      this.#fail(call, texts.phone.unproven);
      return;
    }
    this.#forgetOutgoing();
    this.settledElsewhere(call.to);
    this.events.onTalk(call.to, call.isVerified, true);
  }

  // A decline need not be signed: a server that would forge it could as well not deliver the call.
  /** @param {VoiceEvent} event */
  #declined(event) {
    const { outgoing } = this;
    if (outgoing?.to === event.from) this.#fail(outgoing, texts.phone.declined);
    else if (this.incoming.has(event.from)) this.#cancelled(event.from);
    else this.events.onHangUp(event.from);
  }

  /** @param {string} from */
  #cancelled(from) {
    this.#forget(from);
    this.events.onMissed(from);
  }

  /** @param {IncomingCall} call */
  #missed(call) {
    if (this.incoming.get(call.from) === call) this.#cancelled(call.from);
  }

  /** @param {OutgoingCall} call */
  #noAnswer(call) {
    if (this.outgoing !== call) return;
    this.#endRinging(call);
    this.#fail(call, texts.phone.noAnswer);
  }

  /** @param {OutgoingCall} call @param {string} words */
  #fail(call, words) {
    this.#forgetOutgoing();
    this.events.onFailure(words, call.to);
  }

  /** @param {OutgoingCall} call */
  #endRinging(call) {
    if (call.isRinging) this.hangUp(call.to);
  }

  /** @param {'acceptCall' | 'rejectCall'} path @param {IncomingCall} call */
  async #close(path, call) {
    if (call.isChecked) return this.server.post(path, call.closing);
    return asOurselves(this.identity, (proof) => this.server.post(path, { ...proof, ...call.closing }));
  }

  /** @param {string} from */
  #forget(from) {
    this.incoming.delete(from);
    this.events.onChange();
  }

  #forgetOutgoing() {
    clearTimeout(this.#timer);
    this.outgoing = null;
    this.events.onChange();
  }

  #hangUpAtUnload() {
    if (!this.outgoing) return;
    this.server.postAtUnload('hangupCall', { ...this.identity.proofAtHand(), otherID: this.outgoing.to });
  }
}
