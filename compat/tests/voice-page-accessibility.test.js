/** The page at `/voice`: axe finds no breach of WCAG 2.2 AA, in both colour schemes, and everything works by keyboard. */
import assert from 'node:assert/strict';
import { hasNoBreach } from '../lib/axe.js';
import { outputFile } from '../lib/stage.js';
import { voiceStage } from '../lib/voice-stage.js';

const scene = voiceStage();
const PHONE = { width: 390, height: 844 };

/** @typedef {import('../lib/voice-person.js').Person} Person */

/** @param {Person} person @param {string} name */
async function isPictured(person, name) {
  await person.page.screenshot({ path: outputFile(`voice-page-${name}.png`), fullPage: true });
}

/** @param {Person} person @param {string} testid */
async function hasFocusOn(person, testid) {
  await person.until(`focus on ${testid}`, (testid) => /** @type {HTMLElement} */ (document.activeElement).dataset.testid === testid, testid);
}

/** Goes on with Tab until this has the focus. @param {Person} person @param {string} testid */
async function tabsTo(person, testid) {
  for (let count = 0; count < 60; count += 1) {
    await person.page.keyboard.press('Tab');
    const focused = await person.page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement).dataset.testid);
    if (focused === testid) return;
  }
  assert.fail(`Tab does not lead to ${testid}`);
}

scene('no breach of WCAG 2.2 AA: idle, key file, incoming, in a call, in a room', async (scene) => {
  const [ada, grace, linus] = await Promise.all([scene.comes('Ada', 440), scene.comes('Grace', 1000), scene.comes('Linus', 1700)]);
  await Promise.all([ada, grace, linus].map((person) => person.isNamed(person.name)));
  await ada.at('sound').evaluate((details) => details.setAttribute('open', ''));
  await hasNoBreach(ada.page, 'idle');
  await isPictured(ada, 'idle');
  await ada.at('key-file').click();
  await hasNoBreach(ada.page, 'key file');
  await isPictured(ada, 'key-file');
  await ada.at('key-close').click();

  await ada.calls(grace);
  await grace.isRungBy(ada, 'verified');
  await hasNoBreach(grace.page, 'incoming call');
  await isPictured(grace, 'incoming');
  await hasNoBreach(ada.page, 'calling');
  await grace.at('accept').click();
  await Promise.all([ada.talksWith('call', grace.address), grace.talksWith('call', ada.address)]);
  await hasNoBreach(ada.page, 'in a call');
  await isPictured(ada, 'call');
  await grace.at('name-input').fill('Ada');
  await grace.at('name-save').click();

  for (const person of [ada, grace, linus]) await person.enters(scene.room);
  await ada.at('talk-toggle').click();
  await ada.talksWith('room', scene.room);
  for (const { address } of [ada, grace, linus]) await grace.shows('member', { address });
  await hasNoBreach(grace.page, 'in a room');
  await isPictured(grace, 'room');
  await grace.page.emulateMedia({ colorScheme: 'dark' });
  await isPictured(grace, 'dark');
  await grace.page.emulateMedia({ colorScheme: 'light' });
  await grace.page.setViewportSize(PHONE);
  await hasNoBreach(grace.page, 'in a room, on a phone');
  await isPictured(grace, 'phone');
  const isTooWide = await grace.page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  assert.equal(isTooWide, false, 'the page is wider than the phone');
});

scene('a call by keyboard alone, and the focus is never lost', async (scene) => {
  const [ada, grace] = await Promise.all([scene.comes('Ada', 440), scene.comes('Grace', 1000)]);
  await tabsTo(ada, 'call-address');
  await ada.page.keyboard.insertText(grace.address);
  await ada.page.keyboard.press('Enter');
  await hasFocusOn(ada, 'talk-title');

  // It is announced, and has the focus of an idle page.
  await grace.isRungBy(ada, 'verified');
  const region = grace.page.getByRole('log', { name: 'Incoming calls' });
  assert.equal(await region.getAttribute('aria-live'), 'assertive');
  await region.getByRole('article', { name: /is calling/ }).waitFor();
  await hasFocusOn(grace, 'accept');
  await tabsTo(grace, 'decline');
  await grace.page.keyboard.press('Enter');
  await grace.at('incoming-call').waitFor({ state: 'hidden' });
  await hasFocusOn(grace, 'call-title');
  await ada.isAlone();
  await hasFocusOn(ada, 'call-title');

  await tabsTo(grace, 'call-address');
  await ada.calls(grace);
  await grace.isRungBy(ada, 'verified');
  // A key that is meant for a field accepts nothing.
  await hasFocusOn(grace, 'call-address');
  await grace.at('accept').press('Enter');
  await grace.talksWith('call', ada.address);
  await hasFocusOn(grace, 'talk-title');
  await tabsTo(grace, 'mute');
  await grace.page.keyboard.press('Space');
  assert.equal(await grace.at('mute').getAttribute('aria-pressed'), 'true');
  await tabsTo(grace, 'name-input');
  await grace.page.keyboard.insertText('Ada');
  await grace.page.keyboard.press('Enter');
  await hasFocusOn(grace, 'hang-up');
  await grace.page.keyboard.press('Enter');
  await grace.isAlone();
  await hasFocusOn(grace, 'call-title');

  await tabsTo(grace, 'person-forget');
  await grace.page.keyboard.press('Enter');
  await hasFocusOn(grace, 'call-address');
});

scene('a room by keyboard alone', async (scene) => {
  const ada = await scene.comes('Ada', 440);
  await tabsTo(ada, 'room-name');
  await ada.page.keyboard.insertText(scene.room);
  await ada.page.keyboard.press('Enter');
  await ada.shows('talk', { kind: 'room', down: 'on' });
  await hasFocusOn(ada, 'talk-title');
  await tabsTo(ada, 'talk-toggle');
  await ada.page.keyboard.press('Enter');
  await ada.talksWith('room', scene.room);
  await hasFocusOn(ada, 'talk-toggle');
  await tabsTo(ada, 'hang-up');
  await ada.page.keyboard.press('Enter');
  await ada.isAlone();
  await hasFocusOn(ada, 'rooms-title');
});
