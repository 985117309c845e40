/** The first client in `docs/choosing-a-dialect.md`, as it stands there: two pages call each other. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Guest } from '../lib/guest.js';
import { outputFile, stage, startOneNode } from '../lib/stage.js';

const DOCUMENT = new URL('../../docs/choosing-a-dialect.md', import.meta.url);
const LINES_MAX = 30;

/** The code block of a language in the document. @param {string} document @param {string} language */
function codeBlock(document, language) {
  const block = document.match(new RegExp(`\n\`\`\`${language}\n(.*?)\`\`\`\n`, 's'));
  assert.ok(block, `the document has no code block of ${language}`);
  return block[1];
}

/** Starts a server with the files of the document as its web root. @param {import('../lib/stage.js').Closers} closers */
async function serveFirstClient(closers) {
  const document = await readFile(DOCUMENT, 'utf8');
  const client = codeBlock(document, 'js');
  assert.ok(client.trimEnd().split('\n').length <= LINES_MAX, `the first client has more than ${LINES_MAX} lines`);
  const folder = await mkdtemp(join(tmpdir(), 'first-client-'));
  closers.unshift(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, 'index.html'), codeBlock(document, 'html'));
  await writeFile(join(folder, 'client.js'), client);
  return startOneNode(closers, { SWITCHBOARD_WEB_ROOT: folder });
}

const scene = stage({ open: serveFirstClient });

/** @param {import('../lib/stage.js').Scene} scene @param {string} name */
async function open(scene, name) {
  const page = await scene.context.newPage();
  const guest = new Guest(name, page);
  guest.excused = [/favicon\.ico/];
  scene.guests.push(guest);
  const joined = page.waitForEvent('websocket').then((socket) =>
    socket.waitForEvent('framereceived', ({ payload }) => String(payload).includes('"ROOM_MEMBERS"')),
  );
  await page.goto(`${scene.server.origin}/?room=${scene.room}`);
  await joined;
  return guest;
}

/** Waits until the page plays that many videos. @param {Guest} guest @param {number} count */
function plays(guest, count) {
  return guest.until(`plays ${count} videos`, (expected) => {
    const videos = [...document.querySelectorAll('video')];
    return videos.length === expected && videos.every(({ currentTime, videoWidth }) => currentTime > 0 && videoWidth > 0);
  }, count);
}

scene('the first client of the documentation: three pages see each other, and one that is closed is removed', async (scene) => {
  const first = await open(scene, 'first');
  const second = await open(scene, 'second');
  await Promise.all([plays(first, 1), plays(second, 1)]);
  const third = await open(scene, 'third');
  await Promise.all([plays(first, 2), plays(second, 2), plays(third, 2)]);
  await third.page.screenshot({ path: outputFile('first-client.png') });
  await third.page.close();
  await Promise.all([plays(first, 1), plays(second, 1)]);
});
