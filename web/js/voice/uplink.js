// @ts-check
// Sends the frames of the microphone to a call or a room, through a WebSocket that reconnects.

import { Retry, pause } from './retry.js';
import { Replaced } from './server.js';

/** @typedef {import('./line.js').StreamTarget} StreamTarget */
/**
 * @typedef {object} UplinkEvents
 * @property {(state: 'connecting' | 'on') => void} onState
 * @property {(error: unknown) => void} onEnd  no further attempt will be made
 */

// 0.2 s of 16-bit samples at 48 kHz. Audio that waits longer in the browser is dropped: a gap is better than a delay.
const BUFFERED_BYTES_MAX = 48_000 * 2 * 0.2;

export class Uplink {
  #abort = new AbortController();
  /** @type {WebSocket | null} */ #socket = null;

  /** @param {StreamTarget} target @param {number} rate  samples per second @param {UplinkEvents} events */
  constructor(target, rate, events) {
    this.target = target;
    this.rate = rate;
    this.events = events;
    this.#run();
  }

  /** @param {ArrayBuffer} pcm */
  send(pcm) {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN || pcm.byteLength === 0) return;
    if (socket.bufferedAmount <= BUFFERED_BYTES_MAX) socket.send(pcm);
  }

  close() {
    this.#abort.abort();
    this.#socket?.close(1000);
  }

  async #run() {
    const retry = new Retry();
    const { signal } = this.#abort;
    while (!signal.aborted) {
      this.events.onState('connecting');
      const error = await this.#attempt(retry).catch((reason) => reason);
      if (signal.aborted) return;
      const wait = retry.next(error);
      if (wait === null) return this.events.onEnd(error);
      await pause(wait, signal);
    }
  }

  /** @param {Retry} retry */
  async #attempt(retry) {
    const { server, identity, path, params } = this.target;
    const proof = await identity.proof();
    const rate = this.rate === 48_000 ? {} : { rate: String(this.rate) };
    const wasOpen = await this.#connect(server.socketUrl(path, { ...params, ...proof, ...rate }), retry);
    if (wasOpen || this.#abort.signal.aborted) return;
    identity.renew(proof);
    await this.#askWhy();
  }

  /** @param {string} url @param {Retry} retry @returns {Promise<boolean>} resolves when the socket is closed: whether it was open */
  #connect(url, retry) {
    const socket = new WebSocket(url);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    let wasOpen = false;
    return new Promise((resolve, reject) => {
      socket.onopen = () => {
        if (this.#abort.signal.aborted) return socket.close(1000);
        wasOpen = true;
        retry.succeeded();
        this.events.onState('on');
      };
      socket.onclose = ({ reason }) => (reason.startsWith('replaced') ? reject(new Replaced()) : resolve(wasOpen));
    });
  }

  // A browser does not report the status of a refused WebSocket. A request with an empty body of audio gets the same
  // status.
  async #askWhy() {
    const { server, identity, path, params } = this.target;
    await server.postEmpty(path, { ...params, ...(await identity.proof()) });
  }
}
