// @ts-check
// The sentences for microphones, cameras and screens that cannot be captured.

import { texts } from './texts.js';

/** @typedef {'microphone' | 'camera' | 'screen'} Device */

const REASONS = /** @type {const} */ (['notAllowed', 'notFound', 'inUse', 'failed']);

/** @param {Device} device @param {unknown} error */
export function explain(device, error) {
  const name = error instanceof DOMException ? error.name : '';
  const words = texts.media[device];
  if (name === 'NotAllowedError') return words.notAllowed;
  if (name === 'NotFoundError') return words.notFound;
  return name === 'NotReadableError' ? words.inUse : words.failed;
}

/** One sentence if both fail for the same reason. @param {string} microphone  its problem @param {string} camera  its problem */
export function explainBoth(microphone, camera) {
  const { microphone: ofMicrophone, camera: ofCamera, both } = texts.media;
  const shared = REASONS.find((reason) => microphone === ofMicrophone[reason] && camera === ofCamera[reason]);
  return shared ? both[shared] : [microphone, camera].filter(Boolean).join(' ');
}
