// @ts-check
// Bounds of the work that other members can cause on this page.

/** Runs an action at once, and then once in a period at most, with the latest value. Values before it are dropped. @template T */
export class Throttle {
  #periodMs;
  #act;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {{value: T} | null} */ #next = null;

  /** @param {number} periodMs @param {(value: T) => void} act */
  constructor(periodMs, act) {
    this.#periodMs = periodMs;
    this.#act = act;
  }

  /** @param {T} value */
  push(value) {
    this.#next = { value };
    if (this.#timer === undefined) this.#run();
  }

  /** Drops the pending value. */
  close() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#next = null;
  }

  #run() {
    const next = this.#next;
    this.#next = null;
    this.#timer = next ? setTimeout(() => this.#run(), this.#periodMs) : undefined;
    if (next) this.#act(next.value);
  }
}

/** A token bucket: allows a burst, and then a rate per second. */
export class RateLimit {
  #burst;
  #perSecond;
  #tokens;
  #at = -Infinity;

  /** @param {number} burst @param {number} perSecond */
  constructor(burst, perSecond) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  /** @param {number} now  ms @returns {boolean} whether it may pass */
  tryAcquire(now) {
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#at) / 1000) * this.#perSecond);
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
