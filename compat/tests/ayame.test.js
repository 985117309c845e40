/** npm `@open-ayame/ayame-web-sdk` in a browser. Its own server is no package, and does not stand beside us here. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import { seesEverybody } from '../lib/full-mesh.js';
import { paintCamera } from '../lib/painted-camera.js';
import { Server } from '../lib/server.js';
import { outputFile, stage } from '../lib/stage.js';
import { Webhook } from '../lib/webhook.js';

/** @typedef {import('../lib/guest.js').Guest} Guest */
/** @typedef {import('../lib/stage.js').Scene} Scene */

const HOOK_TOLD_WITHIN_MS = 30_000;
const ICE_SERVERS = [{ urls: ['turn:127.0.0.1:3478'], username: 'ada', credential: 'engine' }];

/** Of two that stand alone the first to be connected ends it for both, and then the other says that it is, too. */
const SAID_TOO_LATE = /already in CLOSING or CLOSED state/;

describe('ayame', () => {
  const scene = stage({ prepare: paintCamera });

  scene('ayame: two see each other, a third is told that the room is full', async (scene) => {
    const [ada, grace] = await inACall(scene);
    await grace.page.screenshot({ path: outputFile('ayame.png') });

    const linus = await scene.open('ayame');
    await reports(linus, 'disconnect full');
    assert.deepEqual((await linus.state()).events, ['disconnect full']);
    await Promise.all([seesEverybody(ada, 1), seesEverybody(grace, 1)]);
  });

  scene('ayame: who is left hears goodbye, and the room is free again', async (scene) => {
    const [ada, grace] = await inACall(scene);
    await grace.page.evaluate(() => window.ayame.leave());
    await reports(ada, 'disconnect WS-CLOSED');
    assert.deepEqual((await ada.state()).events, ['open', 'connect', 'bye', 'disconnect WS-CLOSED']);

    for (const guest of [grace, ada]) await guest.page.evaluate(() => window.ayame.enter());
    await Promise.all([seesEverybody(ada, 1), seesEverybody(grace, 1)]);
  });

  scene('ayame: a page that is closed has left', async (scene) => {
    const [ada, grace] = await inACall(scene);
    await grace.page.close();
    await reports(ada, 'bye');
    const linus = await scene.join('ayame');
    assert.deepEqual((await linus.state()).events, ['open']);
  });

  scene('ayame: a data channel', async (scene) => {
    const [ada, grace] = await inACall(scene);
    await Promise.all([ada, grace].map((guest) => guest.until('a channel', () => window.ayame.chatState() === 'open')));
    await ada.page.evaluate(() => window.say('from the first'));
    await grace.page.evaluate(() => window.say('from the second'));
    await reads(grace, 'from the first');
    await reads(ada, 'from the second');
  });

  scene('ayame: standalone pages go on without the server', async (scene) => {
    const pages = await inACall(scene, { standalone: '1' });
    await Promise.all(pages.map((guest) => guest.until('without a socket', () => !window.ayame.hasSocket())));
    await Promise.all(pages.map((guest) => seesEverybody(guest, 1)));
    for (const guest of pages) {
      guest.excused.push(SAID_TOO_LATE);
      assert.deepEqual((await guest.state()).events, ['open', 'connect']);
    }
    // The room is empty again.
    await inACall(scene);
  });

  scene('ayame: pages are asked whether they are alive, and say so', async (scene) => {
    const guest = await scene.join('ayame');
    await guest.logs('-> {"type":"pong"}');
    assert.ok(guest.log.includes('<- {"type":"ping"}'));
  });
});

describe('ayame with webhooks', () => {
  /** @type {Webhook} */
  let asked;
  /** @type {Webhook} */
  let told;

  const open = async (/** @type {import('../lib/stage.js').Closers} */ closers) => {
    [asked, told] = [await Webhook.start(), await Webhook.start()];
    closers.unshift(() => asked.stop(), () => told.stop());
    const server = await Server.start({ SWITCHBOARD_AYAME_AUTH_WEBHOOK_URL: asked.url, SWITCHBOARD_AYAME_DISCONNECT_WEBHOOK_URL: told.url });
    closers.unshift(() => server.stop());
    return [server];
  };
  const scene = stage({ open, prepare: paintCamera });

  scene('ayame: who may come is told what the webhook says, and who goes is reported', async (scene) => {
    asked.answer = ({ clientId }) => ({ allowed: true, iceServers: ICE_SERVERS, authzMetadata: { hello: clientId } });
    const [ada, grace] = await inACall(scene, { key: 'secret', metadata: '{"ticket":7}' });

    for (const { page } of [ada, grace]) {
      const { authzMetadata, iceServers } = await page.evaluate(() => ({ ...window.ayame }));
      assert.deepEqual(iceServers, ICE_SERVERS);
      assert.deepEqual(authzMetadata, { hello: new URL(page.url()).searchParams.get('name') });
    }
    const asks = await asked.toldOf(scene.room, 2, HOOK_TOLD_WITHIN_MS);
    for (const { signalingKey, authnMetadata, connectionId } of asks) {
      assert.deepEqual({ signalingKey, authnMetadata }, { signalingKey: 'secret', authnMetadata: { ticket: 7 } });
      assert.match(connectionId, /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/, 'a ULID');
    }

    await grace.page.evaluate(() => window.ayame.leave());
    const goodbyes = await told.toldOf(scene.room, 2, HOOK_TOLD_WITHIN_MS);
    assert.deepEqual(whoIsMeant(goodbyes), whoIsMeant(asks));
  });

  scene('ayame: who may not come is told why', async (scene) => {
    asked.answer = () => ({ allowed: false, reason: 'WrongTicket' });
    const ada = await scene.open('ayame', { metadata: '{"ticket":8}' });
    await reports(ada, 'disconnect WrongTicket');
    assert.equal(asked.calls.at(-1)?.authnMetadata.ticket, 8);
  });

  scene('ayame: an answer of the webhook that makes no sense lets nobody in', async (scene) => {
    asked.answer = () => ({ permitted: 'yes' });
    await reports(await scene.open('ayame'), 'disconnect InternalServerError');
  });
});

/** Two clients that are connected and see each other's picture move. @param {Scene} scene @param {Record<string, string>} [parameters] */
async function inACall(scene, parameters) {
  const pages = [await scene.join('ayame', parameters), await scene.join('ayame', parameters)];
  await Promise.all(pages.map((guest) => seesEverybody(guest, 1)));
  await Promise.all(pages.map((guest) => reports(guest, 'connect')));
  return pages;
}

/** @param {Guest} guest @param {string} event */
async function reports(guest, event) {
  await guest.until(`told "${event}"`, (wanted) => window.state?.events.includes(wanted), event);
}

/** @param {Guest} guest @param {string} words */
async function reads(guest, words) {
  await guest.until(`read "${words}"`, (wanted) => window.state.messages.some(({ content }) => content === wanted), words);
}

/** @param {import('../lib/webhook.js').Body[]} calls */
function whoIsMeant(calls) {
  return calls.map(({ roomId, clientId, connectionId }) => `${roomId} ${clientId} ${connectionId}`).sort();
}
