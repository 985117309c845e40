/** Speech: spoken by `espeak-ng`, and detected in a recording by the envelopes of four bands of its spectrum. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { RATE, wavFile } from './voice-sine.js';
import { decode, missing } from './voice-tools.js';

const run = promisify(execFile);
/** The four bands of the spectrum, in Hz. */
const BANDS = [
  [250, 600],
  [600, 1_200],
  [1_200, 2_400],
  [2_400, 4_800],
];
/** The samples of 20 ms. */
const FRAME = RATE / 50;
/** A sound that is quieter than the loudest one by more than this counts as silence. */
const RANGE_DB = 45;

/** The reason why no speech is available here, or false. */
export const speechMissing = missing('espeak-ng', 'ffmpeg');

/**
 * Speaks a text into a WAV file.
 * @param {string} folder @param {string} name of the file @param {string} text @param {string} voice
 */
export async function speak(folder, name, text, voice) {
  const plain = join(folder, `${name}-plain.wav`);
  await run('espeak-ng', ['-v', voice, '-s', '150', '-a', '150', '-w', plain, text]);
  const samples = await decode(plain);
  const file = join(folder, `${name}.wav`);
  await writeFile(file, wavFile(samples));
  return { file, samples };
}

/**
 * The correlation of received audio with a repeated speech: that of the envelopes, in the mean of the bands, at the delay
 * where it is greatest. 1 is equal, 0 is unrelated.
 * @param {Int16Array} heard @param {Int16Array} spoken
 */
export function likeness(heard, spoken) {
  const there = envelopes(heard);
  const wanted = envelopes(spoken);
  const period = wanted[0].length;
  let best = 0;
  for (let delay = 0; delay < period; delay += 1) {
    const each = there.map((band, at) => correlation(band, band.map((_, frame) => wanted[at][(frame + delay) % period])));
    best = Math.max(best, each.reduce((sum, one) => sum + one, 0) / each.length);
  }
  return best;
}

/** For each band its level in dB, 50 times a second. @param {Int16Array} samples */
function envelopes(samples) {
  return BANDS.map(([low, high]) => {
    const band = between(samples, low, high);
    const powers = Array.from({ length: Math.floor(band.length / FRAME) }, (_, frame) => {
      const piece = band.subarray(frame * FRAME, (frame + 1) * FRAME);
      return piece.reduce((sum, sample) => sum + sample * sample, 1);
    });
    const floor = Math.max(...powers) / 10 ** (RANGE_DB / 10);
    return powers.map((power) => 10 * Math.log10(Math.max(power, floor)));
  });
}

/** Two biquads, a high pass and a low pass (Audio EQ Cookbook). @param {Int16Array} samples @param {number} low @param {number} high */
function between(samples, low, high) {
  return filtered(filtered(Float64Array.from(samples), low, 1), high, -1);
}

/** @param {Float64Array} samples @param {number} corner in Hz @param {1 | -1} side 1 passes what is above */
function filtered(samples, corner, side) {
  const turn = (2 * Math.PI * corner) / RATE;
  const [cos, alpha] = [Math.cos(turn), Math.sin(turn) / Math.SQRT2];
  const middle = 1 + side * cos;
  let [x1, x2, y1, y2] = [0, 0, 0, 0];
  return samples.map((x) => {
    const y = ((middle / 2) * (x - side * 2 * x1 + x2) + 2 * cos * y1 - (1 - alpha) * y2) / (1 + alpha);
    [x2, x1, y2, y1] = [x1, x, y1, y];
    return y;
  });
}

/** @param {number[]} one @param {number[]} other */
function correlation(one, other) {
  const mean = (/** @type {number[]} */ values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [a, b] = [mean(one), mean(other)];
  let [both, first, second] = [0, 0, 0];
  one.forEach((value, at) => {
    both += (value - a) * (other[at] - b);
    first += (value - a) ** 2;
    second += (other[at] - b) ** 2;
  });
  return both / Math.sqrt(first * second || 1);
}
