/** Calls whose media go through a real coturn alone: credentials that are renewed, that have expired, that are forged. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { GIVE_UP_MS } from '../lib/blocked-routes.js';
import { allowOnlyRelays, Coturn, coturnMissing, selectedCandidates } from '../lib/coturn.js';
import { seesEverybody } from '../lib/full-mesh.js';
import { outputFile, stage, startOneNode } from '../lib/stage.js';

/** @typedef {import('../lib/guest.js').Guest} Guest */
/** @typedef {import('../lib/stage.js').Scene} Scene */
/** @typedef {ReturnType<Coturn['credentials']>} Credentials */

/** Seconds: long enough to connect, short enough to be renewed twice in a test. */
const SHORT_LIFE = 8;
const LONG_LIFE = 600;
/** The code of a TURN server for credentials that it does not accept. */
const UNAUTHORIZED = 401;
const WAIT_MS_MAX = 40_000;
const POLL_MS = 100;

/** @type {Coturn} */
let coturn;

const scene = stage({ open: openServers, absent: coturnMissing, prepare: allowOnlyRelays });

/** @param {import('../lib/stage.js').Closers} closers */
async function openServers(closers) {
  coturn = await Coturn.start();
  closers.unshift(() => coturn.stop());
  return startOneNode(closers, coturn.settings);
}

scene('turn: a call of the page with the credentials of the server', async (scene) => {
  const [ada, grace] = [await scene.visit('Ada'), await scene.visit('Grace')];
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await Promise.all([ada, grace].map(usesRelays));
});

scene('turn: a call of the page outlasts two renewals', async (scene) => {
  const issued = await issuing(scene, () => coturn.credentials(SHORT_LIFE));
  const [ada, grace] = [await scene.visit('Ada'), await scene.visit('Grace')];
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await Promise.all([ada, grace].map(recordStates));

  const of = ['Ada', 'Grace'].map((name) => issued.filter((credentials) => credentials.name === name).length);
  await until('two renewals', () => ['Ada', 'Grace'].every((name, index) => {
    const renewed = issued.filter((credentials) => credentials.name === name).slice(of[index]);
    return renewed.filter(({ username }) => coturn.hasAllocated(username)).length >= 2;
  }));
  await untilExpired(issued.slice(0, 2));
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await Promise.all([ada, grace].map(usesRelays));
  for (const { page } of [ada, grace]) assert.deepEqual(await page.evaluate(() => window.states), []);
  await ada.page.screenshot({ path: outputFile('turn-renewed.png') });

  const hedy = await scene.visit('Hedy');
  await Promise.all([hedy.sees('Ada', 'Grace'), ada.sees('Grace', 'Hedy'), grace.sees('Ada', 'Hedy')]);
});

scene('turn: a call of the page goes on after a restart of the TURN server', async (scene) => {
  const [ada, grace] = [await scene.visit('Ada'), await scene.visit('Grace')];
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await coturn.restart();
  await Promise.all([ada.shows('Grace', 'state', 'reconnecting'), grace.shows('Ada', 'state', 'reconnecting')]);
  await Promise.all([ada.shows('Grace', 'state', 'connected'), grace.shows('Ada', 'state', 'connected')]);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await Promise.all([ada, grace].map(usesRelays));
});

scene('turn: expired and forged credentials connect no call of the page, and it can be tried again with others', async (scene) => {
  let areValid = false;
  await issuing(scene, (name) => (areValid ? coturn.credentials(LONG_LIFE) : name === 'Hedy' ? silent() : invalid(name === 'Ada')));
  await scene.context.clock.install();
  const [ada, grace, hedy] = [await scene.visit('Ada'), await scene.visit('Grace'), await scene.visit('Hedy')];
  for (const guest of [ada, grace]) await guest.until('all candidates gathered', hasGathered);
  for (const { page } of [ada, grace, hedy]) await page.clock.fastForward(GIVE_UP_MS);
  const reason = 'No route between the two networks: the TURN server refuses the credentials.';
  for (const [guest, other] of /** @type {const} */ ([[ada, 'Grace'], [grace, 'Ada']])) assert.equal(await reasonOf(guest, other), reason);
  assert.equal(await reasonOf(hedy, 'Ada'), 'No route between the two networks: the TURN server does not answer.');
  await hedy.page.close();
  for (const { page } of [ada, grace]) assert.deepEqual(await page.evaluate(candidatesAndRefusal), [[], UNAUTHORIZED]);
  await ada.page.screenshot({ path: outputFile('turn-refused.png') });

  areValid = true;
  await failedTile(ada, 'Grace').getByTestId('try-again').click();
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await Promise.all([ada, grace].map(usesRelays));
});

scene('turn: a call of PeerJS outlasts its credentials, and renewed ones carry the next call', async (scene) => {
  const issued = await issuing(scene, () => coturn.credentials(SHORT_LIFE));
  const ada = await scene.join('peerjs', { ice: '1' });
  const grace = await callPeer(scene, ada, 'grace');
  await Promise.all([seesEverybody(ada, 1), seesEverybody(grace, 1)]);
  for (const _ of ['first', 'second']) {
    for (const { page } of [ada, grace]) await page.evaluate(() => window.renew());
    await untilExpired(issued);
  }
  await Promise.all([seesEverybody(ada, 1), seesEverybody(grace, 1)]);
  await Promise.all([ada, grace].map(usesRelays));

  await ada.page.evaluate(() => window.renew());
  const renewed = issued[issued.length - 1].username;
  const hedy = await callPeer(scene, ada, 'hedy');
  await Promise.all([seesEverybody(ada, 2), seesEverybody(hedy, 1)]);
  assert.deepEqual(await ada.page.evaluate(selectedCandidates), ['relay relay', 'relay relay']);
  assert.ok(coturn.hasAllocated(renewed));
});

scene('turn: expired and forged credentials connect no call of PeerJS', async (scene) => {
  await issuing(scene, (name) => invalid(name === 'peerjs-1'));
  const ada = await scene.join('peerjs', { ice: '1' });
  const grace = await callPeer(scene, ada, 'grace');
  for (const guest of [ada, grace]) {
    await guest.until('all candidates gathered', hasGathered);
    assert.deepEqual(await guest.page.evaluate(candidatesAndRefusal), [[], UNAUTHORIZED]);
    assert.deepEqual(await guest.page.evaluate(selectedCandidates), []);
  }
});

/** The tile of a member that is not connected. @param {Guest} guest @param {string} other */
function failedTile({ page }, other) {
  return page.locator(`[data-username="${other}"][data-state="failed"]`);
}

/** Waits until a connection has failed. @param {Guest} guest @param {string} other */
async function reasonOf(guest, other) {
  const tile = failedTile(guest, other);
  await tile.waitFor({ timeout: 60_000 });
  return tile.getByTestId('tile-reason').innerText();
}

/** Credentials for a TURN server that does not run. */
function silent() {
  return { ...coturn.credentials(LONG_LIFE), urls: ['turn:127.0.0.1:3477?transport=udp'] };
}

/** Expired credentials, or forged ones. @param {boolean} isExpired */
function invalid(isExpired) {
  return isExpired ? coturn.credentials(-60) : { ...coturn.credentials(LONG_LIFE), credential: 'forged' };
}

/**
 * Answers in place of the server, which does not make credentials with such a short validity.
 * @param {Scene} scene @param {(name: string) => Credentials} make for the guest of that name
 * @returns {Promise<(Credentials & { name: string })[]>} those that guests were given, in order
 */
async function issuing(scene, make) {
  /** @type {(Credentials & { name: string })[]} */
  const issued = [];
  await scene.context.route('**/ice-servers', async (route) => {
    const page = route.request().frame().page();
    const name = scene.guests.find((guest) => guest.page === page)?.name ?? '';
    const credentials = make(name);
    issued.push({ ...credentials, name });
    await route.fulfill({ json: { iceServers: [credentials] }, headers: { 'access-control-allow-origin': '*' } });
  });
  return issued;
}

/** A page of PeerJS that is called. @param {Scene} scene @param {Guest} caller @param {string} name */
async function callPeer(scene, caller, name) {
  const id = `${name}-${scene.room}`;
  const guest = await scene.join('peerjs', { id, ice: '1' });
  await caller.page.evaluate((id) => window.call(id), id);
  return guest;
}

/** @param {Guest} guest */
async function usesRelays({ page }) {
  assert.deepEqual(await page.evaluate(selectedCandidates), ['relay relay']);
}

/** @param {Credentials[]} credentials */
async function untilExpired(credentials) {
  const expiry = Math.max(...credentials.map(({ username }) => Number.parseInt(username, 10)));
  await until(`the time ${expiry}`, () => Date.now() / 1000 > expiry + 1);
}

/** @param {string} what @param {() => boolean} isSo */
async function until(what, isSo) {
  const deadline = Date.now() + WAIT_MS_MAX;
  while (!isSo()) {
    assert.ok(Date.now() < deadline, `not "${what}". The log of coturn:\n${coturn.log}`);
    await delay(POLL_MS);
  }
}

/** From now on `window.states` has every change of the state of a tile. @param {Guest} guest */
async function recordStates({ page }) {
  await page.evaluate(() => {
    window.states = [];
    const record = (/** @type {MutationRecord[]} */ records) => window.states.push(...records.map(({ target }) => /** @type {HTMLElement} */ (target).dataset.state ?? ''));
    new MutationObserver(record).observe(document.body, { subtree: true, attributeFilter: ['data-state'] });
  });
}

/** Runs in the page: a connection with a peer has all the candidates that it will have. */
function hasGathered() {
  return window.relayed.some(({ iceGatheringState, remoteDescription }) => iceGatheringState === 'complete' && remoteDescription);
}

/**
 * Runs in the page: the candidates of all connections, and the latest refusal of a TURN server.
 * @returns {[string[], number | undefined]}
 */
function candidatesAndRefusal() {
  const candidates = window.relayed.flatMap(({ localDescription }) => localDescription?.sdp.match(/^a=candidate:.*$/gm) ?? []);
  return [candidates, window.refusals.at(-1)];
}
