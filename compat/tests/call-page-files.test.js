/** Files of the page at `/`: asked for, several at once, cancelled, refused, and pasted. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { connectedWith } from '../lib/full-mesh.js';
import { LONG } from '../lib/original.js';
import { outputFile, stage } from '../lib/stage.js';

/** @typedef {import('../lib/visitor.js').Visitor} Visitor */

const SOME_BYTES = (LONG ? 4 : 1) * 1024 * 1024;
const MANY_BYTES = 200 * 1024 * 1024;

const scene = stage();

/** @param {import('../lib/stage.js').Scene} scene @param {string[]} names */
async function people(scene, ...names) {
  /** @type {Visitor[]} */
  const visitors = [];
  for (const name of names) visitors.push(await scene.visit(name));
  await Promise.all(visitors.map((visitor) => visitor.meets(...names.filter((name) => name !== visitor.name))));
  return visitors;
}

/** @param {Buffer} bytes */
function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

/** @param {Visitor} visitor @param {'in' | 'out'} direction @param {string} name @param {string} state @param {RegExp} words */
async function says(visitor, direction, name, state, words) {
  await visitor.file(direction, name, state).getByTestId('file-status').filter({ hasText: words }).waitFor({ timeout: 30_000 });
}

scene('a file is sent only to the members that accept it', async (scene) => {
  const [ada, grace, linus] = await people(scene, 'Ada', 'Grace', 'Linus');
  const bytes = randomBytes(100_000);
  await ada.sends('plan.bin', bytes);
  await says(ada, 'out', 'plan.bin', 'offered', /Grace, Linus/);
  await grace.file('in', 'plan.bin', 'offered').getByTestId('file-accept').waitFor();
  await grace.page.screenshot({ path: outputFile('call-page-file-offer.png') });

  await linus.file('in', 'plan.bin').getByTestId('file-decline').click();
  await says(ada, 'out', 'plan.bin', 'offered', /Declined by Linus/);
  assert.equal(await grace.receives('plan.bin'), sha256(bytes));
  await says(ada, 'out', 'plan.bin', 'done', /Sent to Grace\. Declined by Linus/);
  await linus.file('in', 'plan.bin', 'declined').waitFor();
  assert.equal(await linus.page.getByTestId('file-link').count(), 0);
});

scene('several files in both directions at once, and chat between them', async (scene) => {
  const [ada, grace] = await people(scene, 'Ada', 'Grace');
  const files = ['1.bin', '2.bin', '3.bin', '4.bin', '5.bin', '6.bin'].map((name) => ({ name, bytes: randomBytes(SOME_BYTES) }));
  const input = files.map(({ name, bytes }) => ({ name, mimeType: '', buffer: bytes }));
  await Promise.all([ada, grace].map(({ page }) => page.getByTestId('file-input').setInputFiles(input)));
  await Promise.all([ada, grace].map((visitor) => visitor.sendsZeros('zeros.bin', MANY_BYTES)));

  await Promise.all([ada.accepts('zeros.bin'), grace.accepts('zeros.bin')]);
  await Promise.all([ada.hasPart('zeros.bin'), grace.hasPart('zeros.bin')]);
  await ada.writes('Is it slow?');
  await grace.reads('Ada', 'Is it slow?');
  const states = await Promise.all([ada, grace].map((visitor) => visitor.file('in', 'zeros.bin').getAttribute('data-state')));
  assert.deepEqual(states, ['active', 'active']);

  for (const { name } of files) await Promise.all([ada.accepts(name), grace.accepts(name)]);
  await grace.page.screenshot({ path: outputFile('call-page-files.png') });
  for (const { name, bytes } of files) {
    assert.deepEqual([await ada.saves(name), await grace.saves(name)], Array(2).fill(sha256(bytes)), name);
  }
});

scene('both sides cancel a file that is under way, by keyboard', async (scene) => {
  const [ada, grace] = await people(scene, 'Ada', 'Grace');
  for (const [canceller, other, direction, words] of /** @type {const} */ ([[ada, grace, 'out', /sender/], [grace, ada, 'in', /Cancelled by Grace/]])) {
    await ada.sendsZeros('zeros.bin', MANY_BYTES);
    await grace.accepts('zeros.bin');
    await canceller.file(direction, 'zeros.bin', 'active').waitFor();
    await canceller.file(direction, 'zeros.bin', 'active').getByTestId('file-cancel').focus();
    await canceller.page.keyboard.press('Enter');
    await says(canceller, direction, 'zeros.bin', 'cancelled', /You cancelled/);
    await says(other, direction === 'in' ? 'out' : 'in', 'zeros.bin', 'cancelled', words);
    assert.equal(await canceller.page.evaluate(() => document.activeElement?.id), 'chat-log');
  }
  const bytes = randomBytes(1000);
  await ada.sends('next.bin', bytes);
  assert.equal(await grace.receives('next.bin'), sha256(bytes));
});

scene('a member that leaves ends its files, and both sides say so', async (scene) => {
  const [ada, grace] = await people(scene, 'Ada', 'Grace');
  await ada.sendsZeros('zeros.bin', MANY_BYTES);
  await ada.sends('unanswered.bin', Buffer.from('x'));
  await grace.sends('offered.bin', Buffer.from('x'));
  await grace.accepts('zeros.bin');
  await ada.hasPart('zeros.bin');
  await ada.file('in', 'offered.bin', 'offered').waitFor();

  await grace.page.getByTestId('leave').click();
  for (const name of ['zeros.bin', 'unanswered.bin']) await says(ada, 'out', name, 'failed', /Grace: the connection ended/);
  await says(ada, 'in', 'offered.bin', 'failed', /the connection ended/);
  assert.equal(await ada.page.getByTestId('file-accept').count(), 0);
});

scene('a channel for a file that was not accepted is closed', async (scene) => {
  const [ada, grace] = await people(scene, 'Ada', 'Grace');
  await grace.page.evaluate(async () => {
    const channel = window.connections[0].createDataChannel('switchboard-file', { protocol: 'forged' });
    await new Promise((resolve) => channel.addEventListener('close', resolve));
  });
  assert.equal(await ada.page.getByTestId('file-item').count(), 0);
  await grace.writes('Still here');
  await ada.reads('Grace', 'Still here');
});

scene('a picture is pasted, and a file dropped beside the chat', async (scene) => {
  const [ada, grace] = await people(scene, 'Ada', 'Grace');
  await ada.page.evaluate(async () => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 60, height: 40 });
    canvas.getContext('2d')?.fillRect(10, 10, 20, 20);
    /** @type {Blob | null} */
    const blob = await new Promise((resolve) => canvas.toBlob(resolve));
    if (!blob) throw new Error('no picture');
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([blob], 'image.png', { type: 'image/png' }));
    document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(['dropped'], 'dropped.txt'));
    document.querySelector('[data-testid="grid"]')?.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }));
  });
  await grace.accepts('image.png');
  await grace.until('the picture', () => Number(/** @type {HTMLImageElement | null} */ (document.querySelector('[data-testid="file-image"]'))?.naturalWidth) === 60);
  assert.equal(await grace.receives('dropped.txt'), sha256(Buffer.from('dropped')));
});

scene('a client of p2p gets files one after the other, and its own are cancelled without harm', async (scene) => {
  const ada = await scene.visit('Ada');
  const client = await scene.join('p2p-chat', { name: 'Rear Admiral' });
  await Promise.all([connectedWith(client, 1), ada.meets('Rear Admiral')]);
  const files = ['a.bin', 'b.bin', 'c.bin'].map((name) => ({ name, bytes: randomBytes(SOME_BYTES) }));
  await ada.page.getByTestId('file-input').setInputFiles(files.map(({ name, bytes }) => ({ name, mimeType: '', buffer: bytes })));
  await ada.writes('Between the files');
  await client.until('all files', () => window.state.files.length === 3);
  const got = (await client.state()).files.map(({ name, sha256 }) => [name, sha256]);
  assert.deepEqual(got, files.map(({ name, bytes }) => [name, sha256(bytes)]));
  await says(ada, 'out', 'c.bin', 'done', /Sent to Rear Admiral/);
  assert.deepEqual((await client.state()).messages.map(({ content }) => content), ['Between the files']);

  const sent = client.page.evaluate((size) => window.sendFile('cancelled.bin', size), MANY_BYTES / 8);
  await ada.accepts('cancelled.bin');
  await ada.file('in', 'cancelled.bin', 'active').getByTestId('file-cancel').dispatchEvent('click');
  await says(ada, 'in', 'cancelled.bin', 'cancelled', /You cancelled/);
  await sent;
  const next = await client.page.evaluate((size) => window.sendFile('next.bin', size), SOME_BYTES);
  assert.equal(await ada.receives('next.bin'), next);
  assert.deepEqual((await client.state()).errors, []);
});
