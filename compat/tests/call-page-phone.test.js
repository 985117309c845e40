/** The page at `/` on a phone: everything can be reached, and there is a switch of the camera. */
import assert from 'node:assert/strict';
import { PHONE } from '../lib/browser.js';
import { paintCamera, paintForMany } from '../lib/painted-camera.js';
import { outputFile, stage } from '../lib/stage.js';
import { texts } from '../../web/js/texts.js';

/** By WCAG 2.2, 2.5.8. */
const TARGET_MIN = 24;
const SETTLED_WITHIN_MS = 30_000;
const NAMES = ['Ada', 'Grace', 'Linus', 'Barbara', 'Edsger', 'Margaret'];

const scene = stage({ flags: ['--use-fake-device-for-media-stream=device-count=2'], device: PHONE });

/** Runs in a page before its own scripts: the cameras of both sides, of which one at a time is open. */
function withTwoSides() {
  window.captured = [];
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints = {}) => {
    const { facingMode, ...video } = /** @type {any} */ (constraints.video || {});
    const side = facingMode?.exact ?? 'user';
    if (constraints.video && window.captured.some(({ readyState }) => readyState === 'live')) throw new DOMException('', 'NotReadableError');
    const stream = await native({ ...constraints, video: constraints.video ? video : false });
    for (const track of stream.getVideoTracks()) {
      const settings = track.getSettings.bind(track);
      track.getSettings = () => ({ ...settings(), facingMode: side });
      window.captured.push(track);
    }
    return stream;
  };
}

/**
 * The controls that stay outside the window, too small, or below something else. The page needs a few frames to follow a
 * new size of the window, and another large tile: tiles that change their size lie over others meanwhile.
 * @param {import('playwright-core').Page} page @param {string} state
 */
async function unreachable(page, state) {
  const deadline = Date.now() + SETTLED_WITHIN_MS;
  for (;;) {
    const faults = await unreachableNow(page);
    if (faults.length === 0 || Date.now() > deadline) return faults.map((fault) => `${state}: ${fault}`);
    await page.evaluate(() => new Promise(requestAnimationFrame));
  }
}

/** @param {import('playwright-core').Page} page @returns {Promise<string[]>} */
function unreachableNow(page) {
  return page.evaluate((min) => {
    for (const animation of document.getAnimations()) if (animation instanceof CSSTransition) animation.finish();
    const dialog = document.querySelector('dialog[open]');
    const controls = [...(dialog ?? document).querySelectorAll('button, input, select, summary, a')].filter((element) => {
      const isHidden = !element.checkVisibility({ visibilityProperty: true, opacityProperty: true });
      return !isHidden && !element.closest('.visually-hidden, .log') && !element.matches('.visually-hidden, :disabled');
    });
    const faults = controls.flatMap((element) => {
      const target = element.closest('label') ?? element;
      if (!dialog && !target.closest('footer, header')) target.scrollIntoView({ block: 'nearest', inline: 'nearest' });
      if (dialog) target.scrollIntoView({ block: 'nearest' });
      const { left, top, width, height } = target.getBoundingClientRect();
      const name = element.getAttribute('data-testid') ?? element.outerHTML.slice(0, 60);
      const hit = document.elementFromPoint(left + width / 2, top + height / 2);
      const isInside = left >= 0 && top >= 0 && left + width <= innerWidth && top + height <= innerHeight;
      const isOnTop = hit !== null && (target.contains(hit) || hit.contains(target));
      return [isInside ? '' : `${name} is outside`, isOnTop ? '' : `${name} is below ${hit?.outerHTML.slice(0, 80)}`, width >= min && height >= min ? '' : `${name} is small: ${width}×${height}`];
    });
    const isSideways = /** @type {Element} */ (document.scrollingElement).scrollWidth > innerWidth;
    return [...faults.filter(Boolean), ...(isSideways ? ['scrolls sideways'] : [])];
  }, TARGET_MIN);
}

scene('on a phone every control can be reached, with one, two and six members', async (scene) => {
  /** @type {string[]} */
  const faults = [];
  await scene.context.addInitScript(paintForMany);
  const ada = await scene.visit('Ada', paintCamera, async (page) => {
    await page.locator('[data-testid="prejoin-camera"][aria-pressed="true"]').waitFor();
    await page.screenshot({ path: outputFile('call-page-phone-lobby.png') });
    faults.push(...(await unreachable(page, 'lobby')));
    await page.getByTestId('join').click();
  });
  faults.push(...(await unreachable(ada.page, 'alone')));
  await ada.page.screenshot({ path: outputFile('call-page-phone-alone.png') });

  const grace = await scene.visit('Grace', paintCamera);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await ada.page.bringToFront();
  faults.push(...(await unreachable(ada.page, 'two')));
  await ada.photographs(outputFile('call-page-phone-two.png'), 1);
  await ada.page.locator('[data-testid="tile"][data-username="Grace"]').getByTestId('tile-more').tap();
  faults.push(...(await unreachable(ada.page, 'tools of a tile')));
  await ada.page.screenshot({ path: outputFile('call-page-phone-tools.png') });
  await ada.page.getByTestId('tile-details').tap();
  await ada.page.getByTestId('details-route').waitFor();
  faults.push(...(await unreachable(ada.page, 'details')));
  await ada.page.screenshot({ path: outputFile('call-page-phone-details.png') });
  await ada.page.getByTestId('details-close').tap();
  await ada.page.getByTestId('invite').tap();
  faults.push(...(await unreachable(ada.page, 'invite')));
  await ada.page.screenshot({ path: outputFile('call-page-phone-invite.png') });
  await ada.page.getByTestId('invite-close').tap();
  await ada.page.getByTestId('settings').tap();
  faults.push(...(await unreachable(ada.page, 'settings')));
  await ada.page.screenshot({ path: outputFile('call-page-phone-settings.png') });
  await ada.page.getByTestId('settings-close').tap();
  await ada.page.getByTestId('chat-toggle').tap();
  await ada.page.screenshot({ path: outputFile('call-page-phone-chat.png') });
  await ada.page.locator('#chat-close').tap();

  for (const name of NAMES.slice(2)) await scene.visit(name, paintCamera);
  await ada.page.bringToFront();
  await ada.seesMoving(5);
  faults.push(...(await unreachable(ada.page, 'six')));
  await ada.page.screenshot({ path: outputFile('call-page-phone-six.png') });
  await ada.page.getByTestId('view').tap();
  await ada.page.emulateMedia({ colorScheme: 'dark' });
  faults.push(...(await unreachable(ada.page, 'six, speaker view')));
  await ada.page.screenshot({ path: outputFile('call-page-phone-speaker-view.png') });
  await ada.page.setViewportSize({ width: 844, height: 390 });
  faults.push(...(await unreachable(ada.page, 'six, on its side')));
  await ada.seesMoving(5);
  await ada.page.screenshot({ path: outputFile('call-page-phone-sideways.png') });
  assert.deepEqual(faults, []);
});

scene('the bar of a phone keeps its height and its buttons while the server is away, and cuts no notice', async (scene) => {
  const ada = await scene.visit('Ada');
  /** @param {string} state @param {string} text */
  const places = (state, text) => ada.page.evaluate(([state, text]) => {
    const connection = /** @type {HTMLElement} */ (document.getElementById('connection'));
    Object.assign(connection.dataset, { state });
    connection.textContent = text ?? '';
    const boxes = ['.bar', '#view', '#invite'].map((selector) => document.querySelector(selector)?.getBoundingClientRect());
    return [boxes[0]?.height, boxes[1]?.x, boxes[1]?.y, boxes[2]?.x, boxes[2]?.y];
  }, [state, text]);
  const joined = await places('joined', texts.connection.joined);
  assert.deepEqual(await places('waiting', texts.connection.waiting(30)), joined);
  assert.deepEqual(await places('connecting', texts.connection.connecting), joined);

  const notice = ada.page.getByTestId('notice');
  await notice.evaluate((element, words) => (element.textContent = words), texts.call.nameTaken('Augusta Ada King', 'Augusta Ada King (2)'));
  const isWhole = await notice.evaluate(({ scrollWidth, clientWidth, scrollHeight, clientHeight }) => scrollWidth <= clientWidth && scrollHeight <= clientHeight);
  assert.ok(isWhole, 'the notice is cut');
  assert.deepEqual(await places('joined', texts.connection.joined), joined);
});

scene('the camera of a phone is switched without a new offer', async (scene) => {
  const ada = await scene.visit('Ada', withTwoSides);
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  const offers = () => ada.log.concat(grace.log).filter((line) => line.includes('SDP_OFFER')).length;
  const before = offers();
  await ada.page.bringToFront();

  await ada.page.getByTestId('switch-camera').tap();
  await ada.until('the other camera', () => {
    const [former, latest] = window.captured;
    return former?.readyState === 'ended' && latest?.readyState === 'live' && latest.getSettings().facingMode === 'environment';
  });
  // A page in the background counts no pictures.
  await grace.page.bringToFront();
  await grace.sees('Ada');
  assert.equal(offers(), before);
  await ada.page.bringToFront();
  await ada.page.getByTestId('camera').tap();
  await ada.page.getByTestId('switch-camera').waitFor({ state: 'hidden' });
});

scene('only the camera that looks at the person is mirrored', async (scene) => {
  const ada = await scene.visit('Ada', withTwoSides);
  const picture = ada.page.locator('[data-peer="self"] video');
  const isMirrored = () => picture.evaluate((video) => getComputedStyle(video).transform.startsWith('matrix(-1'));
  await ada.page.locator('[data-peer="self"][data-video="on"]').waitFor();
  assert.equal(await isMirrored(), true);
  await ada.page.getByTestId('switch-camera').tap();
  await ada.until('the other side', () => window.captured.length === 2 && !document.querySelector('.is-mirrored video'));
  assert.equal(await isMirrored(), false);
  await ada.page.getByTestId('switch-camera').click();
  await ada.until('the person', () => document.querySelector('.tile.is-mirrored') !== null);
  assert.equal(await isMirrored(), true);
});
