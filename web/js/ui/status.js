// @ts-check
// The texts around a call: the state of the server connection, traffic, temporary notices and lasting problems.

import { texts } from '../texts.js';
import { byId, say } from './dom.js';

/** @typedef {import('../signaling.js').SignalingState} SignalingState */

const NOTICE_MS = 4_000;
const NOTICE_CHARS = 90;

export class Status {
  #connection = byId('connection', HTMLElement);
  #banner = byId('banner', HTMLElement);
  #notice = byId('notice', HTMLElement);
  #spoken = byId('spoken', HTMLElement);
  #isServerLost = false;
  #up = byId('stats-up', HTMLElement);
  #down = byId('stats-down', HTMLElement);
  /** @type {number | undefined} */ #noticeTimer;

  /** @param {SignalingState} state @param {number} retryInMs */
  showConnection(state, retryInMs) {
    const seconds = Math.max(1, Math.round(retryInMs / 1000));
    const { connecting, joined, waiting } = texts.connection;
    const words = { connecting, joined, waiting: waiting(seconds), closed: '' };
    this.#connection.dataset['state'] = state;
    this.#connection.textContent = words[state];
    this.#speakOfServer(state);
  }

  /** Announces a change that is visible in another element to screen readers. @param {string} words */
  speak(words) {
    this.#spoken.textContent = words;
  }

  // Each further attempt changes the visible text, but is not announced.
  /** @param {SignalingState} state */
  #speakOfServer(state) {
    if (state === 'waiting' && !this.#isServerLost) this.speak(texts.status.serverLost);
    if (state === 'joined' && this.#isServerLost) this.speak(texts.status.serverBack);
    if (state === 'closed') this.speak('');
    if (state !== 'connecting') this.#isServerLost = state === 'waiting';
  }

  /** @param {string} words */
  notice(words) {
    clearTimeout(this.#noticeTimer);
    this.#notice.textContent = words.length > NOTICE_CHARS ? texts.units.shortened(words.slice(0, NOTICE_CHARS)) : words;
    this.#noticeTimer = setTimeout(() => (this.#notice.textContent = ''), NOTICE_MS);
  }

  /** @param {string} words */
  problem(words) {
    say(this.#banner, words);
  }

  /** @param {number} up @param {number} down  kbit/s */
  showTraffic(up, down) {
    showRate(this.#up, up);
    showRate(this.#down, down);
  }
}

/** @param {HTMLElement} element @param {number} kbits */
function showRate(element, kbits) {
  element.dataset['kbits'] = String(Math.round(kbits));
  element.textContent = texts.units.rate(kbits);
}
