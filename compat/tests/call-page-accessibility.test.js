/** The page at `/`: axe finds no breach of WCAG 2.2 AA, in both colour schemes, and shortcuts can be switched off. */
import assert from 'node:assert/strict';
import { hasNoBreach } from '../lib/axe.js';
import { blockRoutes, GIVE_UP_MS } from '../lib/blocked-routes.js';
import { withScreenThatSounds } from '../lib/devices-by-hand.js';
import { paintCamera } from '../lib/painted-camera.js';
import { outputFile, stage } from '../lib/stage.js';

const PHONE = { width: 375, height: 667 };

const scene = stage();

/** @param {import('../lib/visitor.js').Visitor} visitor @param {string} name @param {number} [moving]  pictures of so many others */
async function isPictured(visitor, name, moving) {
  await visitor.page.emulateMedia({ colorScheme: 'dark' });
  await visitor.photographs(outputFile(`${name}-dark.png`), moving);
}

scene('the lobby, a call and the settings have no breach of WCAG 2.2 AA', async (scene) => {
  const ada = await scene.visit('Ada', paintCamera, async (page) => {
    await page.locator('#prejoin-devices summary').click();
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
  await isPictured(ada, 'call-page', 1);
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
  await scene.context.clock.install();
  await scene.context.addInitScript(paintCamera);
  const ada = await scene.visit('Ada', blockRoutes, async (page) => {
    await page.setViewportSize(PHONE);
    await hasNoBreach(page, 'lobby of a phone');
    await page.getByTestId('join').click();
  });
  const grace = await scene.visit('Grace', blockRoutes);
  await Promise.all([ada.shows('Grace', 'state', 'connecting'), grace.shows('Ada', 'state', 'connecting')]);
  for (const { page } of [ada, grace]) await page.clock.fastForward(GIVE_UP_MS);
  await Promise.all([ada.shows('Grace', 'state', 'failed'), grace.shows('Ada', 'state', 'failed')]);
  await hasNoBreach(ada.page, 'a failed connection on a phone');
  await isPictured(ada, 'call-page-failed-phone');
  await hasNoBreach(grace.page, 'a failed connection');
  await isPictured(grace, 'call-page-failed');
  await ada.page.getByTestId('chat-toggle').click();
  await hasNoBreach(ada.page, 'chat on a phone');
  await isPictured(ada, 'call-page-chat-phone');
});

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
