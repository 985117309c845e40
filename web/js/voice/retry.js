// @ts-check
// What to do about a connection that failed, by what the server said: come back, come back as ourselves, or give up.

import { Unplayable } from './audio/player.js';
import { isRefusal } from './server.js';

const MIN_MS = 400;
const MAX_MS = 8_000;
const OLD_SELF_MIN_MS = 250;
const OLD_SELF_MAX_MS = 2_000;
const OLD_SELF_TRIES = 10;

export class Retry {
  #failures = 0;
  #doubts = 0;
  #conflicts = 0;

  /** It worked; what was before does not count. */
  succeeded() {
    this.#failures = this.#doubts = this.#conflicts = 0;
  }

  // After a cut or a reload the server may still hold our own old connection for a while.
  /** @param {unknown} error @returns {number | null} milliseconds to wait, or no more attempts */
  next(error) {
    if (isRefusal(error, 401) || isRefusal(error, 403)) return this.#doubts++ === 0 ? 0 : null;
    if (isRefusal(error, 409)) return this.#nextConflict();
    if (error instanceof Unplayable || isRefusal(error, 400) || isRefusal(error, 404)) return null;
    const backoff = Math.min(MAX_MS, MIN_MS * 2 ** this.#failures++);
    return backoff * (0.75 + Math.random() * 0.5);
  }

  #nextConflict() {
    const tries = this.#conflicts++;
    return tries < OLD_SELF_TRIES ? Math.min(OLD_SELF_MAX_MS, OLD_SELF_MIN_MS * 2 ** tries) : null;
  }
}

/** @param {number} ms @param {AbortSignal} signal */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve(undefined);
    });
  });
}
