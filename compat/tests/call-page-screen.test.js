/** The page at `/`: the sound of a shared screen. */
import assert from 'node:assert/strict';
import { collectSound, withMicrophoneByHand, withScreenThatSounds } from '../lib/devices-by-hand.js';
import { stage } from '../lib/stage.js';

const MICROPHONE_HZ = 300;
const SCREEN_HZ = 1_000;

const scene = stage({ prepare: withMicrophoneByHand });

/**
 * Waits until a tone is in what others send to a page, or is not.
 * @param {import('../lib/guest.js').Guest} guest @param {number} hz @param {boolean} isHeard
 */
async function hearsTone(guest, hz, isHeard) {
  await guest.until(`${isHeard ? 'a' : 'no'} tone of ${hz} Hz`, ({ hz, isHeard }) => {
    const levels = window.levelsAt(hz);
    return isHeard ? levels.some((level) => level > -50) : levels.length > 0 && levels.every((level) => level < -60);
  }, { hz, isHeard });
}

scene('the sound of a shared tab is heard by pages and other clients, beside the microphone', async (scene) => {
  await scene.context.addInitScript(collectSound);
  const ada = await scene.visit('Ada', withScreenThatSounds);
  const grace = await scene.visit('Grace');
  const client = await scene.join('p2p');
  const others = [grace, client];
  await Promise.all([ada.seesMoving(2), grace.seesMoving(2)]);
  await Promise.all(others.map((other) => hearsTone(other, SCREEN_HZ, false)));
  const offers = () => ada.log.filter((line) => line.startsWith('-> ') && line.includes('SDP_OFFER')).length;
  const offersBefore = offers();

  await ada.page.getByTestId('screen').click();
  await ada.page.evaluate(() => window.talk(true));
  await Promise.all(others.flatMap((other) => [hearsTone(other, SCREEN_HZ, true), hearsTone(other, MICROPHONE_HZ, true)]));
  await ada.page.getByTestId('mute').click();
  await grace.shows('Ada', 'muted', 'true');
  await Promise.all(others.flatMap((other) => [hearsTone(other, SCREEN_HZ, true), hearsTone(other, MICROPHONE_HZ, false)]));

  await ada.page.getByTestId('mute').click();
  await ada.page.evaluate(() => window.stopSharing());
  await Promise.all(others.flatMap((other) => [hearsTone(other, SCREEN_HZ, false), hearsTone(other, MICROPHONE_HZ, true)]));
  assert.equal(await ada.page.getByTestId('screen').getAttribute('aria-pressed'), 'false');
  assert.deepEqual(await ada.page.evaluate(() => window.shared.map(({ readyState }) => readyState)), ['ended', 'ended']);
  assert.equal(offers(), offersBefore);
});

scene('the sound of a shared tab is heard without a microphone, and ends with the share', async (scene) => {
  await scene.context.addInitScript(collectSound);
  const ada = await scene.visit('Ada', withScreenThatSounds, async (page) => {
    await page.locator('[data-testid="prejoin-mic"][aria-pressed="true"]').click();
    await page.getByTestId('join').click();
  });
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await ada.page.getByTestId('screen').click();
  await hearsTone(grace, SCREEN_HZ, true);
  await ada.page.getByTestId('screen').click();
  await hearsTone(grace, SCREEN_HZ, false);
  assert.deepEqual(await ada.page.evaluate(() => window.shared.map(({ readyState }) => readyState)), ['ended', 'ended']);
});
