// @ts-check
// The one audio context of the page, at the sample rate of the streams. Browsers suspend it until the user has touched
// the page.

import { NoAudioDevice } from './no-audio-device.js';
import { RATE } from './ring.js';

/** The time within which a browser starts its sound, if it is allowed and has a device. */
const START_MS = 3_000;

/** @type {AudioContext | null} */
let context = null;
/** @type {Map<string, Promise<void>>} */
const modules = new Map();
let hasNoDevice = false;
let speaker = '';

/** The audio context. Throws {@link NoAudioDevice} where the browser refuses to make one. */
export function audioContext() {
  context ??= openContext();
  return context;
}

/** @param {BaseAudioContext} where @param {'ring-worklet.js' | 'capture-worklet.js'} file */
export async function loadWorklet(where, file) {
  const key = `${where === context} ${file}`;
  const isShared = where === context;
  const loading = (isShared && modules.get(key)) || where.audioWorklet.addModule(new URL(file, import.meta.url));
  if (isShared) modules.set(key, loading);
  await loading;
}

export function isSoundBlocked() {
  return context?.state === 'suspended';
}

/** Whether the context was allowed to start and did not: without an audio device, Firefox leaves it suspended for good. */
export function isDeviceMissing() {
  return hasNoDevice && context?.state !== 'running';
}

export const canChooseSpeaker = typeof AudioContext === 'function' && 'setSinkId' in AudioContext.prototype;

/** Plays all sound on this device; '' is the system's choice. @param {string} deviceId @returns {Promise<boolean>} whether it succeeded */
export async function chooseSpeaker(deviceId) {
  speaker = deviceId;
  return applySpeaker();
}

async function applySpeaker() {
  const sound = /** @type {{setSinkId?: (id: string) => Promise<void>} | null} */ (context);
  if (!sound?.setSinkId) return true;
  try {
    await sound.setSinkId(speaker);
    return true;
  } catch (error) {
    console.info('speaker', error);
    return false;
  }
}

function openContext() {
  const opened = newContext();
  const wake = (isTouched = true) => {
    opened.resume().catch(() => {});
    if (isTouched) setTimeout(() => checkStarted(opened), START_MS);
  };
  for (const touch of ['pointerdown', 'keydown']) addEventListener(touch, () => wake());
  opened.addEventListener('statechange', () => (hasNoDevice &&= opened.state !== 'running'));
  wake(navigator.userActivation?.hasBeenActive === true);
  return opened;
}

function newContext() {
  try {
    const opened = new AudioContext({ sampleRate: RATE, latencyHint: 'interactive' });
    context = opened;
    if (speaker) applySpeaker();
    return opened;
  } catch (error) {
    console.info('audio context', error);
    throw new NoAudioDevice();
  }
}

/** @param {AudioContext} opened */
function checkStarted(opened) {
  hasNoDevice = opened.state !== 'running';
}
