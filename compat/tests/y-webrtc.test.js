/** npm `y-webrtc` with `yjs` in browsers: against us, and against the server in that package. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe } from 'node:test';
import { WebSocket } from 'ws';
import { Cable } from '../lib/cable.js';
import { connectedWith, fullMesh } from '../lib/full-mesh.js';
import { ORIGINAL_ABSENT, startYWebrtcServer } from '../lib/original.js';
import { outputFile, stage, startOneNode } from '../lib/stage.js';

/** @typedef {import('../lib/guest.js').Guest} Guest */
/** @typedef {import('../lib/stage.js').Scene} Scene */

/** The browser's message about a socket that the cable cut or did not let through. */
const CUT_SOCKET = /WebSocket connection to .* failed/;

/** The uncaught error of the client when it cannot decrypt a signal. */
const UNREADABLE = /OperationError/;

/**
 * @typedef {object} House a server, and where the two differ on purpose
 * @property {string} name
 * @property {(closers: import('../lib/stage.js').Closers) => Promise<import('../lib/stage.js').AnyServer[]>} open
 * @property {string} path
 * @property {'lives' | 'dies'} afterNonsense
 * @property {string | false} [absent] why its tests are skipped
 */

/** @type {House[]} */
const HOUSES = [
  { name: 'ours', open: startOneNode, path: '/y-webrtc', afterNonsense: 'lives' },
  { name: 'the original', open: startYWebrtcServer, path: '/', afterNonsense: 'dies', absent: ORIGINAL_ABSENT },
];

for (const { name, open, path, afterNonsense, absent } of HOUSES) {
  describe(`y-webrtc, ${name}`, () => {
    const scene = stage({ open, absent, apart: true });

    for (const [title, secret] of /** @type {[string, Record<string, string>][]} */ ([
      ['without a password', {}],
      ['with a password', { password: 'correct horse' }],
    ])) {
      scene(`y-webrtc, ${name}: three pages, one document, ${title}`, async (scene) => {
        const pages = await joinAll(scene, 3, { path, ...secret });
        await Promise.all(pages.map((guest) => writes(guest)));
        await Promise.all(pages.map((guest) => knowsOf(guest, pages)));
        await converged(pages);

        assert.equal((await fullMesh(pages, { moving: false })).length, 3);
        for (const { page } of pages) assert.equal(await page.evaluate(() => window.doc.neighbours()), 0);
        await pages[2].page.screenshot({ path: outputFile(`y-webrtc-${name.replace(' ', '-')}.png`) });

        const [leaver, ...others] = pages;
        await leaver.page.close({ runBeforeUnload: true });
        await Promise.all(others.map((guest) => knowsOf(guest, others)));
      });
    }

    scene(`y-webrtc, ${name}: passwords that differ keep pages apart`, async (scene) => {
      const [ada, grace] = await joinAll(scene, 2, { path, password: 'correct horse' });
      const [eve] = await joinAll(scene, 1, { path, password: 'wrong horse' });
      for (const { excused } of [ada, grace, eve]) excused.push(UNREADABLE);
      await Promise.all([ada, grace].map((guest) => connectedWith(guest, 1)));
      await Promise.all([writes(ada), writes(grace), writes(eve)]);
      await converged([ada, grace]);
      assert.deepEqual((await eve.state()).peers, {});
    });

    scene(`y-webrtc, ${name}: the network goes and comes back`, async (scene) => {
      const cable = await Cable.to(scene.server);
      scene.closers.push(() => cable.stop());
      const pages = await joinAll(scene, 2, { path, server: cable.socketOrigin });
      for (const { excused } of pages) excused.push(CUT_SOCKET);
      await Promise.all(pages.map((guest) => connectedWith(guest, 1)));

      cable.cut();
      await Promise.all(pages.map((guest) => guest.until('cut off', () => !window.doc.isSignalling())));
      await Promise.all(pages.map((guest) => writes(guest)));
      await converged(pages);
      cable.mend();
      // Two pages that announce themselves at the same moment may both call, and the client then gives up.
      await Promise.all(pages.map((guest) => guest.until('back', () => window.doc.isSignalling())));

      pages.push(...(await joinAll(scene, 1, { path })));
      await writes(pages[2]);
      await converged(pages);
      assert.equal((await fullMesh(pages, { moving: false })).length, 3);
    });

    scene(`y-webrtc, ${name}: ${afterNonsense} after a frame that is no JSON`, async (scene) => {
      const url = scene.server.socketOrigin + path;
      const [honest, odd] = [new WebSocket(url), new WebSocket(url)];
      await Promise.all([once(honest, 'open'), once(odd, 'open')]);
      const outcome = Promise.race([once(honest, 'close').then(() => 'dies'), once(honest, 'message').then(() => 'lives')]);
      odd.send('nonsense');
      // Ours may close the odd one; a server that dies closes both.
      if (afterNonsense === 'dies') await once(odd, 'close');
      honest.send(JSON.stringify({ type: 'ping' }));
      assert.equal(await outcome, afterNonsense);
      for (const socket of [honest, odd]) socket.terminate();
    });
  });
}

/** @param {Scene} scene @param {number} count @param {Record<string, string>} parameters */
async function joinAll(scene, count, parameters) {
  /** @type {Guest[]} */
  const pages = [];
  while (pages.length < count) pages.push(await scene.join('y-webrtc', parameters));
  return pages;
}

/** Something at the end of the text, and something in the map. @param {Guest} guest */
async function writes({ name, page }) {
  await page.evaluate((name) => {
    window.doc.write(`(${name})`);
    window.doc.put(name, `by ${name}`);
  }, name);
}

/** All have the same document, and it holds what each of them wrote. @param {Guest[]} pages */
async function converged(pages) {
  const names = pages.map(({ name }) => name);
  await Promise.all(pages.map((guest) => guest.until('everything written', (names) => {
    const { text, map } = window.doc.read();
    return names.every((name) => text.includes(`(${name})`) && map[name] === `by ${name}`);
  }, names)));
  const [first, ...others] = await Promise.all(pages.map(({ page }) => page.evaluate(() => window.doc.read())));
  for (const other of others) assert.deepEqual(other, first);
}

/** @param {Guest} guest @param {Guest[]} all  all guests */
async function knowsOf(guest, all) {
  const names = all.map(({ name }) => name).sort();
  await guest.until(`aware of exactly ${names}`, (wanted) => JSON.stringify(window.doc.names()) === JSON.stringify(wanted), names);
}
