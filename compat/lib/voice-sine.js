/** Tones: made as samples and WAV files, and detected in received audio. */

export const RATE = 48_000;
const FULL_SCALE = 32_768;
/** The level of an absent tone. */
const SILENCE_DB = -120;
/** The samples of a section of `usualLevel`: a quarter of a second. */
const STRETCH = RATE / 4;

/** @param {number} level in dB below full scale */
function amplitude(level) {
  return FULL_SCALE * 10 ** (level / 20);
}

/**
 * A tone as 16-bit samples, with a whole number of periods in each second.
 * @param {number} frequency @param {number} seconds @param {number} level in dB below full scale
 */
export function sine(frequency, seconds, level) {
  const peak = amplitude(level);
  return Int16Array.from({ length: seconds * RATE }, (_, at) => Math.round(peak * Math.sin((2 * Math.PI * frequency * at) / RATE)));
}

/** A WAV file. @param {Int16Array} samples */
export function wavFile(samples) {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + samples.byteLength, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(RATE, 24);
  head.writeUInt32LE(RATE * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([head, bytesOf(samples)]);
}

/** @param {Int16Array} samples */
export function bytesOf(samples) {
  return Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength);
}

/** Signed 16-bit little-endian PCM as samples. @param {Uint8Array} bytes */
export function samplesOf(bytes) {
  const length = Math.floor(bytes.length / 2);
  return new Int16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 2 * length));
}

/**
 * The level of a tone in received audio, in dB below full scale: Goertzel's algorithm under a Hann window, so that
 * other tones and the ends of the section have little weight.
 * @param {ArrayLike<number>} samples of 16 bits @param {number} frequency
 */
export function toneLevel(samples, frequency) {
  const turn = (2 * Math.PI * frequency) / RATE;
  const weight = 2 * Math.cos(turn);
  let [before, last] = [0, 0];
  for (let at = 0; at < samples.length; at += 1) {
    const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / samples.length);
    [before, last] = [last, window * samples[at] + weight * last - before];
  }
  const power = last * last + before * before - weight * last * before;
  // The window lets half of an amplitude through, and half of that is at the negative frequency.
  const peak = (4 * Math.sqrt(Math.max(power, 0))) / samples.length;
  return Math.max(20 * Math.log10(peak / FULL_SCALE), SILENCE_DB);
}

/**
 * The median of the levels of many short sections: gaps of a busy machine have no weight.
 * @param {Int16Array} samples @param {number} frequency
 */
export function usualLevel(samples, frequency) {
  const levels = [];
  for (let at = 0; at + STRETCH <= samples.length; at += STRETCH) levels.push(toneLevel(samples.subarray(at, at + STRETCH), frequency));
  return levels.sort((a, b) => a - b)[levels.length >> 1];
}
