// @ts-check
// Files in the data channel `chat`, for members that are no pages of Switchboard: FILE_META, chunks of 16 KiB, FILE_END.
// Chunks carry no id, so the channel carries one file at a time in each direction and the rest wait. There is no answer:
// the sender starts at once. Bytes that arrive before the person accepts count against UNACCEPTED_MAX_BYTES.

import { sendJson } from '../send-json.js';
import { texts } from '../texts.js';
import { sendBytes } from './send-bytes.js';
import { FILE_MAX_BYTES, IncomingTransfer, OutgoingTransfer, TRANSFERS_MAX, announcedSize, formatBytes } from './transfer.js';

export class ChatFiles {
  #channel;
  #onFile;
  /** @type {Promise<unknown>} */ #queue = Promise.resolve();
  /** @type {Set<OutgoingTransfer>} */ #outgoing = new Set();
  /** @type {Set<IncomingTransfer>} */ #unanswered = new Set();
  /** The file whose chunks arrive. @type {IncomingTransfer | null} */ #current = null;

  /** @param {RTCDataChannel} channel @param {(transfer: IncomingTransfer) => void} onFile */
  constructor(channel, onFile) {
    this.#channel = channel;
    this.#onFile = onFile;
  }

  /** @param {File} file */
  send(file) {
    const transfer = new OutgoingTransfer(file);
    this.#outgoing.add(transfer);
    this.#queue = this.#queue.then(() => this.#sendNext(transfer));
    return transfer;
  }

  /** @param {Record<string, unknown>} meta */
  begin(meta) {
    this.end();
    const size = announcedSize(meta['size']);
    const transfer = new IncomingTransfer(meta['filename'], size ?? 0, meta['mime']);
    const problem = this.#objection(size);
    transfer.become(problem ? 'failed' : 'offered', problem);
    if (!problem) this.#receive(transfer);
    this.#onFile(transfer);
  }

  /** @param {ArrayBuffer} chunk */
  add(chunk) {
    if (!this.#current?.add(chunk)) this.#current = null;
  }

  /** All chunks of the current file have arrived. */
  end() {
    const transfer = this.#current;
    this.#current = null;
    if (!transfer) return;
    if (!transfer.isWhole) transfer.become('failed', texts.files.endedEarly);
    else if (transfer.isAccepted) transfer.become('done');
  }

  /** The channel was closed. Files that arrived completely may still be accepted. */
  close() {
    for (const transfer of this.#outgoing) transfer.become('failed', texts.files.connectionEnded);
    this.#current?.become('failed', texts.files.connectionEnded);
    this.#current = null;
  }

  /** @param {number | null} size */
  #objection(size) {
    if (size === null) return texts.files.sizeUnknown;
    if (size > FILE_MAX_BYTES) return texts.files.tooLarge(formatBytes(FILE_MAX_BYTES));
    for (const transfer of this.#unanswered) if (transfer.isOver) this.#unanswered.delete(transfer);
    return this.#unanswered.size >= TRANSFERS_MAX ? texts.files.tooMany : '';
  }

  /** @param {IncomingTransfer} transfer */
  #receive(transfer) {
    this.#current = transfer;
    this.#unanswered.add(transfer);
    transfer.onAccepted = () => {
      this.#unanswered.delete(transfer);
      transfer.become(this.#current === transfer ? 'active' : 'done');
    };
  }

  /** @param {OutgoingTransfer} transfer */
  async #sendNext(transfer) {
    if (!transfer.isOver) await this.#send(transfer);
    this.#outgoing.delete(transfer);
  }

  // The other side takes FILE_END as the end of the file, complete or not: the protocol has no message for a cancelled file.
  /** @param {OutgoingTransfer} transfer */
  async #send(transfer) {
    const { name: filename, size, id: fileId } = transfer;
    transfer.become('active');
    try {
      const isAnnounced = sendJson(this.#channel, { type: 'FILE_META', filename, size, mime: transfer.file.type, fileId });
      if (!isAnnounced) throw new Error('the file cannot be announced');
      await sendBytes(this.#channel, transfer);
      transfer.become('done');
    } catch (error) {
      console.info('file', error);
      transfer.become('failed', this.#channel.readyState === 'open' ? texts.files.unreadable : texts.files.connectionEnded);
    }
    sendJson(this.#channel, { type: 'FILE_END', filename, fileId });
  }
}
