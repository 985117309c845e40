/** Releases of npm `peerjs` from 2015 to today, unmodified: against us, and against npm `peer`. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { seesEverybody } from '../lib/full-mesh.js';
import { ORIGINAL_ABSENT, startPeerServer } from '../lib/original.js';
import { stage, startOneNode } from '../lib/stage.js';

/** @typedef {import('../lib/guest.js').Guest} Guest */
/** @typedef {import('../lib/stage.js').Scene} Scene */

/**
 * @typedef {object} Release
 * @property {string} version
 * @property {RegExp[]} excused console messages that appear with either server
 */

/** The releases below 1.0 also POST to `/{key}/{id}/{token}/id`, which both servers answer with 404. */
const NO_XHR_STREAM = [/status of 404/];

/** @type {Release[]} */
const RELEASES = [
  { version: '0.3.14', excused: NO_XHR_STREAM },
  { version: '0.3.20', excused: NO_XHR_STREAM },
  { version: '1.0.0', excused: [] },
  { version: '1.3.2', excused: [] },
  { version: '1.5.5', excused: [] },
];

const SERVERS = [
  { name: 'ours', open: startOneNode, absent: /** @type {string | false} */ (false) },
  { name: 'the original', open: startPeerServer, absent: ORIGINAL_ABSENT },
];

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

for (const { name, open, absent } of SERVERS) {
  describe(`releases of peerjs, ${name}`, () => {
    const scene = stage({ open, absent });

    for (const release of RELEASES) {
      scene(`peerjs ${release.version}, ${name}: ids, data, a call, reconnect() and destroy()`, async (scene) => {
        const [ada, grace] = await exchangesData(scene, release);
        await grace.page.evaluate((id) => window.call(id), await idOf(ada));
        await Promise.all([seesEverybody(ada, 1), seesEverybody(grace, 1)]);
        await reconnects(scene, release, ada);
        await freesItsId(scene, release, grace);
        assert.deepEqual((await ada.state()).events, ['open', 'disconnected', 'open']);
      });
    }

    scene(`every release of peerjs, ${name}: a taken id and an absent id are reported`, async (scene) => {
      await Promise.all(RELEASES.map(async (release) => {
        const id = `ada-${release.version.replaceAll('.', '-')}`;
        const ada = await joins(scene, release, { id });
        await ada.page.evaluate((id) => window.dial(id), `absent-${id}`);
        const other = await opens(scene, release, { id });
        await reports(other, 'error unavailable-id');
        await reports(ada, 'error peer-unavailable');
        assert.deepEqual((await ada.state()).events, ['open', 'error peer-unavailable'], release.version);
      }));
    });
  });
}

/**
 * Two pages, one with an id from the server and one with an id of its own, send each other a message.
 * @param {Scene} scene @param {Release} release
 */
async function exchangesData(scene, release) {
  const id = `grace-${scene.room}`;
  const [ada, grace] = await Promise.all([joins(scene, release), joins(scene, release, { id })]);
  assert.match(await idOf(ada), UUID);
  assert.equal(await idOf(grace), id);
  await talks(ada, grace);
  return [ada, grace];
}

/**
 * The page disconnects from the server and reconnects with its id; another page can reach it.
 * The releases up to 1.0.0 close the new socket if the old one closes after reconnect().
 * @param {Scene} scene @param {Release} release @param {Guest} guest
 */
async function reconnects(scene, release, guest) {
  const id = await idOf(guest);
  await guest.page.evaluate(() => window.peer.disconnect());
  await reports(guest, 'disconnected');
  await guest.hasNoSocket();
  await guest.page.evaluate(() => window.peer.reconnect());
  await guest.until('there again', () => window.peer.open);
  assert.equal(await idOf(guest), id);
  await talks(await joins(scene, release), guest);
}

/** After destroy() another page gets the id. @param {Scene} scene @param {Release} release @param {Guest} guest */
async function freesItsId(scene, release, guest) {
  const id = await idOf(guest);
  await guest.page.evaluate(() => window.peer.destroy());
  await reports(guest, 'close');
  const successor = await joins(scene, release, { id });
  assert.equal(await idOf(successor), id);
}

/** @param {Scene} scene @param {Release} release @param {Record<string, string>} [parameters] */
async function opens(scene, { version, excused }, parameters) {
  const guest = await scene.open('peerjs', { version, ...parameters });
  guest.excused.push(...excused);
  return guest;
}

/** @param {Scene} scene @param {Release} release @param {Record<string, string>} [parameters] */
async function joins(scene, release, parameters) {
  const guest = await opens(scene, release, parameters);
  await guest.until('open', () => window.state?.joined);
  return guest;
}

/** @param {Guest} guest */
async function idOf(guest) {
  return (await guest.state()).myId;
}

/** @param {Guest} guest @param {string} event */
async function reports(guest, event) {
  await guest.until(`told "${event}"`, (wanted) => window.state?.events.includes(wanted), event);
}

/** The first page dials the second, and each hears the other. @param {Guest} caller @param {Guest} called */
async function talks(caller, called) {
  await caller.page.evaluate((id) => window.dial(id), await idOf(called));
  const pair = [[caller, called], [called, caller]];
  await Promise.all(pair.map(async ([guest, other]) => guest.until('connected', (id) => id in window.state.peers, await idOf(other))));
  await Promise.all(pair.map(([guest]) => guest.page.evaluate((words) => window.say(words), `from ${guest.name}`)));
  await Promise.all(pair.map(([guest, other]) => hears(guest, other)));
}

/** @param {Guest} guest @param {Guest} other */
async function hears(guest, other) {
  const wanted = { from: await idOf(other), content: `from ${other.name}` };
  await guest.until(`heard ${other.name}`, (wanted) => window.state.messages.some(({ from, content }) => from === wanted.from && content === wanted.content), wanted);
}
