// @ts-check
// Plays the ring on the audio thread. Samples arrive as messages; reports with the level and the buffered samples go
// out.

import { RATE, Ring, rms } from './ring.js';

const { AudioWorkletProcessor, registerProcessor } = /** @type {any} */ (globalThis);
/** Samples per report: 20 reports a second. */
const REPORT_SAMPLES = RATE / 20;

class Player extends AudioWorkletProcessor {
  /** @param {{processorOptions: {prefillMs: number}}} options */
  constructor({ processorOptions }) {
    super();
    this.ring = new Ring(processorOptions.prefillMs);
    this.isOpen = true;
    /** The highest root mean square since the last report. */
    this.level = 0;
    this.played = 0;
    this.port.onmessage = (/** @type {MessageEvent<Float32Array | null>} */ { data }) => {
      if (data) this.ring.push(data);
      else this.isOpen = false;
    };
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs */
  process(_inputs, outputs) {
    const channels = outputs[0] ?? [];
    const [first] = channels;
    if (!first) return this.isOpen;
    this.ring.pull(first);
    for (const other of channels.slice(1)) other.set(first);
    this.report(first);
    return this.isOpen;
  }

  /** @param {Float32Array} samples */
  report(samples) {
    this.level = Math.max(this.level, rms(samples));
    this.played += samples.length;
    if (this.played < REPORT_SAMPLES) return;
    const { waiting, underruns, skipped } = this.ring;
    this.port.postMessage({ level: this.level, waiting, underruns, skipped });
    this.level = 0;
    this.played = 0;
  }
}

registerProcessor('switchboard-player', Player);
