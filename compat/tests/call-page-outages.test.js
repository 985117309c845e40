/** The page at `/` while its server stalls, restarts or is left for a moment: a living call is not harmed. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { Server } from '../lib/server.js';
import { stage } from '../lib/stage.js';

const STALL_MS = 10_000;
const FILE_BYTES = 64 * 1024 * 1024;

const scene = stage();

/** @param {import('../lib/stage.js').Scene} scene */
async function twoPeople(scene) {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  // The socket is refused while the server is away.
  for (const { excused } of [ada, grace]) excused.push(/WebSocket connection to/);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  return { ada, grace };
}

/** @param {import('../lib/stage.js').Scene} scene */
function serverOf({ server }) {
  assert.ok(server instanceof Server);
  return server;
}

/** @param {import('../lib/visitor.js').Visitor} visitor */
function connectionsOf({ page }) {
  return page.evaluate(() => window.connections.length);
}

/** Offers a large file and waits until a part of it has arrived. */
async function beginFile(/** @type {import('../lib/visitor.js').Visitor} */ from, /** @type {import('../lib/visitor.js').Visitor} */ to) {
  await from.sendsZeros('large.bin', FILE_BYTES);
  await to.accepts('large.bin');
  await to.hasPart('large.bin');
}

/** @param {import('../lib/visitor.js').Visitor} visitor */
async function fileArrives(visitor) {
  await visitor.page.locator('[data-direction="in"][data-state="done"][data-name="large.bin"]').waitFor({ timeout: 60_000 });
}

/** ICE restarts at one side: both get other credentials, and the pictures go on. */
async function restartIce(/** @type {import('../lib/visitor.js').Visitor} */ at, /** @type {import('../lib/visitor.js').Visitor} */ other) {
  const credentials = () => window.connections.at(-1)?.currentRemoteDescription?.sdp.match(/a=ice-ufrag:(\S+)/)?.[1] ?? '';
  const before = await other.page.evaluate(credentials);
  await at.page.evaluate(() => window.connections.at(-1)?.restartIce());
  await other.until('other credentials', (before) => {
    const [, now] = window.connections.at(-1)?.currentRemoteDescription?.sdp.match(/a=ice-ufrag:(\S+)/) ?? [];
    return now && now !== before;
  }, before);
}

scene('a stall of the server during a change of quality', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await beginFile(ada, grace);
  const { child } = serverOf(scene);

  child.kill('SIGSTOP');
  try {
    await ada.page.getByTestId('quality-audio').check();
    await grace.page.getByTestId('quality-low').check();
    for (const { page } of [ada, grace]) await page.evaluate(() => window.connections[0]?.restartIce());
    await delay(STALL_MS);
    await Promise.all([ada.hears('Grace'), grace.hears('Ada')]);
  } finally {
    child.kill('SIGCONT');
  }
  await fileArrives(grace);
  await ada.page.getByTestId('quality-normal').check();

  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await restartIce(ada, grace);
  await restartIce(grace, ada);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  assert.deepEqual(await Promise.all([ada, grace].map(connectionsOf)), [1, 1]);
});

scene('a restart of the server during a file and a change of quality', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await beginFile(ada, grace);

  const isBack = serverOf(scene).crash('/healthz');
  await ada.page.getByTestId('quality-audio').check();
  await isBack;
  await fileArrives(grace);
  for (const { page } of [ada, grace]) await page.locator('[data-testid="connection"][data-state="joined"]').waitFor();
  await ada.page.getByTestId('quality-normal').check();

  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await restartIce(ada, grace);
  await restartIce(grace, ada);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await grace.writes('Still here');
  await ada.reads('Grace', 'Still here');
  assert.deepEqual(await Promise.all([ada, grace].map(connectionsOf)), [1, 1]);
});

scene('the network changes, and each page connects anew to the server', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await beginFile(ada, grace);

  for (const { page } of [ada, grace, ada]) {
    await page.evaluate(() => dispatchEvent(new Event('online')));
    await page.locator('[data-testid="connection"][data-state="joined"]').waitFor();
  }
  await fileArrives(grace);

  await restartIce(ada, grace);
  await restartIce(grace, ada);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  assert.deepEqual(await Promise.all([ada, grace].map(connectionsOf)), [1, 1]);
  const gone = await ada.page.getByTestId('event').filter({ hasText: 'left' }).count();
  assert.equal(gone, 0);
});

scene('a page that begins anew is called anew', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  // After a crash the page sends no close frame: the connection of the other member still seems to be open.
  await grace.page.evaluate(() => addEventListener('pagehide', (event) => event.stopImmediatePropagation(), { capture: true }));

  await grace.page.reload();

  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await Promise.all([ada.hears('Grace'), grace.hears('Ada')]);
});
