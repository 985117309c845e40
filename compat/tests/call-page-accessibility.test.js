/** The page at `/`: axe finds no breach of WCAG 2.2 AA, in both colour schemes, and shortcuts can be switched off. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { withScreenThatSounds } from '../lib/devices-by-hand.js';
import { paintCamera } from '../lib/painted-camera.js';
import { outputFile, stage } from '../lib/stage.js';

/** Evaluated by the debugger: the page's content security policy refuses scripts that are not its own. */
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const PHONE = { width: 375, height: 667 };

const scene = stage();

/** @param {import('playwright-core').Page} page @param {string} state */
async function hasNoBreach(page, state) {
  await page.evaluate(AXE);
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const breaches = await page.evaluate(async (rules) => {
      const { violations } = await /** @type {any} */ (window).axe.run(document, { runOnly: rules });
      return violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ { target }) => target).join(' ')}`);
    }, RULES);
    assert.deepEqual(breaches, [], `${state}, ${colorScheme}`);
  }
}

scene('the lobby, a call and the settings have no breach of WCAG 2.2 AA', async (scene) => {
  const ada = await scene.visit('Ada', paintCamera, async (page) => {
    await page.getByTestId('prejoin-devices').count();
    await page.locator('[data-testid="prejoin-camera"][aria-pressed="true"]').waitFor();
    await hasNoBreach(page, 'lobby');
    await page.getByTestId('join').click();
  });
  await hasNoBreach(ada.page, 'alone in a call');
  const grace = await scene.visit('Grace', paintCamera);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await grace.writes('Look at https://example.org/');
  await grace.sends('notes.bin', Buffer.from('notes'));
  await ada.page.getByTestId('file-accept').waitFor();
  await hasNoBreach(ada.page, 'a file is offered');
  await ada.accepts('notes.bin');
  await ada.page.getByTestId('file-link').waitFor();
  await hasNoBreach(ada.page, 'chat');
  await ada.photographs(outputFile('call-page-dark.png'), 1);
  await ada.page.getByTestId('settings').click();
  await hasNoBreach(ada.page, 'settings');
});

scene('a large tile, a shared screen, the dialogs and mistakes in settings have no breach', async (scene) => {
  const ada = await scene.visit('Ada', paintCamera);
  const grace = await scene.visit('Grace', withScreenThatSounds);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  const tile = ada.page.locator('[data-testid="tile"][data-username="Grace"]');
  await tile.getByTestId('tile-pin').focus();
  await ada.page.keyboard.press('Enter');
  await ada.shows('Grace', 'large', 'true');
  await hasNoBreach(ada.page, 'a pinned tile');
  await ada.page.keyboard.press('Enter');
  await grace.page.getByTestId('screen').click();
  await ada.shows('Grace', 'large', 'true');
  await hasNoBreach(ada.page, 'a shared screen');
  await tile.getByTestId('tile-details').focus();
  await ada.page.keyboard.press('Enter');
  await hasNoBreach(ada.page, 'details');
  await ada.page.getByTestId('details-close').click();
  await ada.page.getByTestId('invite').click();
  await hasNoBreach(ada.page, 'invite');
  await ada.page.getByTestId('invite-close').click();
  await ada.page.getByTestId('settings').click();
  await ada.page.getByTestId('ice').fill('nonsense');
  await ada.page.getByTestId('ice').blur();
  await ada.page.getByTestId('ice-error').waitFor();
  await hasNoBreach(ada.page, 'a mistake in the settings');
});

scene('a connection that failed, and a phone, have no breach', async (scene) => {
  const ada = await scene.visit('Ada', withoutRoutes, async (page) => {
    await page.setViewportSize(PHONE);
    await hasNoBreach(page, 'lobby of a phone');
    await page.getByTestId('join').click();
  });
  const grace = await scene.visit('Grace', withoutRoutes);
  await ada.page.locator('[data-testid="tile"][data-username="Grace"][data-state="failed"]').waitFor({ timeout: 60_000 });
  await hasNoBreach(ada.page, 'a failed connection on a phone');
  await ada.photographs(outputFile('call-page-failed-phone-dark.png'));
  await hasNoBreach(grace.page, 'a failed connection');
  await grace.photographs(outputFile('call-page-failed-dark.png'));
  await ada.page.getByTestId('chat-toggle').click();
  await hasNoBreach(ada.page, 'chat on a phone');
  await ada.photographs(outputFile('call-page-chat-phone-dark.png'));
});

/** Runs in a page before its own scripts: no candidate of the other is used. */
function withoutRoutes() {
  const prototype = /** @type {any} */ (RTCPeerConnection.prototype);
  const { setRemoteDescription } = prototype;
  prototype.addIceCandidate = async () => {};
  prototype.setRemoteDescription = function (/** @type {any} */ { type, sdp }) {
    return setRemoteDescription.call(this, { type, sdp: sdp.replace(/^a=candidate:.*\r\n/gm, '') });
  };
}

scene('shortcuts work by keyboard, and can be switched off', async (scene) => {
  const ada = await scene.visit('Ada');
  const isMuted = () => ada.page.getByTestId('mute').getAttribute('aria-pressed');
  await ada.page.keyboard.press('m');
  assert.equal(await isMuted(), 'true');
  await ada.page.getByTestId('settings').press('Enter');
  await ada.page.getByTestId('shortcuts').press('Space');
  await ada.page.getByTestId('settings-close').press('Enter');
  await ada.page.keyboard.press('m');
  assert.equal(await isMuted(), 'true');
});
