import { setTimeout as delay } from 'node:timers/promises';
import { toneLevel } from './voice-sine.js';

const WITHIN_MS = 30_000;
const POLL_MS = 150;
/** The least difference between the wanted tone and all others, in dB. */
const CLEARLY = 40;
/** The least level of a tone that is heard, in dB. The fake microphone of Firefox has -21. */
const AUDIBLE = -25;
/** The greatest level of a tone that is not heard, in dB. */
const INAUDIBLE = -70;

/** @typedef {{ name: string, page: import('playwright-core').Page }} Listener */

/**
 * Runs in the page before its own scripts: `window.playing()` returns the sound that it plays on any output, and
 * `window.record()` records a part of it as a file in base64.
 */
export function exposeSound() {
  const SAMPLES = 32_768;
  /** @type {AnalyserNode[]} */
  const ears = [];
  /** @type {MediaStream[]} */
  const tapes = [];
  const connect = AudioNode.prototype.connect;

  /** @param {BaseAudioContext} context */
  const earOf = (context) => {
    const known = ears.find((ear) => ear.context === context);
    if (known) return known;
    const ear = new AnalyserNode(context, { fftSize: SAMPLES });
    ears.push(ear);
    const tape = new MediaStreamAudioDestinationNode(/** @type {AudioContext} */ (context));
    connect.call(ear, /** @type {any} */ (tape));
    tapes.push(tape.stream);
    return ear;
  };

  AudioNode.prototype.connect = /** @type {any} */ (
    function (/** @type {any} */ ...to) {
      // @ts-ignore: a method.
      if (to[0] instanceof AudioDestinationNode) connect.call(this, earOf(this.context));
      // @ts-ignore: a method.
      return connect.apply(this, to);
    }
  );

  window.record = async (seconds) => {
    const recorder = new MediaRecorder(tapes[0], { audioBitsPerSecond: 128_000 });
    /** @type {Blob[]} */
    const pieces = [];
    recorder.ondataavailable = ({ data }) => pieces.push(data);
    recorder.start();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
    const stopped = new Promise((resolve) => (recorder.onstop = resolve));
    recorder.stop();
    await stopped;
    const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
    return btoa(bytes.reduce((text, byte) => text + String.fromCharCode(byte), ''));
  };

  window.playing = () => {
    const sum = new Float32Array(SAMPLES);
    for (const ear of ears) {
      const heard = new Float32Array(SAMPLES);
      ear.getFloatTimeDomainData(heard);
      heard.forEach((sample, at) => (sum[at] += sample));
    }
    return Array.from(sum, (sample) => Math.round(sample * 0x8000));
  };
}

/**
 * Waits until one tone is heard and another is not.
 * @param {Listener} listener @param {() => number[]} heard runs in the page
 * @param {number} tone @param {number[]} others
 */
export async function hearsOnly(listener, heard, tone, ...others) {
  await until(listener, heard, [tone, ...others], ([level, ...rest]) => {
    return level > AUDIBLE && rest.every((other) => other < level - CLEARLY);
  });
}

/** Waits until all of these tones are heard. @param {Listener} listener @param {() => number[]} heard @param {number[]} tones */
export async function hearsAll(listener, heard, ...tones) {
  await until(listener, heard, tones, (levels) => levels.every((level) => level > AUDIBLE));
}

/** Waits until none of these tones is heard. @param {Listener} listener @param {() => number[]} heard @param {number[]} tones */
export async function hearsNone(listener, heard, ...tones) {
  await until(listener, heard, tones, (levels) => levels.every((level) => level < INAUDIBLE));
}

/**
 * @param {Listener} listener @param {() => number[]} heard @param {number[]} tones
 * @param {(levels: number[]) => boolean} isRight
 */
async function until({ name, page }, heard, tones, isRight) {
  const deadline = Date.now() + WITHIN_MS;
  for (;;) {
    const samples = await page.evaluate(heard);
    const levels = tones.map((tone) => toneLevel(samples, tone));
    if (samples.length > 0 && isRight(levels)) return;
    if (Date.now() > deadline) throw new Error(`${name} hears ${tones.map((tone, at) => `${tone} Hz at ${levels[at].toFixed(1)} dB`)}`);
    await delay(POLL_MS);
  }
}
