// @ts-check
// The ringing tones: one for the callee, a softer one for the caller. Silent until the user has touched the page.

import { audioContext } from './audio/context.js';

/** @typedef {'ring' | 'ringback'} Kind */

const TONES = {
  ring: { notes: [659, 880, 659, 880], noteS: 0.13, gain: 0.12, periodMs: 2_000 },
  ringback: { notes: [425], noteS: 0.9, gain: 0.04, periodMs: 4_000 },
};
/** Each note fades in and out for so long, so that it does not click. */
const EDGE_S = 0.015;

export class Tone {
  /** @type {Kind | null} */ #kind = null;
  #timer = 0;
  /** @type {GainNode | null} */ #output = null;

  /** @param {Kind | null} kind */
  play(kind) {
    if (kind === this.#kind) return;
    this.#kind = kind;
    clearInterval(this.#timer);
    this.#output?.disconnect();
    if (!kind) return;
    const context = contextOrNone();
    if (!context) return;
    this.#output = new GainNode(context);
    this.#output.connect(context.destination);
    this.#once(kind);
    this.#timer = setInterval(() => this.#once(kind), TONES[kind].periodMs);
  }

  /** @param {Kind} kind */
  #once(kind) {
    const context = audioContext();
    if (context.state !== 'running' || !this.#output) return;
    const { notes, noteS, gain } = TONES[kind];
    for (const [index, frequency] of notes.entries()) {
      const start = context.currentTime + 0.02 + index * noteS;
      const tone = new OscillatorNode(context, { frequency });
      const volume = new GainNode(context, { gain: 0 });
      volume.gain.setValueAtTime(0, start);
      volume.gain.linearRampToValueAtTime(gain, start + EDGE_S);
      volume.gain.setValueAtTime(gain, start + noteS - EDGE_S);
      volume.gain.linearRampToValueAtTime(0, start + noteS);
      tone.connect(volume).connect(this.#output);
      tone.start(start);
      tone.stop(start + noteS);
    }
  }
}

// Without an audio device, calls ring in silence.
function contextOrNone() {
  try {
    return audioContext();
  } catch {
    return null;
  }
}
