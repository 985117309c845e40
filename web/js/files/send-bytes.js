// @ts-check
// Writes a file into a data channel in chunks, and waits whenever enough of them are buffered: what is buffered delays
// what is written to the same channel afterwards.

/** The chunk of p2p-go-app. Small enough that the messages of several channels interleave. */
const CHUNK_BYTES = 16 * 1024;
const READ_BYTES = 64 * CHUNK_BYTES;
const BUFFER_HIGH_BYTES = 256 * 1024;
const BUFFER_LOW_BYTES = 64 * 1024;

/**
 * Returns early if the transfer ends meanwhile. Throws if the channel closes or the file cannot be read.
 * @param {RTCDataChannel} channel @param {import('./transfer.js').OutgoingTransfer} transfer
 */
export async function sendBytes(channel, transfer) {
  const { file } = transfer;
  channel.bufferedAmountLowThreshold = BUFFER_LOW_BYTES;
  for (let start = 0; start < file.size; start += READ_BYTES) {
    const block = await file.slice(start, start + READ_BYTES).arrayBuffer();
    for (let at = 0; at < block.byteLength; at += CHUNK_BYTES) {
      await hasSpace(channel);
      if (transfer.isOver) return;
      channel.send(block.slice(at, at + CHUNK_BYTES));
      transfer.progress(Math.max(0, start + at - channel.bufferedAmount));
    }
  }
}

/** @param {RTCDataChannel} channel */
async function hasSpace(channel) {
  if (channel.readyState === 'open' && channel.bufferedAmount > BUFFER_HIGH_BYTES) await nextEvent(channel, 'bufferedamountlow', 'close');
  if (channel.readyState !== 'open') throw new Error('the data channel is closed');
}

/** @param {RTCDataChannel} channel */
export async function isOpened(channel) {
  if (channel.readyState === 'connecting') await nextEvent(channel, 'open', 'close');
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
