/** Browsers and HTTPS: what a page may do under a host name that is not of loopback, with a self-signed certificate and without one. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Server } from '../lib/server.js';
import { outputFile, stage } from '../lib/stage.js';

/** Chromium finds no other name, and this one on loopback. */
const HOST = 'calls.example';
const FLAGS = [`--host-resolver-rules=MAP ${HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost`];

/** @param {Server} server */
function underItsName(server) {
  server.origin = server.origin.replace('127.0.0.1', HOST);
  server.socketOrigin = server.socketOrigin.replace('127.0.0.1', HOST);
}

/** @param {(() => Promise<unknown>)[]} closers */
async function startBoth(closers) {
  const folder = await mkdtemp(join(tmpdir(), 'switchboard-tls-'));
  closers.unshift(() => rm(folder, { recursive: true }));
  const secure = await Server.start({ SWITCHBOARD_TLS_SELF_SIGNED: 'true', SWITCHBOARD_TLS_SELF_SIGNED_FILE: join(folder, 'own.pem') });
  closers.unshift(() => secure.stop());
  const plain = await Server.start();
  closers.unshift(() => plain.stop());
  underItsName(secure);
  underItsName(plain);
  return [secure, plain];
}

const scene = stage({ open: startBoth, flags: FLAGS, device: { ignoreHTTPSErrors: true } });

scene('a page over HTTPS is a secure context, and its calls connect over WSS', async (scene) => {
  const [secure] = scene.servers;
  assert.ok(secure);
  scene.servers = [secure];
  const ada = await scene.visit('Ada');
  assert.ok(await ada.page.evaluate(() => window.isSecureContext && 'mediaDevices' in navigator));
  assert.ok(ada.page.url().startsWith(`https://${HOST}:`), ada.page.url());
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await Promise.all([ada.hears('Grace'), grace.hears('Ada')]);
  await ada.page.screenshot({ path: outputFile('call-page-https.png') });
  await scene.join('p2p-chat', { name: 'Bob' });
  await ada.meets('Grace', 'Bob');
});

scene('a page that is opened without HTTPS is taken to it', async (scene) => {
  const [secure] = scene.servers;
  assert.ok(secure);
  const page = await scene.context.newPage();
  await page.goto(`${secure.origin.replace('https:', 'http:')}/?room=standup`);
  assert.equal(page.url(), `${secure.origin}/?room=standup`);
});

scene('without HTTPS a browser gives a page of another machine no camera', async (scene) => {
  const plain = scene.servers[1];
  assert.ok(plain);
  const page = await scene.context.newPage();
  await page.goto(plain.origin);
  assert.deepEqual(await page.evaluate(() => [window.isSecureContext, 'mediaDevices' in navigator]), [false, false]);
  await page.screenshot({ path: outputFile('call-page-without-https.png') });
});
