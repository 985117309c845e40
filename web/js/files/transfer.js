// @ts-check
// One file on its way between this page and one member. The protocol that carries it is in `page-files.js` (between two
// pages) or `chat-files.js` (with any other client). The other member is not trusted: the announced size is the limit,
// names are cleaned, only plain pictures keep their type, and a large file is stored only after the user accepted it.

import { texts } from '../texts.js';
import { numberOf, textOf } from '../untrusted.js';

/**
 * `queued`: not offered yet. `offered`: waits for the receiver's answer. `accepted`: waits for other files.
 * The last four are final.
 * @typedef {'queued' | 'offered' | 'accepted' | 'active' | 'done' | 'declined' | 'cancelled' | 'failed'} TransferState
 */

/** Largest file that is received. */
export const FILE_MAX_BYTES = 512 * 1024 * 1024;
/** Files of one member that wait for an answer or are under way, in each direction. More are refused, or wait to be offered. */
export const TRANSFERS_MAX = 16;
/** Files sent to one member at the same time; further accepted files wait. */
export const ACTIVE_MAX = 4;
/** Bytes of files that arrived before they were accepted, of all members together. */
export const UNACCEPTED_MAX_BYTES = 64 * 1024 * 1024;

/** Received pieces are put into a Blob when they have so many bytes. */
const FOLD_BYTES = 8 * 1024 * 1024;
const NAME_CHARS = 120;
const SHOW_EVERY_MS = 100;
const PICTURES = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif']);
const FINAL = new Set(['done', 'declined', 'cancelled', 'failed']);

export class Transfer {
  /** @type {TransferState} */ state = 'queued';
  /** Bytes that were received, or handed to the network. */
  bytes = 0;
  /** The reason of the failure. */
  problem = '';
  /** Called after each change of state, and now and then with the progress. */
  onChange = () => {};
  /** Set by the protocol: ends the transfer at the other side after the person cancelled or declined it. */
  onStopped = () => {};
  #shownAt = 0;

  /** @param {string} name @param {number} size */
  constructor(name, size) {
    this.name = name;
    this.size = size;
  }

  get isOver() {
    return FINAL.has(this.state);
  }

  /** Final states stay. @param {TransferState} state @param {string} [problem] */
  become(state, problem = '') {
    if (this.isOver) return;
    this.state = state;
    this.problem = problem;
    this.onChange();
  }

  /** @param {number} bytes */
  progress(bytes) {
    this.bytes = bytes;
    const now = Date.now();
    if (this.isOver || now - this.#shownAt < SHOW_EVERY_MS) return;
    this.#shownAt = now;
    this.onChange();
  }

  cancel() {
    this.stop('cancelled');
  }

  /** Cancels or declines the transfer for the user. @param {'cancelled' | 'declined'} state */
  stop(state) {
    if (this.isOver) return;
    this.become(state);
    this.onStopped();
  }
}

export class OutgoingTransfer extends Transfer {
  /** @param {File} file */
  constructor(file) {
    super(file.name, file.size);
    this.file = file;
    this.id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  }
}

export class IncomingTransfer extends Transfer {
  isAccepted = false;
  /** Set by the protocol: allows the other side to send. */
  onAccepted = () => {};
  /** @type {Blob[]} */ #folded = [];
  /** @type {ArrayBuffer[]} */ #parts = [];
  #partBytes = 0;
  #unaccepted = 0;
  #type;

  /** @param {unknown} name @param {number} size @param {unknown} mime */
  constructor(name, size, mime) {
    super(cleanName(name), size);
    this.#type = PICTURES.has(textOf(mime)) ? textOf(mime) : 'application/octet-stream';
  }

  get isWhole() {
    return this.bytes === this.size;
  }

  accept() {
    if (this.isAccepted || this.isOver) return;
    this.isAccepted = true;
    this.#releaseUnaccepted();
    this.become('accepted');
    this.onAccepted();
  }

  decline() {
    this.stop('declined');
  }

  /** Takes the next bytes, or fails. @param {ArrayBuffer} chunk @returns {boolean} */
  add(chunk) {
    if (this.isOver) return false;
    const problem = this.#objection(chunk.byteLength);
    if (problem) this.become('failed', problem);
    else this.#keep(chunk);
    return problem === '';
  }

  /** @override @param {TransferState} state @param {string} [problem] */
  become(state, problem) {
    super.become(state, problem);
    if (!this.isOver) return;
    this.#releaseUnaccepted();
    if (this.state !== 'done') this.drop();
  }

  blob() {
    return new Blob([...this.#folded, ...this.#parts], { type: this.#type });
  }

  /** Releases the content. */
  drop() {
    this.#folded = [];
    this.#parts = [];
  }

  /** @param {number} bytes */
  #objection(bytes) {
    if (this.bytes + bytes > this.size) return texts.files.tooMuchArrived;
    if (!this.isAccepted && !unaccepted.reserve(bytes)) return texts.files.notAcceptedInTime(formatBytes(UNACCEPTED_MAX_BYTES));
    if (!this.isAccepted) this.#unaccepted += bytes;
    return '';
  }

  // Folding the pieces into a Blob now and then lets the browser move a large file out of memory.
  /** @param {ArrayBuffer} chunk */
  #keep(chunk) {
    this.#parts.push(chunk);
    this.#partBytes += chunk.byteLength;
    if (this.#partBytes >= FOLD_BYTES) {
      this.#folded.push(new Blob(this.#parts));
      this.#parts = [];
      this.#partBytes = 0;
    }
    this.progress(this.bytes + chunk.byteLength);
  }

  #releaseUnaccepted() {
    unaccepted.release(this.#unaccepted);
    this.#unaccepted = 0;
  }
}

class ByteBudget {
  #left;

  /** @param {number} bytes */
  constructor(bytes) {
    this.#left = bytes;
  }

  /** @param {number} bytes */
  reserve(bytes) {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  /** @param {number} bytes */
  release(bytes) {
    this.#left += bytes;
  }
}

const unaccepted = new ByteBudget(UNACCEPTED_MAX_BYTES);

/** The announced size; null if it is no valid size. @param {unknown} raw */
export function announcedSize(raw) {
  const size = numberOf(raw);
  return Number.isSafeInteger(size) && size >= 0 ? size : null;
}

/** @param {Blob} blob */
export function isPicture(blob) {
  return PICTURES.has(blob.type);
}

/** @param {unknown} raw */
function cleanName(raw) {
  const base = textOf(raw).split(/[\\/]/).pop() ?? '';
  const visible = base.replace(/[\p{Cc}\p{Cf}<>:"|?*]/gu, '').replace(/^[.\s]+/, '').trim();
  return visible.slice(-NAME_CHARS) || texts.files.unnamed;
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  return texts.units.bytes(bytes);
}
