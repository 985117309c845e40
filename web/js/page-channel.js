// @ts-check
// The data channel that two pages of Switchboard have beside `chat`: it carries messages that other clients do not
// know. Both pages open it with a fixed stream id (`negotiated`), and only if the session descriptions of both carry
// the attribute below: other clients ignore the attribute and never see the channel.

import { sendJson } from './send-json.js';

const STREAM_ID = 100;
const MESSAGE_MAX_CHARS = 4_000;
const ATTRIBUTE = /^a=x-switchboard:([0-9a-f]{1,32})(?: (\d{1,9}))?\r?$/m;

/** @typedef {{type: string, [key: string]: unknown}} Message */
/** @typedef {{connection: string, offer: number}} Mark  the connection of a page, and the number of an offer in it */

export class PageChannel {
  #channel;

  /** @param {RTCPeerConnection} pc @param {{onOpen: () => void, onMessage: (message: Message) => void, onClose: () => void}} events */
  constructor(pc, events) {
    this.#channel = pc.createDataChannel('switchboard', { negotiated: true, id: STREAM_ID });
    this.#channel.onopen = events.onOpen;
    this.#channel.onclose = events.onClose;
    this.#channel.onmessage = ({ data }) => {
      const message = parse(data);
      if (message) events.onMessage(message);
    };
  }

  get isOpen() {
    return this.#channel.readyState === 'open';
  }

  /** @param {Message} message */
  send(message) {
    return sendJson(this.#channel, message);
  }
}

export function newConnectionId() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The description with the attribute, at session level. @param {string} sdp @param {Mark} mark */
export function marked(sdp, { connection, offer }) {
  const line = `a=x-switchboard:${connection} ${offer}\r\n`;
  const media = sdp.search(/^m=/m);
  return media < 0 ? sdp + line : sdp.slice(0, media) + line + sdp.slice(media);
}

/** @param {string} sdp @returns {Mark | null} */
export function markOf(sdp) {
  const found = ATTRIBUTE.exec(sdp);
  return found?.[1] ? { connection: found[1], offer: Number(found[2] ?? 0) } : null;
}

/** @param {unknown} data @returns {Message | null} */
function parse(data) {
  if (typeof data !== 'string' || data.length > MESSAGE_MAX_CHARS) return null;
  try {
    const message = JSON.parse(data);
    return typeof message?.type === 'string' ? message : null;
  } catch {
    return null;
  }
}
