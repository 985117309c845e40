// @ts-check
// The `chat` data channel with one peer: text as {content, timestamp}, files beside it. Nothing else is ever
// written to it, because the other end may be any client of the dialect.

import { FileReceiver, FileSender } from './files.js';

/**
 * @typedef {object} ChannelEvents
 * @property {(content: string, timestamp: number) => void} onText
 * @property {(name: string, size: number) => import('./files.js').Receipt} onFile
 * @property {() => void} onChange  the channel opened or closed
 */

const TEXT_MAX_CHARS = 10_000;

export class Channel {
  #channel;
  #events;
  #sender;
  #receiver;

  /** @param {RTCDataChannel} channel @param {ChannelEvents} events */
  constructor(channel, events) {
    this.#channel = channel;
    this.#events = events;
    this.#sender = new FileSender(channel);
    this.#receiver = new FileReceiver(events.onFile);
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
    if (!this.isOpen) return false;
    this.#channel.send(JSON.stringify({ content, timestamp }));
    return true;
  }

  /** @param {File} file @param {string} fileId @param {(sent: number) => void} onProgress */
  sendFile(file, fileId, onProgress) {
    return this.#sender.send(file, fileId, onProgress);
  }

  /** @param {unknown} data */
  #receive(data) {
    if (data instanceof ArrayBuffer) this.#receiver.take(data);
    else this.#receiveText(parseObject(data));
  }

  /** @param {Record<string, unknown> | null} message */
  #receiveText(message) {
    if (!message) return;
    if (message['type'] === 'FILE_META') this.#receiver.begin(message);
    else if (message['type'] === 'FILE_END') this.#receiver.end();
    else if (typeof message['content'] === 'string') this.#chat(message['content'], Number(message['timestamp']));
  }

  /** @param {string} content @param {number} timestamp */
  #chat(content, timestamp) {
    const isDate = Math.abs(timestamp) < 8.64e15;
    this.#events.onText(content.slice(0, TEXT_MAX_CHARS), isDate ? timestamp : Date.now());
  }

  #closed() {
    this.#receiver.abort('the connection was closed');
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
