// @ts-check
// The member that the speaker view shows large. The choice is slow on purpose: a cough or a "yes" changes nothing, and
// a speaker that pauses keeps the place until another member talks.

/** Time that a member must talk before it is shown. */
const TALKS_MS = 700;
/** Time that a member is shown at least. */
const STAYS_MS = 2_000;

export class ActiveSpeaker {
  /** The member that is shown; empty before the first one talked. */
  current = '';
  #since = 0;
  /** When each member that talks began to. @type {Map<string, number>} */ #talking = new Map();

  /** @param {string} id @param {boolean} isSpeaking @param {number} now  ms @returns {boolean} whether `current` is another one */
  hear(id, isSpeaking, now) {
    if (!isSpeaking) this.#talking.delete(id);
    else if (!this.#talking.has(id)) this.#talking.set(id, now);
    return this.#choose(now);
  }

  /** @param {string} id @returns {boolean} whether `current` is another one */
  remove(id) {
    this.#talking.delete(id);
    if (this.current !== id) return false;
    this.current = '';
    return true;
  }

  /** @param {number} now */
  #choose(now) {
    const isHeld = this.current !== '' && (this.#talking.has(this.current) || now - this.#since < STAYS_MS);
    if (isHeld) return false;
    const longest = [...this.#talking].sort(([, one], [, other]) => one - other)[0];
    if (!longest || now - longest[1] < TALKS_MS) return false;
    this.#since = now;
    this.current = longest[0];
    return true;
  }
}
