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
/** Frames of a window of one second: within it the delay of the received audio is constant. */
const WINDOW = 50;
/** The greatest change of the delay from one window to the next, in frames: 0.3 s. */
const SHIFT_MAX = 15;

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
 * The correlation of received audio with a repeated speech: that of the envelopes, in the mean of the bands and of windows
 * of one second, at the delays where it is greatest. 1 is equal; two different speeches have up to 0.5. The delay may
 * change a little between windows: on a busy machine a browser loses or inserts some tenths of a second.
 * @param {Int16Array} heard @param {Int16Array} spoken
 */
export function likeness(heard, spoken) {
  const there = envelopes(heard);
  const wanted = envelopes(spoken);
  const period = wanted[0].length;
  const windows = Math.floor(there[0].length / WINDOW);
  /** The greatest sum over the windows so far, for each delay of the last one. */
  let sums = new Array(period).fill(0);
  for (let window = 0; window < windows; window += 1) {
    const former = sums;
    sums = former.map((_, delay) => greatestNear(former, delay) + windowLikeness(there, wanted, window * WINDOW, delay));
  }
  return Math.max(...sums) / windows;
}

/** The greatest value at most `SHIFT_MAX` places away in a ring. @param {number[]} ring @param {number} place */
function greatestNear(ring, place) {
  const { length } = ring;
  const near = Array.from({ length: 2 * SHIFT_MAX + 1 }, (_, at) => ring[(place + at - SHIFT_MAX + length) % length]);
  return Math.max(...near);
}

/** @param {number[][]} there @param {number[][]} wanted @param {number} start of the window @param {number} delay */
function windowLikeness(there, wanted, start, delay) {
  const each = there.map((band, at) => {
    const heard = band.slice(start, start + WINDOW);
    return correlation(heard, heard.map((_, frame) => wanted[at][(start + frame + delay) % wanted[at].length]));
  });
  return each.reduce((sum, one) => sum + one, 0) / each.length;
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
