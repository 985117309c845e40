/** The page of p2p-go-app: no media, a data channel `chat` for text and files. */
import { joinWith, usernameOf } from './p2p-wire.js';
import { state } from './page.js';

const CHUNK_BYTES = 16 * 1024;
const BUFFERED_BYTES_MAX = 1024 * 1024;

/** @type {Map<string, RTCDataChannel>} */
const channels = new Map();

/** @param {string} id @param {RTCDataChannel} channel */
function adopt(id, channel) {
  const from = usernameOf(id);
  /** @type {{ filename: string, chunks: ArrayBuffer[] } | null} */
  let incoming = null;
  channel.binaryType = 'arraybuffer';
  channel.onopen = () => channels.set(id, channel);
  channel.onmessage = async ({ data }) => {
    if (data instanceof ArrayBuffer) return incoming?.chunks.push(data);
    const message = JSON.parse(data);
    if (message.type === 'FILE_META') incoming = { filename: message.filename, chunks: [] };
    else if (message.type === 'FILE_END' && incoming) {
      const { filename, chunks } = incoming;
      const bytes = await new Blob(chunks).arrayBuffer();
      state.files.push({ from, name: filename, size: bytes.byteLength, sha256: await sha256(bytes) });
    } else if ('content' in message) state.messages.push({ from, content: message.content });
  };
}

/** @param {ArrayBuffer} bytes */
async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** @param {RTCDataChannel} channel @returns {Promise<void>} */
function drained(channel) {
  if (channel.bufferedAmount <= BUFFERED_BYTES_MAX) return Promise.resolve();
  return new Promise((resolve) => {
    channel.bufferedAmountLowThreshold = BUFFERED_BYTES_MAX / 2;
    channel.addEventListener('bufferedamountlow', () => resolve(), { once: true });
  });
}

/** @param {RTCDataChannel} channel @param {string} filename @param {ArrayBuffer} bytes */
async function sendTo(channel, filename, bytes) {
  const fileId = crypto.randomUUID();
  channel.send(JSON.stringify({ type: 'FILE_META', filename, size: bytes.byteLength, mime: 'application/octet-stream', fileId }));
  for (let start = 0; start < bytes.byteLength; start += CHUNK_BYTES) {
    channel.send(bytes.slice(start, start + CHUNK_BYTES));
    await drained(channel);
  }
  channel.send(JSON.stringify({ type: 'FILE_END', filename, fileId }));
}

window.say = (content) => {
  for (const channel of channels.values()) channel.send(JSON.stringify({ content, timestamp: Date.now() }));
};

window.sendFile = async (filename, size) => {
  const bytes = new Uint8Array(size).map((_, index) => (index * 31) ^ (index >> 8)).buffer;
  await Promise.all([...channels.values()].map((channel) => sendTo(channel, filename, bytes)));
  return sha256(bytes);
};

joinWith({
  equip(pc, id, calling) {
    if (calling) adopt(id, pc.createDataChannel('chat'));
    else pc.ondatachannel = ({ channel }) => adopt(id, channel);
  },
  watch: () => ({ videoWidth: 0, frames: 0 }),
  forget: (id) => channels.delete(id),
});
