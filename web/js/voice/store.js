// @ts-check
// The stored settings of the voice page. Private windows may forbid storage; the page works without it.

const PREFIX = 'switchboard.voice.';

/** @typedef {'key' | 'me' | 'names' | 'format' | 'raw' | 'answered' | 'microphone' | 'speaker'} Kept */

/** @param {Kept} name */
export function recall(name) {
  try {
    return localStorage.getItem(PREFIX + name) ?? '';
  } catch {
    return '';
  }
}

/** @param {Kept} name @param {string} value @returns {boolean} whether the browser has stored it */
export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
    return true;
  } catch {
    return false;
  }
}

/** Calls back when another window of this browser has changed a value. @param {Kept} name @param {() => void} listener */
export function onChangedElsewhere(name, listener) {
  addEventListener('storage', ({ key }) => key === PREFIX + name && listener());
}

/**
 * @typedef {object} Interrupted  a call that a reload has interrupted
 * @property {string} other
 * @property {boolean} isVerified
 * @property {boolean} isCaller
 * @property {number} since  the begin of the call, ms since 1970
 * @property {number} at  the latest moment of the call, ms since 1970
 */

const CALL = `${PREFIX}call`;

/** The call of this tab, to be restored after a reload. @param {Interrupted | null} call */
export function keepCall(call) {
  try {
    if (call) sessionStorage.setItem(CALL, JSON.stringify(call));
    else sessionStorage.removeItem(CALL);
  } catch {
    // Without storage a reload ends the call.
  }
}

/** @returns {Interrupted | null} */
export function keptCall() {
  try {
    const call = JSON.parse(sessionStorage.getItem(CALL) ?? 'null');
    const isWhole = typeof call?.other === 'string' && Number.isFinite(call.since) && Number.isFinite(call.at);
    return isWhole ? { ...call, isVerified: call.isVerified === true, isCaller: call.isCaller === true } : null;
  } catch {
    return null;
  }
}
