// @ts-check
// Decodes the bytes of a stream to samples, for each of the three formats. The browser decodes Opus and Vorbis
// (WebCodecs).

import { OggReader } from './ogg.js';
import { RATE } from './ring.js';
import { WavReader } from './wav.js';

/** @typedef {'opus' | 'wav' | 'vorbis'} Format */
/** @typedef {(samples: Float32Array) => void} OnSamples */
/**
 * @typedef {object} Decoder
 * @property {(bytes: Uint8Array) => void} take  decodes the next bytes of the stream, any piece of it
 * @property {() => void} close
 */

/** Milliseconds of audio that are buffered before sound begins: those that the server sends at once, and some for jitter. */
export const PREFILL_MS = { wav: 60, opus: 100, vorbis: 100 };

/** The formats that this browser decodes itself, best first. @returns {Promise<Format[]>} */
export async function playableFormats() {
  /** @type {Format[]} */ const formats = [];
  if (await canDecode('opus')) formats.push('opus');
  formats.push('wav');
  if (await canDecode('vorbis')) formats.push('vorbis');
  return formats;
}

/** @param {Format} format @param {OnSamples} onSamples @returns {Decoder} */
export function newDecoder(format, onSamples) {
  if (format === 'opus') return new OpusDecoder(onSamples);
  if (format === 'vorbis') return new VorbisDecoder(onSamples);
  return new PcmDecoder(onSamples);
}

/** @param {Format} codec */
async function canDecode(codec) {
  if (typeof AudioDecoder !== 'function') return false;
  /** @type {AudioDecoderConfig} */ const config = { codec, sampleRate: RATE, numberOfChannels: 1 };
  // Vorbis needs a description; one with three empty headers is enough for this question.
  if (codec === 'vorbis') config.description = new Uint8Array([2, 0, 0]);
  return AudioDecoder.isConfigSupported(config).then(({ supported }) => Boolean(supported), () => false);
}

class PcmDecoder {
  #reader = new WavReader();

  /** @param {OnSamples} onSamples */
  constructor(onSamples) {
    this.onSamples = onSamples;
  }

  /** @param {Uint8Array} bytes */
  take(bytes) {
    const samples = this.#reader.read(bytes);
    if (samples.length > 0) this.onSamples(samples);
  }

  close() {}
}

/** A decoder of the browser. Its first error is thrown by the next call of `decode`. */
class Codec {
  #problem = null;
  /** Microseconds. The timestamps of packets must increase; nothing else uses them. */
  #time = 0;

  /** @param {OnSamples} onSamples */
  constructor(onSamples) {
    this.decoder = new AudioDecoder({
      output: (data) => onSamples(mono(data)),
      error: (problem) => (this.#problem ??= /** @type {any} */ (problem)),
    });
  }

  /** @param {AudioDecoderConfig} config */
  configure(config) {
    this.decoder.configure(config);
  }

  /** @param {Uint8Array} data */
  decode(data) {
    if (this.#problem) throw this.#problem;
    this.decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp: this.#time, data }));
    this.#time += 20_000;
  }

  close() {
    if (this.decoder.state !== 'closed') this.decoder.close();
  }
}

class OpusDecoder {
  #reader = new OggReader();
  #codec;
  /** Packets so far; the first two are headers. */
  #heads = 0;
  /** Samples that are still dropped from the begin of the stream (pre-skip). */
  #skip = 0;

  /** @param {OnSamples} onSamples */
  constructor(onSamples) {
    this.#codec = new Codec((samples) => {
      const kept = samples.subarray(Math.min(this.#skip, samples.length));
      this.#skip -= samples.length - kept.length;
      if (kept.length > 0) onSamples(kept);
    });
  }

  /** @param {Uint8Array} bytes */
  take(bytes) {
    for (const packet of this.#reader.read(bytes)) this.#packet(packet);
  }

  close() {
    this.#codec.close();
  }

  /** @param {Uint8Array} packet */
  #packet(packet) {
    if (this.#heads >= 2) this.#codec.decode(packet);
    else if (this.#heads === 0) this.#configure(packet);
    this.#heads += 1;
  }

  /** @param {Uint8Array} head  OpusHead: magic 8, version 1, channels 1, pre-skip 2, rate 4, gain 2, mapping 1 */
  #configure(head) {
    if (new TextDecoder().decode(head.subarray(0, 8)) !== 'OpusHead' || head.length < 19) throw new Error('not Opus');
    this.#skip = (head[10] ?? 0) | ((head[11] ?? 0) << 8);
    this.#codec.configure({ codec: 'opus', sampleRate: RATE, numberOfChannels: head[9] === 2 ? 2 : 1 });
  }
}

class VorbisDecoder {
  #reader = new OggReader();
  #codec;
  /** @type {Uint8Array[]} */ #heads = [];

  /** @param {OnSamples} onSamples */
  constructor(onSamples) {
    this.#codec = new Codec(onSamples);
  }

  /** @param {Uint8Array} bytes */
  take(bytes) {
    for (const packet of this.#reader.read(bytes)) this.#packet(packet);
  }

  close() {
    this.#codec.close();
  }

  /** @param {Uint8Array} packet */
  #packet(packet) {
    if (this.#heads.length === 3) return this.#codec.decode(packet);
    this.#heads.push(packet);
    if (this.#heads.length < 3) return;
    const [head] = this.#heads;
    if (head?.[0] !== 1 || head.length < 16) throw new Error('not Vorbis');
    const sampleRate = new DataView(head.buffer, head.byteOffset).getUint32(12, true);
    const description = laced(this.#heads);
    this.#codec.configure({ codec: 'vorbis', sampleRate, numberOfChannels: head[11] ?? 1, description });
  }
}

/** The three headers of Vorbis with Xiph lacing, as WebCodecs wants them. @param {Uint8Array[]} heads */
function laced(heads) {
  const lengths = heads.slice(0, -1).flatMap(({ length }) => [...Array(Math.floor(length / 255)).fill(255), length % 255]);
  return Uint8Array.from([heads.length - 1, ...lengths, ...heads.flatMap((head) => [...head])]);
}

/** @param {AudioData} data @returns {Float32Array} */
function mono(data) {
  const samples = new Float32Array(data.numberOfFrames);
  data.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
  data.close();
  return samples;
}
