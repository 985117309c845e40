/** npm `peerjs` in a browser: against us, and against npm `peer`, the server that it was made for. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Cable } from '../lib/cable.js';
import { seesEverybody } from '../lib/full-mesh.js';
import { ORIGINAL_ABSENT, startPeerServer } from '../lib/original.js';
import { paintCamera } from '../lib/painted-camera.js';
import { outputFile, stage, startOneNode } from '../lib/stage.js';

/** @typedef {import('../lib/guest.js').Guest} Guest */
/** @typedef {import('../lib/stage.js').Scene} Scene */

const MESSAGES = 100;
const DROP_MS = 30_000;
const RETRY_MS = 500;
const STRANGER_TRIES_AT_MS = 20_000;
/** The time for which a message waits for an absent peer; the original checks once a second. */
const ABSENT_MS = { min: 4_500, max: 20_000 };
const NOTICED_WITHIN_MS = 30_000;

/** The browser's message about a socket that the cable cut or did not let through. */
const CUT_SOCKET = /WebSocket connection to .* failed/;

/**
 * @typedef {object} House a server, and where the two differ on purpose
 * @property {string} name
 * @property {(closers: import('../lib/stage.js').Closers) => Promise<import('../lib/stage.js').AnyServer[]>} open
 * @property {boolean} takesOver whether a client gets `OPEN` and its old socket is closed, when it
 * reconnects before the server noticed the loss
 * @property {string | false} [absent] why its tests are skipped
 */

/** @type {House[]} */
const HOUSES = [
  { name: 'ours', open: startOneNode, takesOver: true },
  { name: 'the original', open: startPeerServer, takesOver: false, absent: ORIGINAL_ABSENT },
];

for (const house of HOUSES) {
  describe(`peerjs, ${house.name}`, () => {
    const scene = stage({ open: house.open, absent: house.absent, prepare: paintCamera });

    scene(`peerjs, ${house.name}: ${MESSAGES} messages each way`, async (scene) => {
      const [ada, grace] = await twoInConversation(scene);
      await Promise.all([sendsAll(ada), sendsAll(grace)]);
      await Promise.all([hasAll(ada, grace), hasAll(grace, ada)]);
      assert.notEqual(await idOf(ada), await idOf(grace));
    });

    scene(`peerjs, ${house.name}: a call`, async (scene) => {
      const id = `grace-${scene.room}`;
      const [ada, grace] = [await scene.join('peerjs'), await scene.join('peerjs', { id })];
      await ada.page.evaluate((id) => window.call(id), id);
      await Promise.all([seesEverybody(ada, 1), seesEverybody(grace, 1)]);
      await ada.page.screenshot({ path: outputFile(`peerjs-${house.name.replace(' ', '-')}.png`) });
    });

    scene(`peerjs, ${house.name}: an id that is taken`, async (scene) => {
      const id = `ada-${scene.room}`;
      const ada = await scene.join('peerjs', { id });
      const other = await scene.open('peerjs', { id });
      await reports(other, 'error unavailable-id');
      await reports(other, 'close');
      const grace = await scene.join('peerjs');
      await talks(grace, ada);
    });

    scene(`peerjs, ${house.name}: somebody who is not there`, async (scene) => {
      const ada = await scene.join('peerjs');
      const asked = performance.now();
      await ada.page.evaluate(() => window.dial('nobody'));
      await reports(ada, 'error peer-unavailable');
      const took = performance.now() - asked;
      assert.ok(took > ABSENT_MS.min && took < ABSENT_MS.max, `after ${took} ms`);
      assert.deepEqual((await ada.state()).events, ['open', 'error peer-unavailable']);
    });

    scene(`peerjs, ${house.name}: disconnect() and reconnect()`, async (scene) => {
      const [ada, grace] = await twoInConversation(scene);
      const id = await idOf(ada);
      await ada.page.evaluate(() => window.peer.disconnect());
      await Promise.all([hears(grace, ada, 'from outside'), hears(ada, grace, 'to the outside')]);
      await ada.page.evaluate(() => window.peer.reconnect());
      await ada.until('there again', () => window.peer.open);
      assert.equal(await idOf(ada), id);
      assert.deepEqual((await ada.state()).events, ['open', 'disconnected', 'open']);
      await talks(await scene.join('peerjs'), ada);
    });

    scene(`peerjs, ${house.name}: ${DROP_MS / 1000} s without a network`, async (scene) => {
      const cable = await cableOf(scene);
      const [ada, grace] = await twoInConversation(scene, { server: cable.socketOrigin, retry: String(RETRY_MS) });
      ada.excused.push(CUT_SOCKET);
      const id = await idOf(ada);

      const back = delay(DROP_MS);
      cable.cut();
      await reports(ada, 'disconnected');
      await Promise.all([hears(grace, ada, 'you see me'), hears(ada, grace, 'I see you')]);
      await strangerGets(scene, id);
      await delay(STRANGER_TRIES_AT_MS);
      await strangerGets(scene, id);
      await back;
      cable.mend();

      await ada.until('there again', () => window.peer.open);
      assert.equal(await idOf(ada), id);
      assert.deepEqual([(await ada.state()).left, (await grace.state()).left], [[], []], 'nobody was told of a goodbye');
      await hears(ada, grace, 'still here');
      await talks(await scene.join('peerjs'), ada);
    });

    scene(`peerjs, ${house.name}: back before the server saw that the network was gone`, async (scene) => {
      const cable = await cableOf(scene);
      const [ada, grace] = await twoInConversation(scene, { server: cable.socketOrigin, retry: String(RETRY_MS) });
      ada.excused.push(CUT_SOCKET);

      const { answeredAnew, oldEndsClosed } = cable.cutUnnoticed(NOTICED_WITHIN_MS);
      await reports(ada, 'disconnected');
      assert.ok(await answeredAnew);
      if (house.takesOver) await ada.until('there again', () => window.peer.open);
      // The original does not tell the client that it has reconnected, but the client can be reached.
      await talks(await scene.join('peerjs'), ada);

      assert.equal(await ada.page.evaluate(() => window.peer.open), house.takesOver);
      await hears(ada, grace, 'still here');
      if (house.takesOver) assert.ok(await oldEndsClosed, 'the old socket is closed');
    });
  });
}

/** @param {Scene} scene */
async function cableOf(scene) {
  const cable = await Cable.to(scene.server);
  scene.closers.push(() => cable.stop());
  return cable;
}

/**
 * Two clients with ids of the server; the second has called the first.
 * @param {Scene} scene @param {Record<string, string>} [parameters] of the first
 */
async function twoInConversation(scene, parameters) {
  const ada = await scene.join('peerjs', parameters);
  const grace = await scene.join('peerjs');
  await grace.page.evaluate((id) => window.dial(id), await idOf(ada));
  await Promise.all([ada, grace].map((guest) => guest.until('in conversation', () => Object.keys(window.state.peers).length === 1)));
  return [ada, grace];
}

/** @param {Guest} guest */
async function idOf(guest) {
  return (await guest.state()).myId;
}

/** @param {Guest} guest @param {string} event */
async function reports(guest, event) {
  await guest.until(`told "${event}"`, (wanted) => window.state?.events.includes(wanted), event);
}

/** @param {Guest} guest */
async function sendsAll({ page }) {
  await page.evaluate((count) => {
    for (let number = 0; number < count; number++) window.say(`message ${number}`);
  }, MESSAGES);
}

/** In order, and each once. @param {Guest} guest @param {Guest} other */
async function hasAll(guest, other) {
  await guest.until('all messages', (count) => window.state.messages.length >= count, MESSAGES);
  const from = await idOf(other);
  const wanted = Array.from({ length: MESSAGES }, (_, number) => ({ from, content: `message ${number}` }));
  assert.deepEqual((await guest.state()).messages, wanted);
}

/** @param {Guest} guest @param {Guest} speaker @param {string} words */
async function hears(guest, speaker, words) {
  await speaker.page.evaluate((content) => window.say(content), words);
  await heard(guest, speaker, words);
}

/** @param {Guest} guest @param {Guest} speaker @param {string} words */
async function heard(guest, speaker, words) {
  const wanted = { from: await idOf(speaker), words };
  await guest.until(`heard "${words}"`, ({ from, words }) => window.state.messages.some((message) => message.from === from && message.content === words), wanted);
}

/**
 * Another client gets the id of a client whose connection was reset, and leaves.
 * @param {Scene} scene @param {string} id
 */
async function strangerGets(scene, id) {
  const stranger = await scene.join('peerjs', { id });
  assert.equal(await idOf(stranger), id);
  await stranger.page.close();
}

/** One more conversation, which the server must carry from end to end. @param {Guest} newcomer @param {Guest} guest */
async function talks(newcomer, guest) {
  await newcomer.page.evaluate((id) => window.dial(id), await idOf(guest));
  await newcomer.until('in conversation', () => Object.keys(window.state.peers).length === 1);
  await hears(guest, newcomer, 'hello from a newcomer');
}
