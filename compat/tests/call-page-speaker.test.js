/** The page at `/`: the speaker view, full screen, and the marks of what is off. */
import assert from 'node:assert/strict';
import { withMicrophoneByHand, withWakeLocks } from '../lib/devices-by-hand.js';
import { paintCamera, paintForMany } from '../lib/painted-camera.js';
import { outputFile, stage } from '../lib/stage.js';

const scene = stage();

/** @param {import('../lib/visitor.js').Visitor} visitor @param {string} name */
function tileOf({ page }, name) {
  return page.locator(`[data-testid="tile"][data-username="${name}"]`);
}

/** @param {import('../lib/stage.js').Scene} scene */
async function threePeople(scene) {
  const ada = await scene.visit('Ada', withMicrophoneByHand);
  const grace = await scene.visit('Grace', withMicrophoneByHand);
  const linus = await scene.visit('Linus', withMicrophoneByHand);
  await Promise.all([ada.sees('Grace', 'Linus'), grace.sees('Ada', 'Linus'), linus.sees('Ada', 'Grace')]);
  return { ada, grace, linus };
}

scene('the speaker view shows the member that speaks large, and is remembered', async (scene) => {
  const { ada, grace, linus } = await threePeople(scene);
  const view = ada.page.getByTestId('view');
  await view.press('Enter');
  assert.equal(await view.getAttribute('aria-pressed'), 'true');
  await ada.shows('Grace', 'large', 'true');

  await linus.page.evaluate(() => window.talk(true));
  await ada.shows('Linus', 'large', 'true');
  await ada.shows('Grace', 'large', 'false');
  await linus.page.evaluate(() => window.talk(false));
  await ada.page.evaluate(() => window.talk(true));
  await ada.shows('Ada', 'speaking', 'true');
  await ada.shows('Linus', 'speaking', 'false');
  await ada.shows('Linus', 'large', 'true');
  await grace.page.evaluate(() => window.talk(true));
  await ada.shows('Grace', 'large', 'true');
  await ada.page.screenshot({ path: outputFile('call-page-speaker-view.png') });

  await tileOf(ada, 'Linus').getByTestId('tile-pin').click();
  await ada.shows('Linus', 'large', 'true');
  await tileOf(ada, 'Linus').getByTestId('tile-pin').click();
  await ada.shows('Grace', 'large', 'true');
  await grace.page.getByTestId('leave').click();
  await ada.shows('Linus', 'large', 'true');

  await ada.page.reload();
  await ada.sees('Linus');
  await ada.shows('Linus', 'large', 'true');
  await view.click();
  await ada.shows('Linus', 'large', 'false');
});

scene('the large picture of six is large and painted, and the strip has the others', async (scene) => {
  await scene.context.addInitScript(paintForMany);
  const ada = await scene.visit('Ada', paintCamera);
  for (const name of ['Grace', 'Linus', 'Barbara', 'Edsger', 'Margaret']) await scene.visit(name, paintCamera);
  // A page in the background is not painted.
  await ada.page.bringToFront();
  await ada.seesMoving(5);
  await ada.page.screenshot({ path: outputFile('call-page-six.png') });
  await ada.page.getByTestId('view').click();
  await ada.page.emulateMedia({ colorScheme: 'dark' });
  await ada.seesMoving(5);
  await ada.until('a large picture that is not of one colour', () => {
    const video = /** @type {HTMLVideoElement | null} */ (document.querySelector('[data-testid="tile"][data-large="true"] video'));
    if (!video) return false;
    const { width, height } = video.getBoundingClientRect();
    const canvas = Object.assign(document.createElement('canvas'), { width: 8, height: 8 });
    const brush = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    brush.drawImage(video, 0, 0, 8, 8);
    return width > innerWidth / 2 && height > innerHeight / 2 && new Set(brush.getImageData(0, 0, 8, 8).data).size > 8;
  });
  await ada.page.screenshot({ path: outputFile('call-page-six-speaker-view-dark.png') });
});

scene('a tile has the whole screen, and gives it back', async (scene) => {
  const ada = await scene.visit('Ada', paintCamera);
  const grace = await scene.visit('Grace', paintCamera);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  // A page in the background is not painted.
  await ada.page.bringToFront();
  await ada.seesMoving(1);
  await ada.page.screenshot({ path: outputFile('call-page-two.png') });
  const tile = tileOf(ada, 'Grace');
  const button = tile.getByTestId('tile-full-screen');

  await button.click();
  await ada.until('the tile has the screen', () => document.fullscreenElement?.getAttribute('data-username') === 'Grace');
  await tile.locator('[data-testid="tile-full-screen"][aria-pressed="true"]').waitFor();
  await ada.until('a tile of the size of the window', () => {
    const box = document.fullscreenElement?.getBoundingClientRect();
    return box?.width === innerWidth && box.height === innerHeight;
  });
  await ada.seesMoving(1);
  await ada.page.screenshot({ path: outputFile('call-page-full-screen.png') });

  await button.press('Enter');
  await ada.until('the page is back', () => document.fullscreenElement === null);
  // The browser reports it with the next frame.
  await tile.locator('[data-testid="tile-full-screen"][aria-pressed="false"]').waitFor();
});

scene('the icons of a microphone and a camera that are off are struck through', async (scene) => {
  /** @param {import('playwright-core').Page} page @param {string} testid */
  const drawing = (page, testid) => page.getByTestId(testid).locator('use').getAttribute('href');
  const ada = await scene.visit('Ada', undefined, async (page) => {
    for (const device of ['mic', 'camera']) await page.locator(`[data-testid="prejoin-${device}"][aria-pressed="true"]`).waitFor();
    assert.deepEqual([await drawing(page, 'prejoin-mic'), await drawing(page, 'prejoin-camera')], ['#i-mic', '#i-camera']);
    await page.getByTestId('prejoin-mic').click();
    await page.getByTestId('prejoin-camera').click();
    assert.deepEqual([await drawing(page, 'prejoin-mic'), await drawing(page, 'prejoin-camera')], ['#i-muted', '#i-camera-off']);
    await page.getByTestId('join').click();
  });
  assert.deepEqual([await drawing(ada.page, 'mute'), await drawing(ada.page, 'camera')], ['#i-muted', '#i-camera-off']);
  await ada.page.screenshot({ path: outputFile('call-page-off.png') });
  await ada.page.getByTestId('mute').click();
  await ada.page.getByTestId('camera').click();
  await ada.page.locator('[data-testid="camera"][aria-pressed="true"]').waitFor();
  assert.deepEqual([await drawing(ada.page, 'mute'), await drawing(ada.page, 'camera')], ['#i-mic', '#i-camera']);
});

scene('the screen is kept on during a call, also after the page was hidden', async (scene) => {
  const locks = () => ada.page.evaluate(() => window.wakeLocks.size);
  const ada = await scene.visit('Ada', withWakeLocks);
  await ada.until('a lock', () => window.wakeLocks.size === 1);

  await ada.page.evaluate(async () => {
    for (const lock of window.wakeLocks) await /** @type {WakeLockSentinel} */ (lock).release();
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await ada.until('a new lock', () => window.wakeLocks.size === 1);
  await ada.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  assert.equal(await locks(), 1);
  await ada.page.getByTestId('leave').click();
  await ada.until('no lock', () => window.wakeLocks.size === 0);
});
