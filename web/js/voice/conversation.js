// @ts-check
// The call or room that one is in.

import { Line } from './line.js';

/** @typedef {import('./line.js').LineEvents} LineEvents */
/** @typedef {import('./line.js').Sound} Sound */
/** @typedef {{mic: boolean, headphones: boolean}} Presence */

export class Conversation {
  /** @type {Presence | null} */ other = null;

  /**
   * @param {{server: import('./server.js').Server, identity: import('./identity.js').Identity}} parts
   * @param {{kind: 'call' | 'room', address: string, title: string, isVerified: boolean, since: number}} facts
   * @param {Sound} sound
   * @param {LineEvents} events
   */
  constructor(parts, { kind, address, title, isVerified, since }, sound, events) {
    this.kind = kind;
    this.address = address;
    this.title = title;
    this.isVerified = isVerified;
    this.since = since;
    this.line = new Line(parts, { kind, address }, sound, events);
  }
}
