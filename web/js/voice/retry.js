// @ts-check
// The reaction to a failed connection, by its error: retry after a pause, retry at once with a new proof, or give up.

import { NoAudioDevice } from './audio/no-audio-device.js';
import { Unplayable } from './audio/player.js';
import { isRefusal, Replaced } from './server.js';

const MIN_MS = 400;
const MAX_MS = 8_000;

export class Retry {
  #failures = 0;
  /** Proofs that the server has rejected one after another. */
  #rejectedProofs = 0;

  /** Resets the attempts after a success. */
  succeeded() {
    this.#failures = this.#rejectedProofs = 0;
  }

  /** @param {unknown} error @returns {number | null} milliseconds to wait; null to give up */
  next(error) {
    if (isRefusal(error, 401) || isRefusal(error, 403)) return this.#rejectedProofs++ === 0 ? 0 : null;
    if (error instanceof Replaced || isRefusal(error, 409)) return null;
    if (error instanceof NoAudioDevice || error instanceof Unplayable || isRefusal(error, 400) || isRefusal(error, 404)) return null;
    const backoff = Math.min(MAX_MS, MIN_MS * 2 ** this.#failures++);
    return backoff * (0.75 + Math.random() * 0.5);
  }
}

/** Waits; returns early if `signal` is aborted. @param {number} ms @param {AbortSignal} signal */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve(undefined);
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
  });
}
