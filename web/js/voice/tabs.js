// @ts-check
// Several windows of one user. All of them ring, and when one answers, the others stop. They send the same challenge to
// the caller, because the server relays only the latest.

import { newChallenge } from './keys.js';
import { recall, remember } from './store.js';

/** @typedef {import('./events.js').VoiceEvent} VoiceEvent */

/** A call rings for so long, so its challenge is not needed longer. */
const ANSWERED_MS = 60_000;

export class Tabs {
  #channel = typeof BroadcastChannel === 'function' ? new BroadcastChannel('switchboard.voice') : null;

  /** @param {string} me @param {(from: string) => void} onSettled  another window accepted or declined */
  constructor(me, onSettled) {
    this.me = me;
    this.#channel?.addEventListener('message', ({ data }) => {
      if (data?.me === this.me && typeof data.settled === 'string') onSettled(data.settled);
    });
  }

  /** Tells the other windows that this one has accepted or declined a call. @param {string} from */
  settled(from) {
    this.#channel?.postMessage({ me: this.me, settled: from });
  }

  /**
   * The challenge of all windows for a caller, and whether this window is the first, which sends it.
   * @param {VoiceEvent} call @returns {Promise<{second: string, isFirst: boolean}>}
   */
  async challengeFor(call) {
    const decide = async () => {
      const known = answered(call);
      if (known) return { second: known, isFirst: false };
      const second = newChallenge();
      remember('answered', JSON.stringify({ from: call.from, first: call.challenge, second, at: Date.now() }));
      return { second, isFirst: true };
    };
    return navigator.locks ? navigator.locks.request('switchboard.voice.answer', decide) : decide();
  }
}

/** The challenge that a window has sent to the caller of this call; empty if none has. @param {VoiceEvent} call @returns {string} */
function answered(call) {
  try {
    const last = JSON.parse(recall('answered') || 'null');
    const isThis = last?.from === call.from && last.first === call.challenge && Date.now() - last.at < ANSWERED_MS;
    return isThis && typeof last.second === 'string' ? last.second : '';
  } catch {
    return '';
  }
}
