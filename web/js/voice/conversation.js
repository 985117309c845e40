// @ts-check
// The current call or room.

import { Line } from './line.js';

/** @typedef {import('./line.js').LineEvents} LineEvents */
/** @typedef {import('./line.js').Sound} Sound */
/** @typedef {{mic: boolean, headphones: boolean}} Presence */
/**
 * @typedef {object} Facts
 * @property {'call' | 'room'} kind
 * @property {string} address
 * @property {string} title
 * @property {boolean} isVerified
 * @property {number} since  ms since 1970
 * @property {boolean} isCaller  whether this user has made the call
 * @property {string} serverKey  the key of the server process where it began
 */

export class Conversation {
  /** The devices of the other user of a call; null before they are known. @type {Presence | null} */ other = null;
  /** The server has lost the call, and the two sides call each other again. */
  isReviving = false;

  /**
   * @param {{server: import('./server.js').Server, identity: import('./identity.js').Identity}} parts
   * @param {Facts} facts
   * @param {Sound} sound
   * @param {LineEvents} events
   */
  constructor(parts, facts, sound, events) {
    const { kind, address, title, isVerified, since, isCaller, serverKey } = facts;
    this.kind = kind;
    this.address = address;
    this.title = title;
    this.isVerified = isVerified;
    this.since = since;
    this.isCaller = isCaller;
    this.serverKey = serverKey;
    this.line = new Line(parts, { kind, address }, sound, events);
  }
}
