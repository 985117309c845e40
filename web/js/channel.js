// @ts-check
// The `chat` data channel with one peer: text as {content, timestamp}, and files. Nothing else is written to it,
// because the peer may be a client that knows nothing else.

import { ChatFiles } from './files/chat-files.js';
import { sendJson } from './send-json.js';
import { numberOf } from './untrusted.js';

/**
 * @typedef {object} ChannelEvents
 * @property {() => boolean} mayShow  whether another message or file of the peer is shown
 * @property {(content: string, timestamp: number) => void} onText
 * @property {(transfer: import('./files/transfer.js').IncomingTransfer) => void} onFile
 * @property {() => void} onChange  the channel opened or closed
 */

const TEXT_MAX_CHARS = 10_000;

export class Channel {
  #channel;
  #events;
  #files;

  /** @param {RTCDataChannel} channel @param {ChannelEvents} events */
  constructor(channel, events) {
    this.#channel = channel;
    this.#events = events;
    this.#files = new ChatFiles(channel, events.onFile);
    channel.binaryType = 'arraybuffer';
    channel.onopen = () => events.onChange();
    channel.onmessage = ({ data }) => this.#receive(data);
    channel.onclose = () => this.#closed();
  }

  get isOpen() {
    return this.#channel.readyState === 'open';
  }

  /** @param {string} content @param {number} timestamp */
  sendText(content, timestamp) {
    return sendJson(this.#channel, { content, timestamp });
  }

  /** @param {File} file */
  sendFile(file) {
    return this.#files.send(file);
  }

  /** This page has closed the connection; the channel may not report that. */
  close() {
    this.#files.close();
  }

  /** @param {unknown} data */
  #receive(data) {
    if (data instanceof ArrayBuffer) this.#files.add(data);
    else this.#receiveText(parseObject(data));
  }

  /** @param {Record<string, unknown> | null} message */
  #receiveText(message) {
    if (!message) return;
    if (message['type'] === 'FILE_META') this.#begin(message);
    else if (message['type'] === 'FILE_END') this.#files.end();
    else if (typeof message['content'] === 'string' && this.#events.mayShow()) this.#chat(message['content'], numberOf(message['timestamp']));
  }

  /** @param {Record<string, unknown>} meta */
  #begin(meta) {
    this.#files.end();
    if (this.#events.mayShow()) this.#files.begin(meta);
  }

  /** @param {string} content @param {number} timestamp */
  #chat(content, timestamp) {
    const isDate = Math.abs(timestamp) < 8.64e15;
    this.#events.onText(content.slice(0, TEXT_MAX_CHARS), isDate ? timestamp : Date.now());
  }

  #closed() {
    this.#files.close();
    this.#events.onChange();
  }
}

/** @param {unknown} data @returns {Record<string, unknown> | null} */
function parseObject(data) {
  try {
    const value = JSON.parse(String(data));
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}
