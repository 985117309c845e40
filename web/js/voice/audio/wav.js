// @ts-check
// Reads an endless WAV stream: finds the first sample, and converts 16-bit PCM to floats.

const HEADER_MAX = 4_096;

export class WavReader {
  /** Bytes that are not a whole header or sample yet. @type {Uint8Array} */ #kept = new Uint8Array(0);
  #hasHeader = false;

  /** @param {Uint8Array} bytes  any piece of the stream @returns {Float32Array} */
  read(bytes) {
    let all = join(this.#kept, bytes);
    if (!this.#hasHeader) {
      const start = dataStart(all);
      if (start === null) {
        if (all.length > HEADER_MAX) throw new Error('a WAV stream without data');
        this.#kept = all;
        return new Float32Array(0);
      }
      this.#hasHeader = true;
      all = all.subarray(start);
    }
    const even = all.length - (all.length % 2);
    this.#kept = all.slice(even);
    return toFloats(all.subarray(0, even));
  }
}

/** @param {Uint8Array} bytes @returns {number | null} */
function dataStart(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 12) return null;
  if (word(bytes, 0) !== 'RIFF' || word(bytes, 8) !== 'WAVE') throw new Error('not a WAV stream');
  let at = 12;
  while (at + 8 <= bytes.length) {
    if (word(bytes, at) === 'data') return at + 8;
    if (word(bytes, at) === 'fmt ' && at + 24 <= bytes.length) mustBeOurs(view, at + 8);
    const length = view.getUint32(at + 4, true);
    at += 8 + length + (length % 2);
  }
  return null;
}

/** @param {DataView} view @param {number} at */
function mustBeOurs(view, at) {
  const [kind, channels, rate, bits] = [view.getUint16(at, true), view.getUint16(at + 2, true), view.getUint32(at + 4, true), view.getUint16(at + 14, true)];
  if (kind !== 1 || channels !== 1 || rate !== 48_000 || bits !== 16) {
    throw new Error(`a WAV stream of another kind: ${kind}, ${channels} channels, ${rate} Hz, ${bits} bits`);
  }
}

/** @param {Uint8Array} bytes */
function toFloats(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float32Array.from({ length: bytes.length / 2 }, (_, index) => view.getInt16(index * 2, true) / 32_768);
}

/** @param {Uint8Array} bytes @param {number} at */
function word(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

/** @param {Uint8Array} first @param {Uint8Array} second */
export function join(first, second) {
  if (first.length === 0) return second;
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}
