// @ts-check
// Plays the audio stream of a call or a room, and requests it again after each failure, until the downlink is closed.

import { Player } from './audio/player.js';
import { MediaPlayer } from './audio/media-player.js';
import { Retry, pause } from './retry.js';
import { Refused, Replaced } from './server.js';

/** @typedef {import('./audio/decoders.js').Format} Format */
/** @typedef {import('./audio/player.js').Report} Report */
/** @typedef {import('./server.js').Params} Params */
/** @typedef {import('./line.js').StreamTarget} StreamTarget */
/**
 * @typedef {object} DownlinkEvents
 * @property {(state: 'connecting' | 'on') => void} onState
 * @property {(report: Report) => void} onReport
 * @property {(error: unknown) => void} onEnd  no further attempt will be made
 */

export class Downlink {
  #abort = new AbortController();
  #connection = '';
  #isReplaced = false;

  /** @param {StreamTarget} target @param {Format} format @param {boolean} isDecoded  whether the page decodes it, not the browser @param {DownlinkEvents} events */
  constructor(target, format, isDecoded, events) {
    this.target = target;
    this.format = format;
    this.isDecoded = isDecoded;
    this.events = events;
    this.#run();
  }

  close() {
    this.#abort.abort();
  }

  /** The server has replaced this connection by a newer one of this user. @param {string} connection */
  replaced(connection) {
    if (connection === this.#connection) this.#isReplaced = true;
  }

  async #run() {
    const retry = new Retry();
    const { signal } = this.#abort;
    while (!signal.aborted) {
      this.events.onState('connecting');
      const error = await this.#attempt(retry).catch((reason) => reason);
      if (signal.aborted) return;
      // The end of the stream and the event `replaced` come on different connections, in any order. So the event is
      // checked before and after the pause.
      const wait = this.#isReplaced ? 0 : retry.next(error);
      if (wait === null) return this.events.onEnd(error);
      await pause(wait, signal);
      if (this.#isReplaced && !signal.aborted) return this.events.onEnd(new Replaced());
    }
  }

  /** @param {Retry} retry @returns {Promise<unknown>} the error that ended the attempt; null at the end of the stream */
  async #attempt(retry) {
    const { server, identity, path, params } = this.target;
    const proof = await identity.proof();
    this.#connection = crypto.randomUUID?.() ?? String(Math.random());
    const all = { ...params, ...proof, format: this.format, connection: this.#connection };
    try {
      await (this.isDecoded ? this.#decode(server, path, all, retry) : this.#leaveToBrowser(server, path, all, retry));
      return null;
    } catch (error) {
      if (error instanceof Refused) identity.renew(proof);
      throw error;
    }
  }

  /** @param {import('./server.js').Server} server @param {string} path @param {Params} params @param {Retry} retry */
  async #decode(server, path, params, retry) {
    const { signal } = this.#abort;
    const player = await Player.open(this.format, this.events.onReport);
    try {
      const { body } = await server.stream(path, params, signal);
      this.#succeeded(retry);
      if (body) await player.play(body);
    } finally {
      player.close();
    }
  }

  /** @param {import('./server.js').Server} server @param {string} path @param {Params} params @param {Retry} retry */
  async #leaveToBrowser(server, path, params, retry) {
    const player = new MediaPlayer(server.url(path, params), this.events.onReport);
    try {
      await player.play(this.#abort.signal, () => this.#succeeded(retry));
    } catch (error) {
      player.close();
      await this.#askWhy(server, path, params);
      throw error;
    } finally {
      player.close();
    }
  }

  // An audio element does not report the status of a refusal, so the page requests the head of the same answer.
  /** @param {import('./server.js').Server} server @param {string} path @param {Params} params */
  async #askWhy(server, path, params) {
    await server.probe(path, params);
  }

  /** @param {Retry} retry */
  #succeeded(retry) {
    retry.succeeded();
    this.events.onState('on');
  }
}
