// @ts-check
// The sound of one conversation, a call or a room: the uplink sends the microphone, the downlink plays the other
// members.

import { Downlink } from './downlink.js';
import { Microphone } from './audio/microphone.js';
import { Unplayable } from './audio/player.js';
import { Uplink } from './uplink.js';
import { isRefusal } from './server.js';
import { texts } from './texts.js';

/** @typedef {import('./identity.js').Identity} Identity */
/** @typedef {import('./server.js').Server} Server */
/** @typedef {import('./server.js').Params} Params */
/** @typedef {import('./audio/decoders.js').Format} Format */
/** @typedef {{server: Server, identity: Identity, path: string, params: Params}} StreamTarget  the request for a stream */
/** @typedef {'off' | 'connecting' | 'on' | 'failed'} LinkState */
/** @typedef {{kind: 'call' | 'room', address: string}} Place */
/**
 * @typedef {object} LineEvents
 * @property {() => void} onChange
 * @property {(own: number) => void} onOwnLevel
 * @property {(heard: number) => void} onHeardLevel
 * @property {() => void} onMicrophone  the microphone was opened
 * @property {() => void} onGone  the server does not know the call
 */
/**
 * @typedef {object} Sound
 * @property {Format} format  of the downlink
 * @property {boolean} isDecoded  whether the page decodes the downlink, not the browser
 * @property {boolean} isRaw  whether the sound of the microphone is left unprocessed
 * @property {string} deviceId  of the microphone; empty for the system's choice
 */

export class Line {
  /** @type {LinkState} */ up = 'off';
  /** @type {LinkState} */ down = 'off';
  micProblem = '';
  /** @type {unknown} */ problem = null;
  underruns = 0;
  /** @type {Uplink | null} */ #uplink = null;
  /** @type {Downlink | null} */ #downlink = null;
  #isClosed = false;

  /** @param {{server: Server, identity: Identity}} parts @param {Place} place @param {Sound} sound @param {LineEvents} events */
  constructor(parts, place, sound, events) {
    this.parts = parts;
    this.place = place;
    this.sound = sound;
    this.events = events;
    this.microphone = new Microphone({
      onFrame: ({ pcm, level }) => {
        this.#uplink?.send(pcm);
        events.onOwnLevel(level);
      },
      onLost: () => this.#lostMicrophone(),
    });
  }

  get isMuted() {
    return this.microphone.isMuted;
  }

  get isTalking() {
    return this.#uplink !== null;
  }

  listen() {
    this.#downlink?.close();
    const { format, isDecoded } = this.sound;
    this.#downlink = new Downlink(this.#target('join'), format, isDecoded, {
      onState: (state) => this.#set('down', state),
      onReport: ({ level, underruns }) => {
        this.underruns = underruns;
        this.events.onHeardLevel(level);
      },
      onEnd: (error) => this.#ended('down', error),
    });
  }

  async talk() {
    this.#set('up', 'connecting');
    this.micProblem = await this.microphone.open(this.sound);
    if (this.#isClosed) return this.microphone.close();
    if (!this.microphone.isOpen) return this.#set('up', 'off');
    this.events.onMicrophone();
    this.#uplink?.close();
    this.#uplink = new Uplink(this.#target('up'), this.microphone.rate, {
      onState: (state) => this.#set('up', state),
      onEnd: (error) => this.#ended('up', error),
    });
  }

  stopTalking() {
    this.#uplink?.close();
    this.#uplink = null;
    this.microphone.close();
    this.events.onOwnLevel(0);
    this.#set('up', 'off');
  }

  /** @param {boolean} isMuted */
  setMuted(isMuted) {
    this.microphone.isMuted = isMuted;
    this.events.onChange();
  }

  /** @param {Sound} sound */
  setSound(sound) {
    const { format, isRaw, deviceId } = this.sound;
    this.sound = sound;
    if (sound.format !== format && this.#downlink) this.listen();
    if (sound.isRaw !== isRaw || sound.deviceId !== deviceId) this.#changeMicrophone();
  }

  async #changeMicrophone() {
    if (!this.microphone.isOpen) return;
    const problem = await this.microphone.change(this.sound);
    if (this.#isClosed) return;
    this.micProblem = problem;
    if (this.microphone.isOpen) this.events.onMicrophone();
    else this.stopTalking();
    this.events.onChange();
  }

  /** The server has replaced a connection by a newer one of this user. @param {string} connection */
  replaced(connection) {
    this.#downlink?.replaced(connection);
  }

  close() {
    this.#isClosed = true;
    this.#downlink?.close();
    this.#downlink = null;
    this.stopTalking();
  }

  /** @param {'up' | 'join'} verb @returns {StreamTarget} */
  #target(verb) {
    const isCall = this.place.kind === 'call';
    /** @type {Params} */ const params = isCall ? { otherID: this.place.address } : { roomID: this.place.address };
    return { ...this.parts, path: `${verb}${isCall ? 'Call' : 'Room'}`, params };
  }

  /** @param {'up' | 'down'} which @param {LinkState} state */
  #set(which, state) {
    this[which] = state;
    if (state === 'on') this.problem = null;
    if (!this.#isClosed) this.events.onChange();
  }

  /** @param {'up' | 'down'} which @param {unknown} error */
  #ended(which, error) {
    if (which === 'down' && error instanceof Unplayable && this.sound.format !== 'wav') return this.#listenToWav();
    if (which === 'up') this.stopTalking();
    this.problem = error;
    this.#set(which, 'failed');
    if (this.place.kind === 'call' && isRefusal(error, 404)) this.events.onGone();
  }

  // Every browser can play WAV.
  #listenToWav() {
    this.sound = { ...this.sound, format: /** @type {const} */ ('wav'), isDecoded: true };
    this.listen();
  }

  #lostMicrophone() {
    this.stopTalking();
    this.micProblem = texts.microphone.gone;
    this.events.onChange();
  }
}
