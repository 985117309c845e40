/** The page at `/voice` while its server stalls or restarts: rooms and calls are restored. */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { voiceStage } from '../lib/voice-stage.js';

const ADA_HZ = 440;
const GRACE_HZ = 1000;
const STALL_MS = 10_000;
const WITHIN_MS = 60_000;
const POLL_MS = 100;
/** The time within which a call is restored. */
const REVIVAL_MS = 30_000;

const scene = voiceStage();

/** @param {import('../lib/voice-stage.js').VoiceScene} scene */
async function twoPeople(scene) {
  const [ada, grace] = await Promise.all([scene.comes('Ada', ADA_HZ), scene.comes('Grace', GRACE_HZ)]);
  await Promise.all([ada.prefers('wav'), grace.prefers('wav')]);
  for (const person of [ada, grace]) person.excused.push(/ERR_|40[134]|WebSocket|event-stream|EventSource/);
  return { ada, grace };
}

/** @param {import('../lib/voice-stage.js').VoiceScene} scene */
function server(scene) {
  return /** @type {import('../lib/server.js').Server} */ (scene.house.server);
}

/**
 * Waits until the members of the first room are so, by the server.
 * @param {import('../lib/server.js').Server} server @param {(members: { mic: number, hds: number, name?: string }[]) => boolean} areRight
 */
async function membersAre({ origin }, areRight) {
  const deadline = Date.now() + WITHIN_MS;
  for (;;) {
    const answer = await fetch(`${origin}/listMembers?roomID=1`);
    const members = answer.ok ? await answer.json() : [];
    if (areRight(members)) return;
    assert.ok(Date.now() < deadline, `members: ${JSON.stringify(members)}`);
    await delay(POLL_MS);
  }
}

/** @param {import('../lib/voice-person.js').Person} ada @param {import('../lib/voice-person.js').Person} grace */
async function hearEachOther(ada, grace) {
  await Promise.all([ada.hears([grace], [ada, grace]), grace.hears([ada], [ada, grace])]);
}

/** Runs in a page: notes that the status names a restart, which lasts for some milliseconds only, and that a call rings. */
function recordStatusAndRinging() {
  const record = () => {
    if (document.querySelector('[data-testid="talk-status"]')?.textContent?.includes('restarted')) document.body.dataset.restarted = 'true';
    if (document.querySelector('[data-testid="incoming-call"]')) document.body.dataset.rung = 'true';
  };
  new MutationObserver(record).observe(document.body, { childList: true, characterData: true, subtree: true });
}

/** @param {import('playwright-core').Page} page */
async function hasShownRestart(page) {
  await page.waitForFunction(() => document.body.dataset.restarted === 'true');
}

scene('a room comes back after a restart of the server', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  for (const person of [ada, grace]) {
    await person.enters(scene.room);
    await person.at('talk-toggle').click();
    await person.talksWith('room', scene.room);
  }
  await ada.isNamed('Ada');
  await hearEachOther(ada, grace);

  await server(scene).crash('/healthz');

  await membersAre(server(scene), (members) => members.filter(({ mic, hds }) => mic === 1 && hds === 1).length === 2 && members.some(({ name }) => name === 'Ada'));
  await Promise.all([ada, grace].map((person) => person.talksWith('room', scene.room)));
  await hearEachOther(ada, grace);
});

scene('a call comes back after a restart of the server, muted as it was, without ringing', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await ada.connects(grace);
  await hearEachOther(ada, grace);
  await ada.at('mute').click();
  await Promise.all([ada, grace].map(({ page }) => page.evaluate(recordStatusAndRinging)));

  await server(scene).crash('/healthz');

  await Promise.all([ada, grace].map(({ page }) => hasShownRestart(page)));
  await Promise.all([ada.talksWith('call', grace.address), grace.talksWith('call', ada.address)]);
  await Promise.all([ada.hears([grace], [ada, grace]), grace.hears([], [ada, grace])]);
  assert.equal(await grace.page.evaluate(() => document.body.dataset.rung), undefined);
  await ada.at('mute').click();
  await grace.hears([ada], [ada, grace]);

  await grace.at('hang-up').click();
  await Promise.all([ada.isAlone(), ada.reads('notice', 'has ended')]);
});

scene('a call whose other end does not come back has ended, and the page says so', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await ada.connects(grace);

  await grace.page.close();
  await ada.page.clock.install();
  await server(scene).crash('/healthz');

  await ada.reads('talk-status', 'restarted');
  await ada.page.clock.fastForward(REVIVAL_MS);
  await ada.at('talk').waitFor({ state: 'hidden' });
  await ada.reads('notice', 'The server was restarted');
});

scene('a call and a room outlast a stall of the server', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  const linus = await scene.comes('Linus', 1700);
  linus.excused.push(/ERR_|40[134]|WebSocket|event-stream|EventSource/);
  await linus.enters(scene.room);
  await ada.connects(grace);
  await hearEachOther(ada, grace);
  const { child } = server(scene);

  child.kill('SIGSTOP');
  await delay(STALL_MS);
  child.kill('SIGCONT');

  await Promise.all([ada.talksWith('call', grace.address), grace.talksWith('call', ada.address)]);
  await hearEachOther(ada, grace);
  await linus.shows('talk', { kind: 'room', other: scene.room, down: 'on' });
});
