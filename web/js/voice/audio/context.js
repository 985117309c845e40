// @ts-check
// The one audio context of the page, at the rate of the wire. Browsers keep it asleep until the page was touched.

import { RATE } from './ring.js';

/** @type {AudioContext | null} */
let context = null;
/** @type {Map<string, Promise<void>>} */
const modules = new Map();

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

function openContext() {
  const opened = new AudioContext({ sampleRate: RATE, latencyHint: 'interactive' });
  const wake = () => opened.resume().catch(() => {});
  addEventListener('pointerdown', wake);
  addEventListener('keydown', wake);
  wake();
  return opened;
}
