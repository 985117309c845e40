/** The page at `/`: the link to hand on, and the details of a connection. */
import assert from 'node:assert/strict';
import decodeQr from 'jsqr';
import { hasNoBreach } from '../lib/axe.js';
import { outputFile, stage } from '../lib/stage.js';

/** In points, without the browser's own bars. */
const SMALL_LAPTOP = { width: 1024, height: 640 };

const scene = stage();

/** The text of a QR code on a canvas. @param {import('playwright-core').Locator} canvas */
async function readCode(canvas) {
  const { data, size } = await canvas.evaluate((element) => {
    const PIXELS_PER_MODULE = 4;
    const code = /** @type {HTMLCanvasElement} */ (element);
    const size = code.width * PIXELS_PER_MODULE;
    const larger = Object.assign(document.createElement('canvas'), { width: size, height: size });
    const brush = /** @type {CanvasRenderingContext2D} */ (larger.getContext('2d'));
    brush.imageSmoothingEnabled = false;
    brush.drawImage(code, 0, 0, size, size);
    return { data: [...brush.getImageData(0, 0, size, size).data], size };
  });
  return decodeQr(Uint8ClampedArray.from(data), size, size)?.data;
}

scene('the link of the room can be copied, scanned and shared', async (scene) => {
  await scene.context.grantPermissions(['clipboard-read', 'clipboard-write', 'camera', 'microphone']);
  const ada = await scene.visit('Ada', () => {
    navigator.share = async ({ url } = {}) => void (document.title = `shared ${url}`);
  });
  const field = (/** @type {string} */ testid) => ada.page.getByTestId(testid);
  const link = `${scene.server.origin}/?room=${scene.room}`;

  await field('invite-first').press('Enter');
  assert.equal(await field('invite-link').inputValue(), link);
  assert.equal(await readCode(field('invite-qr')), link);
  assert.match(await field('invite-warning').innerText(), /works on this machine only/);
  await ada.page.screenshot({ path: outputFile('call-page-invite.png') });
  await hasNoBreach(ada.page, 'invitation');
  await field('copy-link').press('Enter');
  await field('invite-status').filter({ hasText: 'Link copied' }).waitFor();
  assert.equal(await ada.page.evaluate(() => navigator.clipboard.readText()), link);
  await field('share-link').click();
  assert.equal(await ada.page.title(), `shared ${link}`);

  await ada.page.keyboard.press('Escape');
  await field('invite-dialog').waitFor({ state: 'hidden' });
  await ada.page.emulateMedia({ colorScheme: 'dark' });
  await field('invite').click();
  assert.equal(await readCode(field('invite-qr')), link);
  await ada.page.screenshot({ path: outputFile('call-page-invite-dark.png') });
  await field('invite-close').click();
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await field('invite-first').waitFor({ state: 'hidden' });
});

scene('a browser without the newer clipboard copies the link, too', async (scene) => {
  await scene.context.grantPermissions(['clipboard-read', 'clipboard-write', 'camera', 'microphone']);
  const ada = await scene.visit('Ada', () => {
    const native = navigator.clipboard;
    window.readClipboard = () => native.readText();
    Object.defineProperty(navigator, 'clipboard', { value: undefined });
  });
  await ada.page.getByTestId('invite').click();
  await ada.page.getByTestId('copy-link').click();
  await ada.page.getByTestId('invite-status').filter({ hasText: 'Link copied' }).waitFor();
  assert.equal(await ada.page.evaluate(() => window.readClipboard()), `${scene.server.origin}/?room=${scene.room}`);
});

scene('the details of a connection are shown, and follow it while they are open', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  const tile = ada.page.locator('[data-testid="tile"][data-username="Grace"]');
  const row = (/** @type {string} */ key, /** @type {RegExp} */ text) => ada.page.getByTestId(`details-${key}`).filter({ hasText: text }).waitFor();

  await tile.getByTestId('tile-details').press('Enter');
  await row('state', /^Connected$/);
  await row('route', /^Direct \((host|prflx|srflx) ↔ (host|prflx|srflx), UDP\)$/);
  await row('round-trip', /^(\d+|Under 1) ms$/);
  await row('loss-up', /^\d+\.\d %$/);
  await row('loss-down', /^\d+\.\d %$/);
  await row('video-up', /^[1-9]\d* kbit\/s, \d+×\d+, \d+ fps, VP8$/);
  await row('video-down', /^[1-9]\d* kbit\/s, \d+×\d+, \d+ fps, VP8$/);
  await row('audio-up', /^[1-9]\d* kbit\/s, opus$/);
  await row('audio-down', /^[1-9]\d* kbit\/s, opus$/);
  await ada.page.screenshot({ path: outputFile('call-page-details.png') });

  await hasNoBreach(ada.page, 'details of a connection');
  await grace.page.getByTestId('camera').click();
  await row('video-down', /^0 kbit\/s/);
  await grace.page.getByTestId('leave').click();
  await ada.page.getByTestId('details-dialog').waitFor({ state: 'hidden' });
});

scene('on a small laptop the way into the call and the way out of the settings are in sight', async (scene) => {
  const ada = await scene.visit('Ada', undefined, async (page) => {
    await page.setViewportSize(SMALL_LAPTOP);
    assert.ok(await isInSight(page, 'join'), 'the lobby');
    await page.getByTestId('join').click();
  });
  await ada.page.getByTestId('settings').click();
  await ada.page.getByTestId('ice').fill('nonsense');
  await ada.page.getByTestId('ice').blur();
  await ada.page.getByTestId('ice-error').waitFor();
  assert.ok(await isInSight(ada.page, 'settings-close'), 'the settings');
});

scene('a browser that names no speaker plays on that of the system, and the settings say so', async (scene) => {
  const ada = await scene.visit('Ada', () => void (navigator.mediaDevices.enumerateDevices = async () => []));
  const shows = (/** @type {string} */ testid, /** @type {string} */ text) => ada.page.getByTestId(testid).filter({ hasText: text }).waitFor({ state: 'attached' });
  await Promise.all([shows('speaker-select', 'System default'), shows('camera-select', 'None found')]);
});

/** Without scrolling, and below nothing. @param {import('playwright-core').Page} page @param {string} testid */
async function isInSight(page, testid) {
  return page.getByTestId(testid).evaluate((element) => {
    const { left, top, bottom, width, height } = element.getBoundingClientRect();
    const isInside = top >= 0 && bottom <= innerHeight;
    return isInside && element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
  });
}
