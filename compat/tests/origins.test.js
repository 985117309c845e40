/** Browsers and origins: with a list of origins, pages of other origins reach no dialect, no voice and no HTTP endpoint. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { Server } from '../lib/server.js';
import { stage } from '../lib/stage.js';

/** Names of websites on this machine. Chromium finds no other one. */
const [ALLOWED, BELOW, OTHER] = ['allowed.example', 'a.below.example', 'other.example'];
const FLAGS = ['--host-resolver-rules=MAP *.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost'];

/** A path of each dialect with WebSockets, and two that select the dialect in another way. */
const SOCKETS = ['/ws', '/connect', '/signalingserver?room=r', '/signaling', '/matchbox/r', '/peerjs?key=peerjs&id=ada&token=t', '/y-webrtc', '/ws?dialect=mesh&room=r', '/connect?dialect=p2p'];
const DOCUMENTS = ['/ice-servers', '/peerjs/id', '/voice/mode', '/listRoom'];

/** @type {{ port: number, closed: Server, open: Server }} */
let house;

/** @param {(() => Promise<unknown>)[]} closers */
async function open(closers) {
  const site = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>A page</title>'));
  await once(site.listen(0, '127.0.0.1'), 'listening');
  closers.unshift(async () => {
    site.closeAllConnections();
    site.close();
  });
  const address = site.address();
  assert.ok(address && typeof address === 'object');
  const { port } = address;
  const allowed = [`http://${ALLOWED}:${port}`, `http://*.below.example:${port}`];
  const closed = await Server.start({ SWITCHBOARD_ACCESS_ALLOWED_ORIGINS: allowed.join(',') });
  closers.unshift(() => closed.stop());
  const open = await Server.start();
  closers.unshift(() => open.stop());
  house = { port, closed, open };
  return [closed, open];
}

const scene = stage({ open, flags: FLAGS });

/**
 * The paths that a page of an origin reaches: those whose WebSockets open, and the documents that it can read.
 * @param {import('playwright-core').Page} page @param {Server} server
 */
async function reached(page, server) {
  const targets = { sockets: SOCKETS, documents: DOCUMENTS, socketOrigin: server.socketOrigin, origin: server.origin };
  return page.evaluate(async ({ sockets, documents, socketOrigin, origin }) => {
    const opens = async (/** @type {string} */ path) => {
      const socket = new WebSocket(socketOrigin + path);
      const event = await new Promise((resolve) => {
        socket.onopen = () => resolve('open');
        socket.onerror = () => resolve('error');
      });
      socket.close();
      return event === 'open';
    };
    const reads = async (/** @type {string} */ path) => {
      // The header needs a preflight request.
      const headers = path === '/ice-servers' ? { 'content-type': 'application/json' } : undefined;
      const response = await fetch(origin + path, headers ? { headers } : {}).catch(() => null);
      return response !== null && (await response.text()) !== '';
    };
    /** @type {string[]} */
    const found = [];
    for (const path of sockets) if (await opens(path)) found.push(path);
    for (const path of documents) if (await reads(path)) found.push(path);
    return found;
  }, targets);
}

scene('a page of a listed origin reaches every dialect and document, and a page of another origin none', async ({ context }) => {
  const { port, closed } = house;
  const page = await context.newPage();
  for (const host of [ALLOWED, BELOW]) {
    await page.goto(`http://${host}:${port}/`);
    assert.deepEqual(await reached(page, closed), [...SOCKETS, ...DOCUMENTS], host);
  }
  for (const host of [OTHER, 'below.example', '127.0.0.1']) {
    await page.goto(`http://${host}:${port}/`);
    assert.deepEqual(await reached(page, closed), [], host);
  }
  assert.ok(closed.log.includes(`http://${OTHER}:${port}`), `the line to add is in the log:\n${closed.log}`);
});

scene('a page in a sandbox and a page of the server itself', async ({ context }) => {
  const { closed } = house;
  const page = await context.newPage();
  await page.goto(`${closed.origin}/?room=standup`);
  assert.deepEqual(await reached(page, closed), [...SOCKETS, ...DOCUMENTS], 'its own origin');
  const sandboxed = await context.newPage();
  await sandboxed.goto('data:text/html,<!doctype html><title>The origin is null</title>');
  assert.deepEqual(await reached(sandboxed, closed), [], 'the origin null');
});

scene('pages of every origin reach a server with the default settings', async ({ context }) => {
  const { port, open } = house;
  const page = await context.newPage();
  await page.goto(`http://${OTHER}:${port}/`);
  assert.deepEqual(await reached(page, open), [...SOCKETS, ...DOCUMENTS]);
});
