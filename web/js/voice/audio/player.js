// @ts-check
// Plays one stream that the page decodes, and reports the level of the sound.

import { audioContext, loadWorklet } from './context.js';
import { PREFILL_MS, newDecoder } from './decoders.js';

/** @typedef {import('./decoders.js').Format} Format */
/**
 * @typedef {object} Report
 * @property {number} level  root mean square, 0 to 1
 * @property {number} waiting  buffered samples
 * @property {number} underruns  times that the buffer ran empty
 * @property {number} skipped  samples
 */

export class Player {
  /** @param {AudioWorkletNode} node @param {Format} format @param {(report: Report) => void} onReport */
  constructor(node, format, onReport) {
    this.node = node;
    this.decoder = newDecoder(format, (samples) => node.port.postMessage(samples, [samples.buffer]));
    node.port.onmessage = ({ data }) => onReport(data);
    node.connect(audioContext().destination);
  }

  /** @param {Format} format @param {(report: Report) => void} onReport */
  static async open(format, onReport) {
    const context = audioContext();
    await loadWorklet(context, 'ring-worklet.js');
    const node = new AudioWorkletNode(context, 'switchboard-player', {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { prefillMs: PREFILL_MS[format] },
    });
    return new Player(node, format, onReport);
  }

  /** Plays the stream until it ends or is cancelled. @param {ReadableStream<Uint8Array>} stream */
  async play(stream) {
    const reader = stream.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        this.#decode(value);
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  close() {
    this.decoder.close();
    this.node.port.onmessage = null;
    this.node.port.postMessage(null);
    this.node.disconnect();
  }

  /** @param {Uint8Array} bytes */
  #decode(bytes) {
    try {
      this.decoder.take(bytes);
    } catch (error) {
      console.info('decoding', error);
      throw new Unplayable();
    }
  }
}

/** The received audio is not of the requested format, or this browser cannot decode it. */
export class Unplayable extends Error {}
