/** The page at `/` against members that speak its own protocols to do harm. The other members must notice none of it. */
import assert from 'node:assert/strict';
import { stage } from '../lib/stage.js';

const scene = stage();

/** Runs in a page before its own scripts: `window.channels` holds its data channels, `window.socket` its WebSocket. */
function exposeChannels() {
  /** @type {RTCDataChannel[]} */
  window.channels = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super(configuration);
      this.addEventListener('datachannel', ({ channel }) => window.channels.push(channel));
    }

    /** @param {string} label @param {RTCDataChannelInit} [init] */
    createDataChannel(label, init) {
      const channel = super.createDataChannel(label, init);
      window.channels.push(channel);
      return channel;
    }
  };
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    window.socket = this;
    send.call(this, data);
  };
}

/** Runs in a page before its own scripts: it says that it takes no message of more than 20 bytes. */
function takeNoMessages() {
  const { send } = WebSocket.prototype;
  WebSocket.prototype.send = function (data) {
    send.call(this, String(data).replace('max-message-size:262144', 'max-message-size:20'));
  };
}

scene('a member that takes no message keeps the others from nothing', async (scene) => {
  const mallory = await scene.visit('Mallory', takeNoMessages);
  const ada = await scene.visit('Ada');
  await ada.until('a connection', () => window.tiles().some(({ state, chat }) => state === 'connected' && chat === 'open'));
  const grace = await scene.visit('Grace');
  await grace.until('both', () => window.tiles().filter(({ state, chat }) => state === 'connected' && chat === 'open').length === 2);
  await ada.until('both', () => window.tiles().filter(({ state, chat }) => state === 'connected' && chat === 'open').length === 2);

  await ada.writes('Hello');
  await grace.reads('Ada', 'Hello');
  await ada.isToldOf('Not delivered to Mallory');
  await ada.page.getByTestId('mute').click();
  await grace.shows('Ada', 'muted', 'true');
  await ada.sends('a.bin', Buffer.from('abc'));
  await grace.receives('a.bin');
  assert.deepEqual(mallory.problems.filter((problem) => !problem.includes('send')), []);
});

scene('messages with values that cannot be read as text or numbers are no errors', async (scene) => {
  const mallory = await scene.visit('Mallory', exposeChannels);
  const ada = await scene.visit('Ada');
  await Promise.all([ada.sees('Mallory'), mallory.sees('Ada')]);
  const [{ peer }] = await mallory.page.evaluate(() => [...document.querySelectorAll('[data-testid="tile"]:not([data-peer="self"])')].map((tile) => ({ peer: /** @type {HTMLElement} */ (tile).dataset['peer'] })));
  await mallory.page.evaluate((toPeerId) => {
    const poison = { toString: 1, valueOf: 1 };
    const named = (/** @type {string} */ label) => window.channels.find((channel) => channel.label === label && channel.readyState === 'open');
    const keys = ['id', 'name', 'size', 'mime', 'reason', 'peerId', 'quality', 'video', 'isMuted'];
    for (const type of ['MEDIA', 'SESSION', 'RECEIVE', 'FILE_OFFER', 'FILE_ACCEPT', 'FILE_REFUSE', 'FILE_DONE', 'FILE_WITHDRAW']) {
      named('switchboard')?.send(JSON.stringify({ type, ...Object.fromEntries(keys.map((key) => [key, poison])) }));
      named('switchboard')?.send(JSON.stringify({ type, id: 'good', ...Object.fromEntries(keys.slice(1).map((key) => [key, poison])) }));
    }
    for (const message of [{ type: 'FILE_META', filename: poison, size: 1, mime: poison }, { type: 'FILE_META', filename: 'a', size: poison, mime: poison }, { content: 'x', timestamp: poison }, { content: poison }, null, [], 7]) {
      named('chat')?.send(JSON.stringify(message));
    }
    for (const type of ['SDP_OFFER', 'SDP_ANSWER', 'ICE_CANDIDATE']) {
      for (const sdp of [{ sdp: poison }, poison, { sdp: { sdp: poison } }]) window.socket.send(JSON.stringify({ type, toPeerId, sdp, iceCandidate: { candidate: poison, sdpMid: poison } }));
    }
    named('chat')?.send(JSON.stringify({ content: 'the last one', timestamp: 1 }));
  }, peer);
  await ada.reads('Mallory', 'the last one');
  ada.excused.push(/^warning: negotiation/);
  await ada.writes('Still here');
  await mallory.reads('Ada', 'Still here');
});

scene('a flood of chat, files and media states leaves the page usable', async (scene) => {
  const mallory = await scene.visit('Mallory', exposeChannels);
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  await Promise.all([ada.meets('Mallory', 'Grace'), grace.meets('Mallory', 'Ada')]);
  await grace.writes('Before the flood');
  await ada.reads('Grace', 'Before the flood');
  await mallory.page.evaluate(async () => {
    for (let count = 0; count < 4_000; count += 1) {
      for (const channel of window.channels.filter(({ readyState }) => readyState === 'open')) {
        if (channel.label === 'chat') channel.send(JSON.stringify(count % 2 ? { content: `flood ${count}`, timestamp: 1 } : { type: 'FILE_META', filename: `${count}.bin`, size: 9 }));
        else channel.send(JSON.stringify({ type: 'FILE_OFFER', id: `f${count}`, name: `${count}.bin`, size: 9 }));
        if (channel.label !== 'chat') channel.send(JSON.stringify({ type: 'MEDIA', isMuted: count % 2 === 0, video: count % 3 ? 'screen' : 'off' }));
      }
    }
    for (const channel of window.channels) if (channel.label === 'switchboard' && channel.readyState === 'open') channel.send(JSON.stringify({ type: 'MEDIA', isMuted: true, video: 'off' }));
  });
  await ada.isToldOf('Mallory sends too much');
  await ada.shows('Mallory', 'muted', 'true');
  await grace.writes('After the flood');
  await ada.reads('Grace', 'After the flood');
  await ada.reads('Grace', 'Before the flood');
});

scene('offers of ever new connections do not fill the page with connections', async (scene) => {
  const mallory = await scene.visit('Mallory', exposeChannels);
  const ada = await scene.visit('Ada');
  await Promise.all([ada.sees('Mallory'), mallory.sees('Ada')]);
  const peer = await mallory.page.evaluate(() => /** @type {HTMLElement | null} */ (document.querySelector('[data-testid="tile"]:not([data-peer="self"])'))?.dataset['peer']);
  await mallory.page.evaluate(async (toPeerId) => {
    const sdp = window.connections.at(-1)?.localDescription?.sdp.replace(/^a=setup:.*$/gm, 'a=setup:actpass') ?? '';
    for (let count = 0; count < 100; count += 1) {
      const marked = sdp.replace(/^m=/m, `a=x-switchboard:${(count + 1).toString(16)} 1\r\nm=`);
      window.socket.send(JSON.stringify({ type: 'SDP_OFFER', toPeerId, sdp: { type: 'offer', sdp: marked } }));
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    window.socket.send(JSON.stringify({ type: 'CHAT_MESSAGE', content: 'the last one' }));
  }, peer);
  await ada.reads('Mallory', 'the last one');
  const count = await ada.page.evaluate(() => window.connections.length);
  assert.ok(count < 10, `${count} connections`);
});
