// @ts-check
// The microphone, open only while somebody may hear it. Each failure becomes a sentence a person can act on.

import { audioContext, loadWorklet } from './context.js';

/** @typedef {{pcm: ArrayBuffer, level: number}} Captured */

export class Microphone {
  isMuted = false;
  /** @type {MediaStream | null} */ #stream = null;
  /** @type {AudioContext | null} */ #ownContext = null;
  /** @type {AudioWorkletNode | null} */ #node = null;
  #opening = 0;

  /** @param {{onFrame: (frame: Captured) => void, onLost: () => void}} events */
  constructor(events) {
    this.events = events;
  }

  get isOpen() {
    return this.#node !== null;
  }

  /** Samples per second of what it captures. */
  get rate() {
    return (this.#ownContext ?? audioContext()).sampleRate;
  }

  /** @param {boolean} isRaw  the sound as it is, for music @returns {Promise<string>} what went wrong, or nothing */
  async open(isRaw) {
    if (this.isOpen) return '';
    if (!navigator.mediaDevices) return INSECURE;
    const opening = (this.#opening += 1);
    const isWanted = () => opening === this.#opening;
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: constraints(isRaw) });
      if (!isWanted()) return stop(stream);
      await this.#listen(stream, isWanted);
      return '';
    } catch (error) {
      return explain(error);
    }
  }

  close() {
    this.#opening += 1;
    this.#node?.port.postMessage(null);
    this.#node?.disconnect();
    this.#node = null;
    if (this.#stream) stop(this.#stream);
    this.#stream = null;
    this.#ownContext?.close();
    this.#ownContext = null;
  }

  /** @param {MediaStream} stream @param {() => boolean} isWanted */
  async #listen(stream, isWanted) {
    const source = this.#sourceOf(stream);
    await loadWorklet(source.context, 'capture-worklet.js');
    if (!isWanted()) return void stop(stream);
    const node = new AudioWorkletNode(source.context, 'switchboard-capture', { numberOfOutputs: 1 });
    node.port.onmessage = ({ data }) => this.#captured(data);
    // A node that leads nowhere may never be asked to work.
    source.connect(node).connect(source.context.destination);
    stream.getAudioTracks()[0]?.addEventListener('ended', () => this.#ended(stream));
    this.#stream = stream;
    this.#node = node;
  }

  // Some browsers will not bring a microphone into a context of another rate; the server can convert.
  /** @param {MediaStream} stream */
  #sourceOf(stream) {
    try {
      return audioContext().createMediaStreamSource(stream);
    } catch {
      this.#ownContext = new AudioContext({ latencyHint: 'interactive' });
      return this.#ownContext.createMediaStreamSource(stream);
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

/** @param {boolean} isRaw @returns {MediaTrackConstraints} */
function constraints(isRaw) {
  return { channelCount: 1, echoCancellation: !isRaw, noiseSuppression: !isRaw, autoGainControl: !isRaw };
}

/** @param {MediaStream} stream */
function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
  return '';
}

const INSECURE = 'A microphone needs https:// or localhost; this page was opened over plain http. You can listen only.';

/** @param {unknown} error */
function explain(error) {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError') return 'The browser was not allowed to use the microphone. Allow it beside the address. You can listen meanwhile.';
  if (name === 'NotFoundError') return 'No microphone was found. You can listen.';
  if (name === 'NotReadableError') return 'The microphone is in use by another program. You can listen meanwhile.';
  return 'The microphone could not be started. You can listen meanwhile.';
}
