// @ts-check
// Plays a format that the page cannot decode but the browser can play, by an audio element. The delay is longer than
// that of `player.js`.

import { audioContext } from './context.js';
import { Unplayable } from './player.js';
import { rms } from './ring.js';

/** @typedef {import('./player.js').Report} Report */

const REPORT_MS = 50;
/** With more buffered than this, in seconds, the stream is played faster. */
const BEHIND_S_MAX = 1;
const CATCH_UP_RATE = 1.1;

export class MediaPlayer {
  #element = new Audio();

  /** @param {string} url @param {(report: Report) => void} onReport */
  constructor(url, onReport) {
    this.#element.crossOrigin = 'anonymous';
    this.#element.src = url;
    const context = audioContext();
    this.analyser = new AnalyserNode(context, { fftSize: 2_048 });
    this.source = context.createMediaElementSource(this.#element);
    this.source.connect(this.analyser).connect(context.destination);
    this.timer = setInterval(() => {
      this.#catchUp();
      onReport({ level: this.#level(), waiting: 0, underruns: 0, skipped: 0 });
    }, REPORT_MS);
  }

  /** Plays until the stream ends or fails, or `signal` is aborted. @param {AbortSignal} signal @param {() => void} onPlaying */
  async play(signal, onPlaying) {
    const element = this.#element;
    await new Promise((resolve, reject) => {
      signal.addEventListener('abort', resolve);
      element.addEventListener('ended', resolve);
      element.addEventListener('playing', onPlaying);
      element.addEventListener('error', () => reject(new Unplayable()));
      element.play().catch(reject);
    });
  }

  close() {
    clearInterval(this.timer);
    this.source.disconnect();
    this.#element.removeAttribute('src');
    this.#element.load();
  }

  #level() {
    const samples = new Float32Array(this.analyser.fftSize);
    this.analyser.getFloatTimeDomainData(samples);
    return rms(samples);
  }

  // An endless stream cannot be sought; it is played a little faster instead.
  #catchUp() {
    const { buffered, currentTime } = this.#element;
    const end = buffered.length > 0 ? buffered.end(buffered.length - 1) : 0;
    this.#element.playbackRate = end - currentTime > BEHIND_S_MAX ? CATCH_UP_RATE : 1;
  }
}
