// @ts-check
// The microphone, open only while its sound is sent. Each failure becomes a sentence with the next step.

import { texts } from '../texts.js';
import { audioContext, loadWorklet } from './context.js';
import { NoAudioDevice } from './no-audio-device.js';

/** @typedef {{pcm: ArrayBuffer, level: number}} Captured */
/**
 * @typedef {object} Wanted
 * @property {boolean} isRaw  whether the sound is left unprocessed, as for music
 * @property {string} deviceId  empty for the system's choice
 */

export class Microphone {
  isMuted = false;
  /** @type {MediaStream | null} */ #stream = null;
  /** @type {AudioContext | null} */ #ownContext = null;
  /** @type {AudioWorkletNode | null} */ #node = null;
  /** @type {MediaStreamAudioSourceNode | null} */ #source = null;
  #opening = 0;

  /** @param {{onFrame: (frame: Captured) => void, onLost: () => void}} events */
  constructor(events) {
    this.events = events;
  }

  get isOpen() {
    return this.#node !== null;
  }

  /** Samples per second of the captured sound. */
  get rate() {
    return (this.#ownContext ?? audioContext()).sampleRate;
  }

  /** @param {Wanted} wanted @returns {Promise<string>} the error text; empty on success */
  async open(wanted) {
    if (this.isOpen) return '';
    if (!navigator.mediaDevices) return texts.microphone.insecure;
    const opening = (this.#opening += 1);
    const isWanted = () => opening === this.#opening;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: constraints(wanted) });
      if (!isWanted()) return stop(stream);
      await orStop(stream, () => this.#listen(stream, isWanted));
      return '';
    } catch (error) {
      if (isWanted()) this.close();
      return explain(error);
    }
  }

  /** Switches to another device, without an interruption if the browser can open two. @param {Wanted} wanted @returns {Promise<string>} as `open` */
  async change(wanted) {
    if (!this.#node) return '';
    const opening = (this.#opening += 1);
    try {
      const stream = await this.#anotherStream(wanted);
      if (opening !== this.#opening || !this.#node) return stop(stream);
      const node = this.#node;
      await orStop(stream, () => this.#connect(stream, node));
      return '';
    } catch (error) {
      if (opening === this.#opening) this.close();
      return explain(error);
    }
  }

  close() {
    this.#opening += 1;
    this.#node?.port.postMessage(null);
    this.#node?.disconnect();
    this.#node = null;
    this.#source = null;
    if (this.#stream) stop(this.#stream);
    this.#stream = null;
    this.#ownContext?.close();
    this.#ownContext = null;
  }

  /** @param {MediaStream} stream @param {() => boolean} isWanted */
  async #listen(stream, isWanted) {
    const context = this.#contextFor(stream);
    await loadWorklet(context, 'capture-worklet.js');
    if (!isWanted()) return void stop(stream);
    const node = new AudioWorkletNode(context, 'switchboard-capture', { numberOfOutputs: 1 });
    node.port.onmessage = ({ data }) => this.#captured(data);
    // A browser may not run a node without an output.
    node.connect(context.destination);
    this.#connect(stream, node);
    this.#node = node;
  }

  /** Connects the stream to the node. @param {MediaStream} stream @param {AudioWorkletNode} node */
  #connect(stream, node) {
    const source = new MediaStreamAudioSourceNode(/** @type {AudioContext} */ (node.context), { mediaStream: stream });
    source.connect(node);
    this.#source?.disconnect();
    if (this.#stream) stop(this.#stream);
    this.#source = source;
    this.#stream = stream;
    stream.getAudioTracks()[0]?.addEventListener('ended', () => this.#ended(stream));
  }

  // Some systems open only one microphone at a time: there the present one is stopped first.
  /** @param {Wanted} wanted */
  async #anotherStream(wanted) {
    const audio = constraints(wanted);
    try {
      return await navigator.mediaDevices.getUserMedia({ audio });
    } catch {
      if (this.#stream) stop(this.#stream);
      return navigator.mediaDevices.getUserMedia({ audio });
    }
  }

  // Some browsers cannot connect a microphone to a context with another sample rate; the server can convert.
  /** @param {MediaStream} stream @returns {AudioContext} */
  #contextFor(stream) {
    try {
      audioContext().createMediaStreamSource(stream).disconnect();
      return audioContext();
    } catch (error) {
      if (error instanceof NoAudioDevice) throw error;
      this.#ownContext = new AudioContext({ latencyHint: 'interactive' });
      return this.#ownContext;
    }
  }

  /** @param {Captured} frame */
  #captured(frame) {
    if (this.isMuted) this.events.onFrame({ pcm: new ArrayBuffer(0), level: 0 });
    else this.events.onFrame(frame);
  }

  /** @param {MediaStream} stream */
  #ended(stream) {
    if (stream !== this.#stream) return;
    this.close();
    this.events.onLost();
  }
}

/** @param {Wanted} wanted @returns {MediaTrackConstraints} */
function constraints({ isRaw, deviceId }) {
  const device = deviceId ? { deviceId } : {};
  return { ...device, channelCount: 1, echoCancellation: !isRaw, noiseSuppression: !isRaw, autoGainControl: !isRaw };
}

/** @param {MediaStream} stream */
function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
  return '';
}

/** A stream that the page cannot use would keep the microphone open. @param {MediaStream} stream @param {() => void | Promise<void>} use */
async function orStop(stream, use) {
  try {
    await use();
  } catch (error) {
    stop(stream);
    throw error;
  }
}

/** @param {unknown} error */
function explain(error) {
  const { denied, absent, busy, failed } = texts.microphone;
  const name = error instanceof DOMException ? error.name : '';
  if (error instanceof NoAudioDevice) return texts.sound.noDevice;
  if (name === 'NotAllowedError') return denied;
  if (name === 'NotFoundError') return absent;
  return name === 'NotReadableError' ? busy : failed;
}
