/** The page at `/` by its keyboard alone, and what a screen reader says of it. */
import assert from 'node:assert/strict';
import { Keyboard, recordAnnouncements } from '../lib/keyboard.js';
import { withScreenThatSounds } from '../lib/devices-by-hand.js';
import { outputFile, stage } from '../lib/stage.js';

/** WCAG 2.2, 2.5.8: of what can be pressed, but for links in a text. */
const TARGET_PX_MIN = 24;

const scene = stage();

/** @param {import('playwright-core').Page} page @param {string} testid */
function pressed(page, testid) {
  return page.getByTestId(testid).getAttribute('aria-pressed');
}

/** The lobby and a whole call, without a mouse. */
scene('a whole call is held by the keyboard alone', async (scene) => {
  const ada = await scene.visit('Ada', withScreenThatSounds, enterByKeyboard);
  await ada.page.context().grantPermissions(['clipboard-read', 'clipboard-write', 'camera', 'microphone']);
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  const keys = new Keyboard(ada.page);

  await switchDevices(grace, keys);
  await chatAndSend(ada, grace, keys);
  await changeSettings(ada, keys);
  await arrangeTiles(ada, keys);

  await keys.moveTo('quality-normal');
  await keys.press('ArrowRight');
  await keys.isAt('quality-low');
  assert.ok(await ada.page.getByTestId('quality-low').isChecked());
  await keys.moveTo('invite', 'Shift+Tab');
  await keys.press('Enter');
  await keys.moveTo('copy-link');
  await keys.press('Enter');
  await ada.page.getByTestId('invite-status').filter({ hasText: 'copied' }).waitFor();
  assert.match(await ada.page.evaluate(() => navigator.clipboard.readText()), new RegExp(scene.room));
  await keys.moveTo('invite-close');
  await keys.press('Enter');
  await keys.isAt('invite');

  await keys.moveTo('leave');
  await keys.press('Enter');
  await keys.isAt('join');
  await grace.isToldOf('Ada left');
});

/** @param {import('playwright-core').Page} page */
async function enterByKeyboard(page) {
  const keys = new Keyboard(page);
  await page.locator('[data-testid="prejoin-camera"][aria-pressed="true"]').waitFor();
  await keys.isAt('join');
  await keys.moveTo('room', 'Shift+Tab');
  const room = await page.getByTestId('room').inputValue();
  await keys.fill(room);
  await keys.moveTo('name', 'Shift+Tab');
  await keys.fill('Ada');
  for (const device of ['prejoin-camera', 'prejoin-mic']) {
    await keys.moveTo(device, 'Shift+Tab');
    await keys.press('Space');
    await page.locator(`[data-testid="${device}"][aria-pressed="false"]`).waitFor();
    await keys.press('Enter');
    await page.locator(`[data-testid="${device}"][aria-pressed="true"]`).waitFor();
  }
  await keys.moveTo('join');
  await keys.press('Tab');
  await keys.press('Enter');
  await keys.moveTo('mic-select');
  await keys.moveTo('ice-credential');
  await keys.moveTo('join', 'Shift+Tab');
  await keys.press('Enter');
}

/** @param {import('../lib/visitor.js').Visitor} grace @param {Keyboard} keys */
async function switchDevices(grace, keys) {
  await keys.moveTo('mute');
  await keys.press('Space');
  await grace.shows('Ada', 'muted', 'true');
  await keys.press('Enter');
  await grace.shows('Ada', 'muted', 'false');
  await keys.moveTo('camera');
  await keys.press('Space');
  await grace.shows('Ada', 'video', 'off');
  await keys.press('Space');
  await grace.shows('Ada', 'video', 'on');
  await keys.moveTo('screen');
  await keys.press('Enter');
  await grace.shows('Ada', 'large', 'true');
  await keys.press('Enter');
  await grace.shows('Ada', 'large', 'false');
}

/** @param {import('../lib/visitor.js').Visitor} ada @param {import('../lib/visitor.js').Visitor} grace @param {Keyboard} keys */
async function chatAndSend(ada, grace, keys) {
  // File choosers are intercepted by a separate message to the browser: sent with the key press, it may arrive after it.
  const chosen = ada.page.waitForEvent('filechooser', { timeout: 60_000 });
  await keys.moveTo('chat-toggle');
  await keys.press('Enter');
  await ada.page.getByTestId('chat-panel').waitFor({ state: 'hidden' });
  await grace.writes('One');
  await ada.page.getByRole('button', { name: 'Chat, 1 unread message', exact: true }).waitFor();
  await grace.writes('Two');
  await ada.page.getByRole('button', { name: 'Chat, 2 unread messages', exact: true }).waitFor();
  await keys.press('Enter');
  await keys.isAt('chat-input');
  await keys.type('Video mute camera');
  assert.equal(await pressed(ada.page, 'mute'), 'false', 'a shortcut in a field');
  await keys.press('Enter');
  await grace.reads('Ada', 'Video mute camera');

  await keys.moveTo('file-input');
  await keys.press('Enter');
  const chooser = await chosen;
  await chooser.setFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('notes') });
  await grace.receives('notes.txt');
  await grace.sends('answer.txt', Buffer.from('answer'));
  await ada.page.getByTestId('file-accept').waitFor();
  await keys.moveTo('file-accept', 'Shift+Tab');
  await keys.press('Enter');
  await ada.page.getByTestId('file-link').waitFor();
  await keys.moveTo('file-link', 'Shift+Tab');
  await Promise.all([ada.page.waitForEvent('download'), keys.press('Enter')]);
  await keys.moveTo('chat-log', 'Shift+Tab');
  await keys.press('Escape');
  await keys.isAt('chat-toggle');
}

/** @param {import('../lib/visitor.js').Visitor} ada @param {Keyboard} keys */
async function changeSettings(ada, keys) {
  const page = ada.page;
  await keys.moveTo('settings');
  await keys.press('Enter');
  await keys.moveTo('camera-select');
  await keys.press('ArrowDown');
  await keys.moveTo('mic-select');
  await keys.press('ArrowDown');
  await keys.moveTo('speaker-select');
  await keys.press('ArrowDown');
  await keys.moveTo('ice');
  await keys.type('turn:turn.example.org');
  await keys.moveTo('ice-user');
  await page.locator('[data-testid="ice-user"][aria-invalid="true"]').waitFor();
  await keys.type('ada');
  await keys.moveTo('ice-credential');
  await keys.type('secret');
  await keys.moveTo('shortcuts');
  await page.locator('[data-testid="ice-error"]').waitFor({ state: 'hidden' });
  await keys.press('Space');
  await keys.press('Escape');
  await keys.isAt('settings');
  assert.equal(await page.getByTestId('mute').getAttribute('aria-keyshortcuts'), null);
  await keys.press('m');
  assert.equal(await pressed(page, 'mute'), 'false', 'a shortcut that is switched off');

  await keys.press('Enter');
  await keys.moveTo('shortcuts');
  await keys.press('Space');
  await keys.moveTo('settings-close');
  await keys.press('Enter');
  await keys.isAt('settings');
  await keys.press('m');
  await page.locator('[data-testid="mute"][aria-pressed="true"]').waitFor();
  await keys.press('m');
}

/** @param {import('../lib/visitor.js').Visitor} ada @param {Keyboard} keys */
async function arrangeTiles(ada, keys) {
  await keys.moveTo('tile-volume', 'Shift+Tab');
  const volume = () => ada.page.evaluate(() => document.querySelector('audio')?.volume ?? 0);
  await keys.press('ArrowLeft');
  assert.ok((await volume()) < 1);
  await keys.press('ArrowRight');
  await keys.moveTo('tile-pin');
  await keys.press('Enter');
  await ada.shows('Grace', 'large', 'true');
  await keys.press('Enter');
  await ada.shows('Grace', 'large', 'false');
  await ada.page.bringToFront();
  await keys.moveTo('tile-full-screen');
  await keys.press('Enter');
  await ada.until('full screen', () => document.fullscreenElement?.matches('[data-username="Grace"]'));
  await ada.page.getByRole('button', { name: 'Full screen of Grace', pressed: true }).waitFor();
  await keys.press('Enter');
  await ada.until('no full screen', () => document.fullscreenElement === null);
  await keys.isAt('tile-full-screen');
}

scene('the focus goes round in the order of the page, forward and back, and past nothing', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  await Promise.all([ada.meets('Grace'), grace.meets('Ada')]);
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await ada.page.emulateMedia({ colorScheme });
    await isRound(ada.page);
  }
  await ada.page.setViewportSize({ width: 375, height: 667 });
  await ada.until('the chat over the tiles', () => document.querySelector('[data-testid="grid"]')?.closest('[inert]') !== null);
  await isRound(ada.page);
  await ada.page.keyboard.press('Escape');
  await isRound(ada.page);
});

/** @param {import('playwright-core').Page} page */
async function isRound(page) {
  const keys = new Keyboard(page);
  await page.evaluate(() => document.activeElement instanceof HTMLElement && document.activeElement.blur());
  const forward = (await keys.round()).map(({ name }) => name);
  const back = (await keys.round('Shift+Tab')).map(({ name }) => name);
  assert.deepEqual(back.reverse(), forward);
  const regions = await page.evaluate(() => {
    const testids = [...document.querySelectorAll('.bar, .stage, .chat, .controls')].map(({ className }) => className.split(' ')[0]);
    return testids.join(' ');
  });
  assert.equal(regions, 'bar stage chat controls');
  const unreached = await page.evaluate((reached) => {
    const all = [...document.querySelectorAll('button, input, select, a[href], summary')].filter((element) => element.checkVisibility() && !element.closest('[inert]'));
    const names = all.filter((element) => !(element instanceof HTMLButtonElement && element.disabled) && !(element instanceof HTMLInputElement && element.type === 'radio' && !element.checked));
    return names.map((element) => element.getAttribute('data-testid') ?? '').filter((testid) => testid && !reached.includes(testid));
  }, forward);
  assert.deepEqual(unreached, []);
}

scene('a screen reader is told once of joins, messages, files, problems and the server', async (scene) => {
  const ada = await scene.visit('Ada', recordAnnouncements);
  const grace = await scene.visit('Grace', withScreenThatSounds);
  await Promise.all([ada.meets('Grace'), grace.meets('Ada')]);
  await grace.writes('Good morning');
  await ada.reads('Grace', 'Good morning');
  await grace.sends('plan.bin', Buffer.alloc(5 * 1024 * 1024));
  await ada.accepts('plan.bin');
  await ada.page.locator('[data-direction="in"][data-state="done"]').waitFor({ timeout: 30_000 });
  await ada.measures('Grace', 3);
  await grace.page.getByTestId('screen').click();
  await isToldOnce(ada, 'Grace joined', 'Good morning', 'Save plan.bin', 'Grace shares a screen');
  const ofFile = (await ada.page.evaluate(() => window.announced)).filter((text) => /plan\.bin|MiB|KiB/.test(text));
  assert.ok(ofFile.length <= 6, `a flood: ${ofFile.join(' | ')}`);

  await ada.page.getByTestId('chat-toggle').click();
  await grace.writes('Are you there?');
  await ada.page.getByTestId('unread').waitFor();
  await isToldOnce(ada, 'Are you there?');
  await ada.page.getByTestId('quality-audio').check();
  await grace.page.getByTestId('leave').click();
  await ada.meets();
  await isToldOnce(ada, 'Grace left');
});

/** @param {import('../lib/visitor.js').Visitor} visitor @param {string[]} texts */
async function isToldOnce(visitor, ...texts) {
  for (const text of texts) {
    await visitor.until(`told “${text}”`, (text) => window.announced.some((one) => one.includes(text)), text);
  }
  const announced = await visitor.page.evaluate(() => window.announced);
  for (const text of texts) {
    const times = announced.filter((one) => one.includes(text)).length;
    assert.equal(times, 1, `“${text}” is said ${times} times: ${announced.join(' | ')}`);
  }
}

scene('an absent server is told once, however often the page tries, and so is its return', async (scene) => {
  let isAway = false;
  let attemptsLeft = 0;
  /** @type {() => void} */
  let enough = () => {};
  /** @type {import('playwright-core').WebSocketRoute[]} */
  const open = [];
  await scene.context.routeWebSocket(/dialect=p2p/, async (socket) => {
    if (isAway) {
      attemptsLeft -= 1;
      if (attemptsLeft === 0) enough();
      return socket.close({ code: 1013 });
    }
    open.push(socket, socket.connectToServer());
  });
  const ada = await scene.visit('Ada', recordAnnouncements);
  isAway = true;
  attemptsLeft = 3;
  const tried = new Promise((resolve) => (enough = () => resolve(null)));
  for (const socket of open) await socket.close({ code: 3000 });
  await ada.until('the server lost', () => document.querySelector('[data-testid="connection"]')?.getAttribute('data-state') === 'waiting');
  await tried;
  isAway = false;
  await ada.until('in the room', () => document.querySelector('[data-testid="connection"]')?.getAttribute('data-state') === 'joined');
  await isToldOnce(ada, 'is lost', 'is back');
});

scene('each tile has a name that says its state, and each target is large enough', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  await Promise.all([ada.meets('Grace'), grace.meets('Ada')]);
  await grace.page.getByTestId('mute').click();
  await ada.page.getByRole('listitem', { name: 'Grace, Muted', exact: true }).waitFor();
  await ada.page.getByRole('listitem', { name: 'Ada (you)', exact: true }).waitFor();
  await grace.writes('See https://example.org/');
  await grace.sends('a.txt', Buffer.from('a'));
  await ada.accepts('a.txt');
  await ada.page.getByTestId('file-link').waitFor();
  await hasLargeTargets(ada.page);
  await ada.page.getByTestId('settings').click();
  await hasLargeTargets(ada.page);
  await ada.page.getByTestId('settings-close').click();
  await ada.page.getByTestId('leave').click();
  await ada.page.getByText('Devices and connection').first().click();
  await hasLargeTargets(ada.page);
});

/** @param {import('playwright-core').Page} page */
async function hasLargeTargets(page) {
  const small = await page.evaluate((min) => {
    const all = [...document.querySelectorAll('button, input, select, summary, a[href]:not([data-testid="chat-link"])')];
    const shown = all.filter((element) => element.checkVisibility() && !element.closest('p')).map((element) => ({ element, target: element.closest('label') ?? element }));
    return shown.flatMap(({ element, target }) => {
      const { width, height } = target.getBoundingClientRect();
      return width < min || height < min ? [`${element.getAttribute('data-testid') ?? element.outerHTML}: ${width}×${height}`] : [];
    });
  }, TARGET_PX_MIN);
  assert.deepEqual(small, []);
}

/** WCAG 2.2, 1.4.10 and 1.4.4: a narrow page, and letters of twice the size. */
for (const { name, width, height, letters } of [
  { name: 'at a width of 320 px', width: 320, height: 568, letters: 100 },
  { name: 'at 400 % zoom', width: 320, height: 256, letters: 100 },
  { name: 'with letters of 200 %', width: 1280, height: 800, letters: 200 },
  { name: 'with letters of 200 % on a phone', width: 375, height: 667, letters: 200 },
]) {
  scene(`nothing is lost ${name}`, async (scene) => {
    const enlarge = `addEventListener('DOMContentLoaded', () => (document.documentElement.style.fontSize = '${16 * letters / 100}px'))`;
    await scene.context.addInitScript(enlarge);
    const ada = await scene.visit('Ada', undefined, async (page) => {
      await page.setViewportSize({ width, height });
      await fits(page, '[data-testid="prejoin"]', `lobby ${name}`);
      await page.getByTestId('join').click();
    });
    const grace = await scene.visit('Grace');
    await Promise.all([ada.meets('Grace'), grace.meets('Ada')]);
    await fits(ada.page, '.bar, .stage, .controls', `call ${name}`);
    if (!(await ada.page.getByTestId('chat-panel').isVisible())) await ada.page.getByTestId('chat-toggle').click();
    await fits(ada.page, '.chat', `chat ${name}`);
    await ada.page.getByRole('button', { name: 'Close', exact: true }).first().click();
    await ada.page.getByTestId('settings').click();
    await fits(ada.page, 'dialog[open]', `settings ${name}`);
  });
}

/** Everything can be scrolled to, nothing sideways. @param {import('playwright-core').Page} page @param {string} within @param {string} state */
async function fits(page, within, state) {
  const lost = await page.evaluate((within) => {
    const page = document.scrollingElement;
    const problems = page && page.scrollWidth > page.clientWidth ? [`the page is ${page.scrollWidth} wide`] : [];
    const all = [...document.querySelectorAll(within)].flatMap((region) => [...region.querySelectorAll('button, input:not([type=file]):not([type=radio]), select, label, h1, h2')]);
    for (const element of all.filter((one) => one.checkVisibility())) {
      element.scrollIntoView({ block: 'nearest' });
      const { left, right, top, bottom, width, height } = element.getBoundingClientRect();
      const name = element.getAttribute('data-testid') ?? element.textContent?.trim();
      if (left < -1 || right > innerWidth + 1) problems.push(`${name}: from ${left} to ${right}`);
      if (bottom < 1 || top > innerHeight - 1 || width < 1 || height < 1) problems.push(`${name}: out of sight`);
      const isCut = element instanceof HTMLButtonElement && element.scrollWidth > element.clientWidth + 1;
      if (isCut) problems.push(`${name}: cut`);
    }
    scrollTo(0, 0);
    return problems;
  }, within);
  await page.screenshot({ path: outputFile(`call-page-${state.replace(/[^a-z0-9]+/gi, "-")}.png`) });
  assert.deepEqual(lost, [], state);
}
