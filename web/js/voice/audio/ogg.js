// @ts-check
// Reads the packets of one logical Ogg stream (RFC 3533) as its pages arrive. Checksums are ignored, because TCP has
// its own.

import { join } from './wav.js';

const HEAD_BYTES = 27;
const CONTINUED = 0x01;
const PACKET_BYTES_MAX = 1 << 20;

export class OggReader {
  /** The begin of a page that is not complete. @type {Uint8Array} */ #kept = new Uint8Array(0);
  /** The begin of a packet that continues on the next page. @type {Uint8Array} */ #part = new Uint8Array(0);

  /** @param {Uint8Array} bytes  any piece of the stream @returns {Uint8Array[]} the packets that it completes */
  read(bytes) {
    let rest = join(this.#kept, bytes);
    /** @type {Uint8Array[]} */ const packets = [];
    for (let length = pageLength(rest); length > 0; length = pageLength(rest)) {
      this.#readPage(rest.subarray(0, length), packets);
      rest = rest.subarray(length);
    }
    this.#kept = rest.slice();
    return packets;
  }

  /** @param {Uint8Array} page @param {Uint8Array[]} packets */
  #readPage(page, packets) {
    const isContinued = ((page[5] ?? 0) & CONTINUED) !== 0;
    const segments = page.subarray(HEAD_BYTES, HEAD_BYTES + (page[26] ?? 0));
    let at = HEAD_BYTES + segments.length;
    let isLost = isContinued && this.#part.length === 0;
    if (!isContinued) this.#part = new Uint8Array(0);
    for (const length of segments) {
      this.#part = join(this.#part, page.slice(at, at + length));
      if (this.#part.length > PACKET_BYTES_MAX) throw new Error('an Ogg packet without an end');
      at += length;
      if (length === 255) continue;
      if (!isLost) packets.push(this.#part);
      isLost = false;
      this.#part = new Uint8Array(0);
    }
  }
}

/** @param {Uint8Array} bytes @returns {number} of the page at the beginning; 0 while it is not whole */
function pageLength(bytes) {
  if (bytes.length < HEAD_BYTES) return 0;
  if (String.fromCharCode(...bytes.subarray(0, 4)) !== 'OggS') throw new Error('not an Ogg stream');
  const segments = bytes.subarray(HEAD_BYTES, HEAD_BYTES + (bytes[26] ?? 0));
  if (segments.length < (bytes[26] ?? 0)) return 0;
  const length = segments.reduce((sum, segment) => sum + segment, HEAD_BYTES + segments.length);
  return bytes.length < length ? 0 : length;
}
