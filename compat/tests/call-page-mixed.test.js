/** The page at `/` in one room with clients of other dialects, which work as among clients of their own. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { connectedWith } from '../lib/full-mesh.js';
import { outputFile, stage, startOneNode } from '../lib/stage.js';

/** @typedef {import('../lib/guest.js').Guest} Guest */
/** @typedef {import('../lib/stage.js').Scene} Scene */
/** @typedef {import('../lib/visitor.js').Visitor} Visitor */

const PEERJS = { SWITCHBOARD_PEERJS_KEYS: '*', SWITCHBOARD_PEERJS_MIXED: 'true' };
const MOVING_FRAMES = 10;
const FILE_BYTES = 1024 * 1024;

const scene = stage({ open: (closers) => startOneNode(closers, PEERJS), prepare: recordWhatIsReceived });

/**
 * Runs in every page before its own scripts: keeps the labels of the data channels that peers have opened, and counts the
 * tracks that belong to no stream, which most clients do not play.
 */
function recordWhatIsReceived() {
  window.channelLabels = [];
  window.strayTracks = 0;
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super(configuration);
      this.addEventListener('datachannel', ({ channel }) => window.channelLabels.push(channel.label));
      this.addEventListener('track', ({ streams }) => {
        if (streams.length === 0) window.strayTracks += 1;
      });
    }
  };
}

/** How each of the clients enters, and under which name the page shows it. @type {Record<string, (scene: Scene) => Promise<Guest>>} */
const CLIENTS = {
  lena: (scene) => scene.join('lightstream', { name: 'lena' }),
  paul: (scene) => scene.join('p2p', { name: 'paul' }),
  'Rear Admiral': (scene) => scene.join('p2p-chat', { name: 'Rear Admiral' }),
  peer1: (scene) => scene.join('peerjs', { id: 'peer1', key: scene.room }),
};
/** All but the client with chat alone. */
const WITH_PICTURE = ['lena', 'paul', 'peer1'];

/** @param {Visitor} visitor @param {string[]} names */
async function connects(visitor, ...names) {
  await visitor.until(`connected with exactly ${names}`, (wanted) => {
    const tiles = window.tiles();
    return tiles.length === wanted.length && wanted.every((name) => tiles.some(({ username, state }) => username === name && state === 'connected'));
  }, names);
}

/** @param {Visitor} visitor @param {string[]} names */
async function seesPicturesOf(visitor, ...names) {
  const tiles = await visitor.others();
  const goals = names.map((name) => ({ name, frames: (tiles.find(({ username }) => username === name)?.frames ?? 0) + MOVING_FRAMES }));
  await visitor.until(`moving pictures of ${names}`, (goals) => goals.every(({ name, frames }) => {
    const tile = window.tiles().find(({ username }) => username === name);
    return tile && tile.width > 0 && tile.frames >= frames;
  }), goals);
}

/** @param {Guest} guest @param {number} count */
async function seesPictures(guest, count) {
  const { peers } = await guest.state();
  const before = Object.fromEntries(Object.entries(peers).map(([id, { frames }]) => [id, frames]));
  await guest.until(`${count} moving pictures`, ({ before, count, more }) => {
    const moving = Object.entries(window.state.peers).filter(([id, { videoWidth, frames }]) => videoWidth > 0 && frames >= (before[id] ?? 0) + more);
    return moving.length === count;
  }, { before, count, more: MOVING_FRAMES });
}

/** @param {Record<string, Guest>} clients @param {Visitor[]} visitors */
async function allSeeAll(clients, visitors) {
  const names = Object.keys(clients);
  await Promise.all(visitors.map((visitor) => connects(visitor, ...names, ...visitors.filter((other) => other !== visitor).map(({ name }) => name))));
  await Promise.all(Object.values(clients).map((client) => connectedWith(client, names.length + visitors.length - 1)));
  await Promise.all([
    ...visitors.map((visitor) => seesPicturesOf(visitor, ...WITH_PICTURE, ...visitors.filter((other) => other !== visitor).map(({ name }) => name))),
    ...WITH_PICTURE.map((name) => seesPictures(clients[name], WITH_PICTURE.length - 1 + visitors.length)),
  ]);
}

/** @param {Record<string, Guest>} clients */
async function areUndisturbed(clients) {
  for (const [name, client] of Object.entries(clients)) {
    const labels = await client.page.evaluate(() => window.channelLabels);
    assert.deepEqual(labels.filter((label) => label !== 'chat'), [], `channels that ${name} was given`);
    assert.equal(await client.page.evaluate(() => window.strayTracks), 0, `tracks without a stream that ${name} was given`);
    assert.deepEqual((await client.state()).errors, [], `errors of ${name}`);
  }
}

/** @param {Visitor[]} visitors @param {Guest} client */
async function chatAndFiles([ada, grace], client) {
  await ada.writes('From a page');
  await Promise.all([grace.reads('Ada', 'From a page'), client.until('the message', () => window.state.messages.length === 1)]);
  await client.page.evaluate(() => window.say('From a client'));
  for (const visitor of [ada, grace]) await visitor.reads('Rear Admiral', 'From a client');
  const bytes = randomBytes(FILE_BYTES);
  await ada.sends('page.bin', bytes);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  assert.equal(await grace.receives('page.bin'), sha256);
  await client.until('the file', () => window.state.files.length === 1);
  assert.deepEqual((await client.state()).files, [{ from: 'Ada', name: 'page.bin', size: FILE_BYTES, sha256 }]);
  const sent = await client.page.evaluate((size) => window.sendFile('client.bin', size), FILE_BYTES);
  assert.deepEqual([await ada.receives('client.bin'), await grace.receives('client.bin')], [sent, sent]);
  assert.deepEqual((await client.state()).messages, [{ from: 'Ada', content: 'From a page' }]);
}

/** @param {Scene} scene */
async function entersEach(scene) {
  /** @type {Record<string, Guest>} */
  const clients = {};
  for (const [name, enter] of Object.entries(CLIENTS)) clients[name] = await enter(scene);
  return clients;
}

scene('clients of lightstream, p2p and PeerJS between two pages: pictures, names, chat and files', async (scene) => {
  const ada = await scene.visit('Ada');
  const clients = await entersEach(scene);
  const grace = await scene.visit('Grace');

  await allSeeAll(clients, [ada, grace]);
  await ada.page.screenshot({ path: outputFile('call-page-mixed.png') });
  await chatAndFiles([ada, grace], clients['Rear Admiral']);
  await areUndisturbed(clients);
});

for (const [name, enter] of Object.entries(CLIENTS)) {
  scene(`${name} leaves two pages and comes back, and so does a page`, async (scene) => {
    const ada = await scene.visit('Ada');
    const first = await enter(scene);
    const grace = await scene.visit('Grace');
    const visitors = [ada, grace];
    const meet = async (/** @type {Guest} */ client) => {
      await Promise.all([connects(ada, 'Grace', name), connects(grace, 'Ada', name), connectedWith(client, 2)]);
      if (!WITH_PICTURE.includes(name)) return;
      await Promise.all([...visitors.map((visitor) => seesPicturesOf(visitor, name)), seesPictures(client, 2)]);
    };
    await meet(first);

    await first.page.close();
    for (const visitor of visitors) await visitor.isToldOf(`${name} left`);
    await Promise.all([connects(ada, 'Grace'), connects(grace, 'Ada')]);
    const second = await enter(scene);
    await meet(second);

    await grace.page.reload();
    await meet(second);
    await areUndisturbed({ [name]: second });
  });
}

scene('a message of a member with the same name and another dialect is shown', async (scene) => {
  const ada = await scene.visit('Ada');
  await ada.page.evaluate((roomID) => new Promise((resolve, reject) => {
    const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/ws?dialect=lightstream`);
    socket.onerror = reject;
    socket.onopen = () => socket.send(JSON.stringify({ type: 'join', roomID, senderID: 'Ada' }));
    socket.onmessage = () => resolve(socket.send(JSON.stringify({ type: 'message', roomID, senderID: 'Ada', payload: 'not yours' })));
  }), scene.room);
  await ada.reads('Ada', 'not yours');
  await ada.writes('mine');
  await ada.reads('', 'mine');
  assert.equal(await ada.page.getByTestId('chat-message').filter({ hasText: 'mine' }).count(), 1);
});
