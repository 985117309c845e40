/** The page at `/`: what it sends to how many, and what it shows large. */
import assert from 'node:assert/strict';
import { FAST_CAMERA } from '../lib/browser.js';
import { withScreenThatSounds } from '../lib/devices-by-hand.js';
import { paintCamera, paintForMany } from '../lib/painted-camera.js';
import { outputFile, stage } from '../lib/stage.js';

const VIDEO_BITRATE_TOTAL = 2_000_000;
/** All pictures, five times 40 kbit/s of sound, and what it takes to send them. The pictures of five get 400 kbit/s each. */
const SIX_KBITS = { min: 200, max: 2_500 };
const ONE_KBITS_MIN = 500;

const scene = stage({ flags: [FAST_CAMERA] });

/** Runs in a page before its own scripts: keeps the captured tracks. */
function recordCaptures() {
  window.captured = [];
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const stream = await native(constraints);
    window.captured.push(...stream.getTracks());
    return stream;
  };
}

scene('“Audio only” stops the camera, and another quality starts it again', async (scene) => {
  const ada = await scene.visit('Ada', recordCaptures);
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);

  await ada.page.getByTestId('quality-audio').check();
  await ada.until('the camera is released', () => window.captured.every(({ kind, readyState }) => kind === 'audio' || readyState === 'ended'));
  await grace.shows('Ada', 'video', 'off');
  await Promise.all([ada.hears('Grace'), grace.hears('Ada')]);

  await ada.page.getByTestId('quality-normal').check();
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
});

scene('a camera that was off stays off after “Audio only”', async (scene) => {
  const ada = await scene.visit('Ada', recordCaptures);
  await ada.page.getByTestId('camera').click();
  await ada.page.getByTestId('quality-audio').check();
  await ada.page.getByTestId('quality-normal').check();
  // The browser answers requests for the camera in their order: the second answer is that of the button.
  await ada.page.getByTestId('camera').click();
  await ada.page.locator('[data-testid="camera"][aria-pressed="true"]').waitFor();
  assert.equal(await ada.page.evaluate(() => window.captured.filter(({ kind }) => kind === 'video').length), 2);
});

scene('six members together get no more pictures than a usual uplink carries', async (scene) => {
  await scene.context.addInitScript(paintForMany);
  // The camera of the browser itself needs all that it is given.
  const ada = await scene.visit('Ada');
  const others = ['Grace', 'Linus', 'Barbara', 'Edsger', 'Margaret'];
  /** @type {import('../lib/visitor.js').Visitor[]} */
  const visitors = [];
  for (const name of others) visitors.push(await scene.visit(name, paintCamera));
  await ada.meets(...others);

  await ada.until('the limits', (total) => {
    const senders = window.connections.flatMap((connection) => connection.getSenders()).filter(({ track }) => track?.kind === 'video');
    const rates = senders.map((sender) => sender.getParameters().encodings[0]?.maxBitrate ?? Number.MAX_VALUE);
    return rates.length === 5 && rates.reduce((sum, rate) => sum + rate, 0) <= total;
  }, VIDEO_BITRATE_TOTAL);
  await ada.keeps('stats-up', 'data-kbits', SIX_KBITS);
  for (const { page } of visitors.slice(1)) await page.getByTestId('leave').click();
  await ada.sees('Grace');
  await ada.until('the full rate for one', () => window.connections.some((connection) => connection.connectionState === 'connected'
    && connection.getSenders().some((sender) => sender.getParameters().encodings[0]?.maxBitrate === 1_000_000)));
  await ada.until('more than one of five may get', (kbits) => {
    const tile = document.querySelector('[data-testid="tile"][data-username="Grace"]');
    return Number(tile?.getAttribute('data-video-up')) > kbits;
  }, ONE_KBITS_MIN);
});

scene('a shared screen is shown large until it ends, and any member can be pinned', async (scene) => {
  const ada = await scene.visit('Ada', withScreenThatSounds);
  const grace = await scene.visit('Grace', paintCamera);
  const linus = await scene.visit('Linus', paintCamera);
  await Promise.all([ada.sees('Grace', 'Linus'), grace.sees('Ada', 'Linus')]);

  await ada.page.getByTestId('screen').click();
  await grace.shows('Ada', 'large', 'true');
  await grace.photographs(outputFile('call-page-screen.png'), 2);
  const pin = grace.page.locator('[data-testid="tile"][data-username="Linus"]').getByTestId('tile-pin');
  await pin.focus();
  await grace.page.keyboard.press('Enter');
  await grace.shows('Linus', 'large', 'true');
  await grace.shows('Ada', 'large', 'false');
  await grace.page.keyboard.press('Enter');
  await grace.shows('Ada', 'large', 'true');

  await ada.page.getByTestId('screen').click();
  await grace.shows('Ada', 'large', 'false');
  await linus.sees('Ada', 'Grace');
});

scene('addresses in chat are links, and only messages count as unread', async (scene) => {
  const ada = await scene.visit('Ada');
  await ada.page.getByTestId('chat-toggle').click();
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  assert.equal(await ada.page.getByTestId('unread').isVisible(), false);

  await grace.writes('See https://example.org/a?b=1&c=<x>, or javascript:alert(1) (http://example.org/d).');
  await ada.page.getByTestId('unread').filter({ hasText: /^1$/ }).waitFor();
  const links = await grace.page.getByTestId('chat-link').evaluateAll((anchors) => anchors.map((anchor) => [anchor.getAttribute('href'), anchor.getAttribute('rel')]));
  assert.deepEqual(links, [['https://example.org/a?b=1&c=', 'noopener noreferrer nofollow'], ['http://example.org/d', 'noopener noreferrer nofollow']]);
  await ada.page.getByTestId('chat-toggle').click();
  await ada.reads('Grace', 'javascript:alert(1) (http://example.org/d).');
});
