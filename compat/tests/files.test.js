/** The files of the call page without a browser: what a peer may do, and what is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChatFiles } from '../../web/js/files/chat-files.js';
import { FILE_LABEL, PageFiles } from '../../web/js/files/page-files.js';
import { ACTIVE_MAX, FILE_MAX_BYTES, TRANSFERS_MAX, UNACCEPTED_MAX_BYTES } from '../../web/js/files/transfer.js';

/** @typedef {import('../../web/js/files/transfer.js').IncomingTransfer} IncomingTransfer */

/** A data channel whose other end is controlled by the test. */
class FakeChannel extends EventTarget {
  /** @type {RTCDataChannelState} */ readyState = 'open';
  bufferedAmount = 0;
  bufferedAmountLowThreshold = 0;
  /** @type {unknown[]} */ sent = [];
  /** @type {((event: { data: unknown }) => void) | null} */ onmessage = null;
  /** @type {(() => void) | null} */ onclose = null;

  constructor(protocol = '') {
    super();
    this.protocol = protocol;
  }

  /** @param {unknown} data */
  send(data) {
    this.sent.push(data);
  }

  close() {
    this.readyState = 'closed';
    this.dispatchEvent(new Event('close'));
    this.onclose?.();
  }

  /** @returns {RTCDataChannel} */
  get real() {
    return /** @type {any} */ (this);
  }
}

/** A page whose peer is controlled by the test. */
function page() {
  /** @type {import('../../web/js/page-channel.js').Message[]} */
  const sent = [];
  /** @type {IncomingTransfer[]} */
  const received = [];
  /** @type {FakeChannel[]} */
  const channels = [];
  const files = new PageFiles({
    send: (message) => Boolean(sent.push(message)),
    openChannel(label, { protocol }) {
      assert.equal(label, FILE_LABEL);
      channels.push(new FakeChannel(protocol));
      return channels[channels.length - 1].real;
    },
    onFile: (transfer) => received.push(transfer),
  });
  return { files, sent, received, channels };
}

const TURNS_MAX = 10_000;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Lets everything run that can, until it is so. @param {() => boolean} isSo */
async function until(isSo) {
  for (let turns = 0; !isSo(); turns += 1) {
    assert.ok(turns < TURNS_MAX, `not ${isSo}`);
    await turn();
  }
}

/** For what must not happen. */
async function someTurns() {
  for (let turns = 0; turns < 50; turns += 1) await turn();
}

/** @param {number} bytes */
function file(bytes, name = 'a.bin') {
  return new File([new Uint8Array(bytes)], name);
}

/** A file that has a size, but no content. @param {number} size */
function large(size) {
  return /** @type {any} */ ({ name: 'large.bin', type: '', size, slice: () => new Blob() });
}

/** @param {string} id @param {unknown} size */
function offer(id, size, name = `${id}.bin`) {
  return { type: 'FILE_OFFER', id, name, size, mime: '' };
}

test('a file is sent when it is accepted, and is done when the receiver says so', async () => {
  const { files, sent, channels } = page();
  const transfer = files.send(file(40_000));
  assert.deepEqual(sent.map(({ type, size }) => [type, size]), [['FILE_OFFER', 40_000]]);
  await someTurns();
  assert.equal(channels.length, 0);

  files.receive({ type: 'FILE_ACCEPT', id: transfer.id });
  const [channel] = channels;
  await until(() => channel.sent.length === 3);
  assert.deepEqual(channel.sent.map((chunk) => /** @type {ArrayBuffer} */ (chunk).byteLength), [16_384, 16_384, 7_232]);
  assert.equal(transfer.state, 'active');

  files.receive({ type: 'FILE_DONE', id: transfer.id });
  assert.deepEqual([transfer.state, channel.readyState], ['done', 'closed']);
});

test('so many files are sent at once, and so many offered; the others wait', async () => {
  const { files, sent, channels } = page();
  const transfers = Array.from({ length: TRANSFERS_MAX + 2 }, () => files.send(file(10)));
  assert.equal(sent.length, TRANSFERS_MAX);

  for (const { id } of transfers) files.receive({ type: 'FILE_ACCEPT', id });
  await someTurns();
  assert.equal(channels.length, ACTIVE_MAX);
  files.receive({ type: 'FILE_DONE', id: transfers[0].id });
  assert.deepEqual([channels.length, sent.length], [ACTIVE_MAX + 1, TRANSFERS_MAX + 1]);
});

test('a file waits while its channel has much buffered', async () => {
  const { files, channels } = page();
  const transfer = files.send(file(100_000));
  files.receive({ type: 'FILE_ACCEPT', id: transfer.id });
  const [channel] = channels;
  channel.bufferedAmount = 1_000_000;
  await someTurns();
  assert.equal(channel.sent.length, 0);

  channel.bufferedAmount = 0;
  channel.dispatchEvent(new Event('bufferedamountlow'));
  await until(() => channel.sent.length === 7);
});

test('a channel without a file that was accepted is closed', () => {
  const { files, received } = page();
  files.receive(offer('offered', 10));
  const unknown = new FakeChannel('unknown');
  const early = new FakeChannel('offered');
  for (const channel of [unknown, early]) files.adopt(channel.real);
  assert.deepEqual([unknown.readyState, early.readyState], ['closed', 'closed']);

  received[0].accept();
  const [one, second] = [new FakeChannel('offered'), new FakeChannel('offered')];
  for (const channel of [one, second]) files.adopt(channel.real);
  assert.deepEqual([one.readyState, second.readyState], ['open', 'closed']);
});

test('a file arrives', async () => {
  const { files, sent, received } = page();
  files.receive(offer('f', 5, '../../<b>.png'));
  const [transfer] = received;
  assert.deepEqual([transfer.name, transfer.state, sent.length], ['b.png', 'offered', 0]);
  transfer.accept();
  const channel = new FakeChannel('f');
  files.adopt(channel.real);
  for (const data of [new Uint8Array([1, 2]).buffer, new Uint8Array([3, 4, 5]).buffer]) channel.onmessage?.({ data });

  assert.deepEqual(sent.map(({ type }) => type), ['FILE_ACCEPT', 'FILE_DONE']);
  assert.equal(transfer.state, 'done');
  assert.deepEqual(new Uint8Array(await transfer.blob().arrayBuffer()), new Uint8Array([1, 2, 3, 4, 5]));
});

test('an empty file arrives', () => {
  const { files, sent, received } = page();
  files.receive(offer('f', 0));
  received[0].accept();
  files.adopt(new FakeChannel('f').real);
  assert.deepEqual([received[0].state, sent.at(-1)?.type], ['done', 'FILE_DONE']);
});

for (const [what, data] of /** @type {const} */ ([['more bytes than announced', new ArrayBuffer(11)], ['text', 'text']])) {
  test(`${what} end the transfer and the channel, and nothing is kept`, () => {
    const { files, sent, received } = page();
    files.receive(offer('f', 10));
    received[0].accept();
    const channel = new FakeChannel('f');
    files.adopt(channel.real);
    channel.onmessage?.({ data });
    assert.deepEqual([received[0].state, channel.readyState, received[0].blob().size], ['failed', 'closed', 0]);
    assert.deepEqual([sent.at(-1)?.type, sent.at(-1)?.reason], ['FILE_REFUSE', 'content']);
  });
}

test('offers without a size, too large ones and too many are refused', () => {
  const { files, sent, received } = page();
  for (const size of [-1, 1.5, 'x', null, undefined, FILE_MAX_BYTES + 1]) files.receive(offer(`bad ${size}`, size));
  assert.deepEqual(sent.map(({ type, reason }) => [type, reason]), Array(6).fill(['FILE_REFUSE', 'size']));
  assert.ok(received.every(({ state }) => state === 'failed'));

  for (let index = 0; index < TRANSFERS_MAX; index += 1) files.receive(offer(`${index}`, 1));
  assert.equal(sent.length, 6);
  files.receive(offer('one more', 1));
  assert.deepEqual([sent.at(-1)?.id, sent.at(-1)?.reason, received.at(-1)?.state], ['one more', 'count', 'failed']);
  received.at(-2)?.decline();
  files.receive(offer('again', 1));
  assert.equal(received.at(-1)?.state, 'offered');
});

test('the same id again, and one that is too long, are ignored', () => {
  const { files, received } = page();
  files.receive(offer('f', 10));
  files.receive(offer('f', 20));
  files.receive(offer('f'.repeat(65), 20));
  assert.deepEqual(received.map(({ size }) => size), [10]);
});

test('both sides cancel at any time', async () => {
  const { files, sent, received, channels } = page();
  const [withdrawn, declined, stopped] = [files.send(file(9)), files.send(file(9)), files.send(file(9))];
  withdrawn.cancel();
  files.receive({ type: 'FILE_ACCEPT', id: withdrawn.id });
  files.receive({ type: 'FILE_REFUSE', id: declined.id, reason: 'declined' });
  files.receive({ type: 'FILE_ACCEPT', id: stopped.id });
  stopped.cancel();
  assert.deepEqual(channels.map(({ readyState }) => readyState), ['closed']);
  assert.deepEqual([withdrawn, declined, stopped].map(({ state }) => state), ['cancelled', 'declined', 'cancelled']);
  assert.deepEqual(sent.filter(({ type }) => type === 'FILE_WITHDRAW').map(({ id }) => id), [withdrawn.id, stopped.id]);

  for (const id of ['a', 'b', 'c']) files.receive(offer(id, 10));
  const [a, b, c] = received;
  a.decline();
  b.accept();
  const channel = new FakeChannel('b');
  files.adopt(channel.real);
  channel.onmessage?.({ data: new ArrayBuffer(4) });
  b.cancel();
  files.receive({ type: 'FILE_WITHDRAW', id: 'c' });
  assert.deepEqual([a, b, c].map(({ state }) => state), ['declined', 'cancelled', 'cancelled']);
  assert.deepEqual([channel.readyState, b.blob().size], ['closed', 0]);
  assert.deepEqual(sent.slice(-3).map(({ type, reason }) => [type, reason]), [['FILE_REFUSE', 'declined'], ['FILE_ACCEPT', undefined], ['FILE_REFUSE', 'cancelled']]);
});

test('when the connection ends, every transfer fails and says so', async () => {
  const { files, received } = page();
  const [waiting, active] = [files.send(file(9)), files.send(file(9))];
  files.receive({ type: 'FILE_ACCEPT', id: active.id });
  files.receive(offer('f', 10));
  files.close();
  assert.deepEqual([waiting, active, received[0]].map(({ state, problem }) => [state, problem]), Array(3).fill(['failed', 'the connection ended']));
});

test('a file that is too large is not offered', () => {
  const { files, sent } = page();
  assert.equal(files.send(large(FILE_MAX_BYTES + 1)).state, 'failed');
  assert.equal(sent.length, 0);
});

/** The channel `chat` of a peer that is no page. */
function chat() {
  /** @type {IncomingTransfer[]} */
  const received = [];
  const channel = new FakeChannel();
  return { files: new ChatFiles(channel.real, (transfer) => received.push(transfer)), channel, received };
}

/** @param {FakeChannel} channel */
function typesSent({ sent }) {
  return sent.map((data) => (typeof data === 'string' ? JSON.parse(data).type : /** @type {ArrayBuffer} */ (data).byteLength));
}

test('to a client of p2p files go one after the other, without waiting for an answer', async () => {
  const { files, channel } = chat();
  const transfers = [files.send(file(20_000, 'a')), files.send(file(1, 'b'))];
  await until(() => channel.sent.length === 7);
  assert.deepEqual(typesSent(channel), ['FILE_META', 16_384, 3_616, 'FILE_END', 'FILE_META', 1, 'FILE_END']);
  assert.deepEqual(transfers.map(({ state }) => state), ['done', 'done']);
});

test('a file to a client of p2p that is cancelled is ended, and the next one is sent', async () => {
  const { files, channel } = chat();
  channel.bufferedAmount = 1_000_000;
  const [cancelled, never] = [files.send(file(20_000)), files.send(file(1))];
  files.send(file(2));
  await until(() => channel.sent.length === 1);
  await someTurns();
  cancelled.cancel();
  never.cancel();
  channel.bufferedAmount = 0;
  channel.dispatchEvent(new Event('bufferedamountlow'));
  await until(() => channel.sent.length === 5);
  assert.deepEqual(typesSent(channel), ['FILE_META', 'FILE_END', 'FILE_META', 2, 'FILE_END']);
});

test('what a client of p2p sends waits for an answer, also when it is whole and its sender has left', () => {
  const { files, received } = chat();
  files.begin({ filename: 'a', size: 3 });
  files.add(new ArrayBuffer(3));
  files.end();
  files.begin({ filename: 'b', size: 4 });
  files.add(new ArrayBuffer(3));
  files.close();
  const [whole, part] = received;
  assert.deepEqual([whole.state, part.state], ['offered', 'failed']);
  whole.accept();
  assert.deepEqual([whole.state, whole.blob().size, part.blob().size], ['done', 3, 0]);
});

test('a client of p2p that sends too much, too little, or a size that is none', () => {
  const { files, received } = chat();
  for (const size of [2, 4, 'x', FILE_MAX_BYTES + 1]) {
    files.begin({ filename: 'a', size });
    files.add(new ArrayBuffer(3));
    files.add(new ArrayBuffer(0));
    files.end();
  }
  assert.deepEqual(received.map(({ state }) => state), Array(4).fill('failed'));
  assert.ok(received.every((transfer) => transfer.blob().size === 0));
});

test('what arrives before it is accepted is bounded for all members together', () => {
  const [one, other] = [chat(), chat()];
  const chunk = new ArrayBuffer(UNACCEPTED_MAX_BYTES / 4);
  const fill = (/** @type {ChatFiles} */ files, /** @type {number} */ chunks) => {
    files.begin({ filename: 'a', size: FILE_MAX_BYTES });
    for (let index = 0; index < chunks; index += 1) files.add(chunk);
  };
  fill(one.files, 3);
  fill(other.files, 2);
  assert.deepEqual([one.received[0].state, other.received[0].state], ['offered', 'failed']);
  assert.equal(other.received[0].blob().size, 0);

  one.received[0].accept();
  for (let index = 0; index < 8; index += 1) one.files.add(chunk);
  assert.equal(one.received[0].state, 'active');
  fill(other.files, 4);
  assert.equal(other.received[1].state, 'offered');
  other.received[1].decline();
  one.received[0].cancel();
  fill(one.files, 4);
  assert.equal(one.received[1].state, 'offered');
  one.files.close();
});

test('files of a client of p2p without an answer are bounded in number', () => {
  const { files, received } = chat();
  for (let index = 0; index <= TRANSFERS_MAX; index += 1) {
    files.begin({ filename: 'a', size: 0 });
    files.end();
  }
  assert.equal(received.at(-1)?.state, 'failed');
  received[0].decline();
  files.begin({ filename: 'a', size: 0 });
  assert.equal(received.at(-1)?.state, 'offered');
});

/** An object of JSON that no conversion accepts. */
const POISON = { toString: 1, valueOf: 1 };

test('values that are neither text nor number are no errors, and no file', () => {
  const { files, received } = page();
  for (const type of ['FILE_OFFER', 'FILE_ACCEPT', 'FILE_REFUSE', 'FILE_WITHDRAW', 'FILE_DONE']) {
    files.receive({ type, id: POISON, name: POISON, size: POISON, mime: POISON, reason: POISON });
    files.receive({ type, id: 'one', name: POISON, size: [1], mime: POISON, reason: POISON });
  }
  assert.deepEqual(received.map(({ state }) => state), ['failed', 'failed']);
  const chat = new ChatFiles(new FakeChannel().real, (transfer) => received.push(transfer));
  chat.begin({ filename: POISON, size: POISON, mime: POISON });
  chat.begin({ filename: POISON, size: 1, mime: POISON });
  assert.deepEqual(received.slice(2).map(({ state }) => state), ['failed', 'offered']);
});

test('a channel that takes no message fails the file, and the next one is tried', async () => {
  const channel = new FakeChannel();
  channel.send = () => {
    throw new TypeError('larger than max-message-size');
  };
  const chat = new ChatFiles(channel.real, () => {});
  const first = chat.send(file(10));
  const second = chat.send(file(10));
  await until(() => first.isOver && second.isOver);
  assert.deepEqual([first.state, second.state], ['failed', 'failed']);
});
