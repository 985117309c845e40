// @ts-check
// Keeps the screen of a phone on during a call. The browser releases the lock when the page is hidden, so the page
// requests it again when it is visible. Without the API, or with a low battery, there is no lock, which is no error.

export class WakeLock {
  /** @type {WakeLockSentinel | null} */ #sentinel = null;
  #isWanted = false;
  #isAsking = false;
  #onVisible = () => this.#request();

  acquire() {
    if (this.#isWanted) return;
    this.#isWanted = true;
    document.addEventListener('visibilitychange', this.#onVisible);
    this.#request();
  }

  release() {
    this.#isWanted = false;
    document.removeEventListener('visibilitychange', this.#onVisible);
    this.#drop();
  }

  async #request() {
    const isHeld = this.#sentinel?.released === false;
    if (isHeld || this.#isAsking || document.visibilityState !== 'visible' || !navigator.wakeLock) return;
    this.#isAsking = true;
    try {
      this.#sentinel = await navigator.wakeLock.request('screen');
    } catch (error) {
      console.info('wake lock', error);
    }
    this.#isAsking = false;
    if (!this.#isWanted) this.#drop();
  }

  #drop() {
    this.#sentinel?.release().catch(() => {});
    this.#sentinel = null;
  }
}
