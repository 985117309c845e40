/** The page at `/`: names that are taken, STUN and TURN servers, and connections that fail. */
import assert from 'node:assert/strict';
import { blockRoutes, GIVE_UP_MS } from '../lib/blocked-routes.js';
import { paintCamera } from '../lib/painted-camera.js';
import { outputFile, stage } from '../lib/stage.js';

const OFFERED = { urls: ['turn:127.0.0.1:3478'], username: '1700000000:ada', credential: 'c2VjcmV0' };

const scene = stage();

/** Runs in a page before its own scripts: keeps what connections are configured with, and is as strict as a browser. */
function recordServers() {
  const Native = window.RTCPeerConnection;
  window.configured = [];
  window.RTCPeerConnection = class extends Native {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      window.configured.push(configuration?.iceServers ?? []);
      if (JSON.stringify(configuration ?? {}).includes('refused.example')) throw new SyntaxError('ICE server refused');
      super(configuration);
    }

    /** @param {RTCConfiguration} [configuration] */
    setConfiguration(configuration) {
      window.configured.push(configuration?.iceServers ?? []);
    }
  };
}

scene('a member whose name is taken gets the next one, and everybody sees it', async (scene) => {
  const ada = await scene.visit('Ada');
  const old = await scene.join('p2p-chat', { name: 'Grace' });
  const second = await scene.visit('Ada');
  const third = await scene.visit('Ada');

  await ada.meets('Grace', 'Ada (2)', 'Ada (3)');
  await third.meets('Ada', 'Ada (2)', 'Grace');
  await second.isToldOf('you are “Ada (2)” in this call');
  await second.writes('Hello');
  await Promise.all([ada.reads('Ada (2)', 'Hello'), third.reads('Ada (2)', 'Hello')]);
  await old.until('the same name', () => window.state.messages.some(({ from, content }) => from === 'Ada (2)' && content === 'Hello'));
  await second.page.screenshot({ path: outputFile('call-page-name-taken.png') });
});

scene('members of two rooms can have the same name, and members of one room cannot', async (scene) => {
  const { room } = scene;
  const ada = await scene.visit('Ada');
  scene.room = `${room}-other`;
  const elsewhere = await scene.visit('Ada');
  scene.room = room;
  const grace = await scene.join('p2p-chat', { name: 'Grace' });
  const second = await scene.visit('Ada');
  await second.isToldOf('you are “Ada (2)” in this call');
  const unmodified = await scene.join('p2p-chat', { name: 'Ada' });

  await ada.meets('Grace', 'Ada (2)', 'Ada (3)');
  await second.meets('Grace', 'Ada', 'Ada (3)');
  await second.writes('Hello');
  const hello = () => window.state.messages.some(({ from, content }) => from === 'Ada (2)' && content === 'Hello');
  await Promise.all([ada.reads('Ada (2)', 'Hello'), grace.until('the same name', hello), unmodified.until('the same name', hello)]);

  for (const { page } of [second, ada]) {
    await page.reload();
    await page.locator('[data-testid="connection"][data-state="joined"]').waitFor();
  }
  await second.meets('Grace', 'Ada', 'Ada (3)');
  await ada.meets('Grace', 'Ada (2)', 'Ada (3)');
  await elsewhere.meets();
  assert.equal(await elsewhere.page.getByText('is taken').count(), 0);
});

scene('connections use the servers that the server offers and those that are typed', async (scene) => {
  await scene.context.route('**/ice-servers', (route) => route.fulfill({ json: { iceServers: [OFFERED, { urls: 'nonsense:' }, { urls: 'turn:no.user.example' }] } }));
  const ada = await scene.visit('Ada', recordServers);
  await ada.page.getByTestId('settings').click();
  await ada.page.getByTestId('ice').fill('stun:127.0.0.1:3479');
  await ada.page.getByTestId('settings-close').click();
  const grace = await scene.visit('Grace', recordServers);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);

  const configured = () => window.configured[0];
  assert.deepEqual(await ada.page.evaluate(configured), [OFFERED, { urls: 'stun:127.0.0.1:3479' }]);
  assert.deepEqual(await grace.page.evaluate(configured), [OFFERED, { urls: 'stun:127.0.0.1:3479' }]);
});

scene('a list of servers without an object around it is read, too, and one that the browser refuses does no harm', async (scene) => {
  await scene.context.route('**/ice-servers', (route) => route.fulfill({ json: [{ urls: 'stun:refused.example' }] }));
  const ada = await scene.visit('Ada', recordServers);
  const grace = await scene.visit('Grace', recordServers);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  assert.deepEqual(await ada.page.evaluate(() => window.configured[0]), [{ urls: ['stun:refused.example'] }]);
});

scene('a mistake in a server is told in its field, and the link hands on what is right', async (scene) => {
  const ada = await scene.visit('Ada');
  await ada.page.context().grantPermissions(['clipboard-read', 'clipboard-write', 'camera', 'microphone']);
  const field = (/** @type {string} */ testid) => ada.page.getByTestId(testid);
  await field('settings').click();

  await field('ice').fill('turn.example.org');
  await field('ice-user').focus();
  assert.match(await field('ice-error').innerText(), /turn\.example\.org.*is not the address/s);
  assert.equal(await field('ice').getAttribute('aria-invalid'), 'true');
  await ada.page.screenshot({ path: outputFile('call-page-ice-mistake.png') });
  await field('ice').fill('turn:turn.example.org');
  await field('ice-user').fill('ada');
  await field('ice-user').blur();
  assert.match(await field('ice-error').innerText(), /needs a password/);
  await field('ice-credential').fill('top secret');
  await field('ice-credential').blur();
  await field('ice-error').waitFor({ state: 'hidden' });
  await field('settings-close').click();

  await field('invite').click();
  await field('copy-link').click();
  await ada.until('told', () => document.querySelector('[data-testid="invite-status"]')?.textContent?.includes('copied'));
  const link = new URL(await ada.page.evaluate(() => navigator.clipboard.readText()));
  assert.deepEqual(Object.fromEntries(link.searchParams), { room: scene.room, ice: 'turn:turn.example.org', 'ice-user': 'ada', 'ice-credential': 'top secret' });
});

scene('a connection that fails shows its reason, and can be tried again', async (scene) => {
  await scene.context.clock.install();
  await scene.context.addInitScript(paintCamera);
  const ada = await scene.visit('Ada', blockRoutes);
  const grace = await scene.visit('Grace', blockRoutes);
  await ada.shows('Grace', 'state', 'connecting');
  await ada.page.clock.fastForward(GIVE_UP_MS);
  const tile = ada.page.locator('[data-testid="tile"][data-username="Grace"][data-state="failed"]');
  await tile.waitFor();
  assert.match(await tile.getByTestId('tile-reason').innerText(), /No route between the two networks; this server offers no TURN/);
  await ada.photographs(outputFile('call-page-failed.png'));

  for (const { page } of [ada, grace]) await page.evaluate(() => (window.isBlocked = false));
  await tile.getByTestId('try-again').click();
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
});
