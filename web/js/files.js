// @ts-check
// Files over the data channel: FILE_META, chunks of 16 KiB, FILE_END. Chunks carry no id, so a channel carries one
// file at a time in each direction and the rest wait. What arrives is a stranger's: announced sizes bind, names
// are cleaned, and only plain pictures keep their type.

/**
 * @typedef {object} Receipt
 * @property {string} name
 * @property {number} size
 * @property {(received: number) => void} onProgress
 * @property {(blob: Blob) => void} onDone
 * @property {(reason: string) => void} onFail
 */

const CHUNK_BYTES = 16 * 1024;
const READ_BYTES = 64 * CHUNK_BYTES;
const BUFFER_HIGH_BYTES = 1024 * 1024;
const BUFFER_LOW_BYTES = 256 * 1024;
const FOLD_BYTES = 8 * 1024 * 1024;
const NAME_CHARS = 120;
export const FILE_MAX_BYTES = 512 * 1024 * 1024;
const PICTURES = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif']);

export class FileSender {
  #channel;
  /** @type {Promise<unknown>} */ #queue = Promise.resolve();

  /** @param {RTCDataChannel} channel */
  constructor(channel) {
    this.#channel = channel;
    channel.bufferedAmountLowThreshold = BUFFER_LOW_BYTES;
  }

  /** @param {File} file @param {string} fileId @param {(sent: number) => void} onProgress @returns {Promise<void>} */
  send(file, fileId, onProgress) {
    const sent = this.#queue.then(() => this.#sendOne(file, fileId, onProgress));
    this.#queue = sent.catch(() => {});
    return sent;
  }

  /** @param {File} file @param {string} fileId @param {(sent: number) => void} onProgress */
  async #sendOne(file, fileId, onProgress) {
    const { name: filename, size, type: mime } = file;
    this.#sendText({ type: 'FILE_META', filename, size, mime, fileId });
    try {
      await this.#sendBytes(file, onProgress);
    } finally {
      this.#sendText({ type: 'FILE_END', filename, fileId });
    }
    onProgress(size);
  }

  /** @param {File} file @param {(sent: number) => void} onProgress */
  async #sendBytes(file, onProgress) {
    for (let start = 0; start < file.size; start += READ_BYTES) {
      const block = await file.slice(start, start + READ_BYTES).arrayBuffer();
      for (let at = 0; at < block.byteLength; at += CHUNK_BYTES) {
        await this.#room();
        this.#channel.send(block.slice(at, at + CHUNK_BYTES));
        onProgress(Math.max(0, start + at - this.#channel.bufferedAmount));
      }
    }
  }

  /** @param {object} message */
  #sendText(message) {
    if (this.#channel.readyState === 'open') this.#channel.send(JSON.stringify(message));
  }

  async #room() {
    if (this.#channel.bufferedAmount > BUFFER_HIGH_BYTES) await nextEvent(this.#channel, 'bufferedamountlow', 'close');
    if (this.#channel.readyState !== 'open') throw new Error('the connection was closed');
  }
}

export class FileReceiver {
  /** @type {Incoming | null} */ #current = null;
  #accept;

  /** @param {(name: string, size: number) => Receipt} accept */
  constructor(accept) {
    this.#accept = accept;
  }

  /** @param {Record<string, unknown>} meta */
  begin(meta) {
    this.abort('a new file began before it was whole');
    const size = Number(meta['size']);
    const receipt = this.#accept(cleanName(meta['filename']), Number.isSafeInteger(size) && size >= 0 ? size : 0);
    this.#current = new Incoming(receipt, String(meta['mime'] ?? ''));
    if (!(size >= 0) || !Number.isSafeInteger(size)) this.abort('its size is not known');
    else if (size > FILE_MAX_BYTES) this.abort('it is larger than this page accepts (512 MiB)');
  }

  /** @param {ArrayBuffer} chunk */
  take(chunk) {
    if (this.#current && !this.#current.add(chunk)) this.abort('more arrived than was announced');
  }

  end() {
    const current = this.#current;
    if (!current) return;
    if (!current.isWhole) return this.abort('it ended early');
    this.#current = null;
    current.receipt.onDone(current.blob());
  }

  /** @param {string} reason */
  abort(reason) {
    this.#current?.receipt.onFail(reason);
    this.#current = null;
  }
}

class Incoming {
  /** @type {BlobPart[]} */ #parts = [];
  #received = 0;
  #unfolded = 0;

  /** @param {Receipt} receipt @param {string} mime */
  constructor(receipt, mime) {
    this.receipt = receipt;
    this.type = PICTURES.has(mime) ? mime : 'application/octet-stream';
  }

  get isWhole() {
    return this.#received === this.receipt.size;
  }

  // Folding the pieces into a Blob now and then lets the browser move a large file out of memory.
  /** @param {ArrayBuffer} chunk */
  add(chunk) {
    this.#received += chunk.byteLength;
    this.#unfolded += chunk.byteLength;
    if (this.#received > this.receipt.size) return false;
    this.#parts.push(chunk);
    if (this.#unfolded >= FOLD_BYTES) this.#fold();
    this.receipt.onProgress(this.#received);
    return true;
  }

  blob() {
    return new Blob(this.#parts, { type: this.type });
  }

  #fold() {
    this.#parts = [new Blob(this.#parts)];
    this.#unfolded = 0;
  }
}

/** @param {Blob} blob */
export function isPicture(blob) {
  return PICTURES.has(blob.type);
}

/** @param {unknown} raw */
function cleanName(raw) {
  const base = String(raw ?? '').split(/[\\/]/).pop() ?? '';
  const visible = base.replace(/[\p{Cc}\p{Cf}<>:"|?*]/gu, '').replace(/^[.\s]+/, '').trim();
  return visible.slice(-NAME_CHARS) || 'file';
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

/** @param {EventTarget} target @param {string[]} names @returns {Promise<void>} */
function nextEvent(target, ...names) {
  return new Promise((resolve) => {
    const done = () => {
      for (const name of names) target.removeEventListener(name, done);
      resolve();
    };
    for (const name of names) target.addEventListener(name, done);
  });
}
