/** The page at `/` of a person that is slow, fast or changes their mind: what comes late does not undo what was chosen. */
import assert from 'node:assert/strict';
import { withScreenThatSounds } from '../lib/devices-by-hand.js';
import { stage } from '../lib/stage.js';

const OFFERED = { urls: ['turn:127.0.0.1:3478'], username: 'ada', credential: 'c2VjcmV0' };

const scene = stage();

/** Runs in a page before its own scripts: nothing is captured before `window.allow()`. */
function withPermissionByHand() {
  const devices = navigator.mediaDevices;
  const { getUserMedia } = devices;
  let isAllowed = Promise.resolve();
  window.ask = () => (isAllowed = new Promise((resolve) => (window.allow = resolve)));
  window.ask();
  window.captured = [];
  devices.getUserMedia = async (constraints) => {
    await isAllowed;
    const stream = await getUserMedia.call(devices, constraints);
    window.captured.push(...stream.getTracks());
    return stream;
  };
}

/** Runs in a page before its own scripts: the person takes their time to choose a screen, until `window.allow()`. */
function withPickerByHand() {
  const devices = navigator.mediaDevices;
  const { getDisplayMedia } = devices;
  devices.getDisplayMedia = async (options) => {
    await new Promise((/** @type {(value: void) => void} */ resolve) => (window.allow = resolve));
    return getDisplayMedia.call(devices, options);
  };
}

scene('a person who joins by hand before the permission stays in the call', async (scene) => {
  const ada = await scene.visit('Ada');
  const page = await scene.context.newPage();
  await page.addInitScript(withPermissionByHand);
  await page.goto(`${scene.server.origin}/?${new URLSearchParams({ room: scene.room, name: 'Grace', autojoin: '1' })}`);
  await page.getByTestId('join').click();
  await ada.meets('Grace');
  await page.evaluate(() => window.allow());
  await page.waitForFunction(() => window.captured.length > 0);
  assert.equal(await page.getByTestId('connection').getAttribute('data-state'), 'joined');
  await ada.sees('Grace');
});

scene('a screen that is chosen after the call was left is not shared', async (scene) => {
  const ada = await scene.visit('Ada', withScreenThatSounds);
  await ada.page.evaluate(withPickerByHand);
  await ada.page.getByTestId('screen').click();
  await ada.page.getByTestId('leave').click();
  await ada.page.evaluate(() => window.allow());
  await ada.until('all tracks ended', () => window.shared?.every(({ readyState }) => readyState === 'ended'));
});

scene('a screen that is chosen in "Audio only" is not shared', async (scene) => {
  const ada = await scene.visit('Ada', withScreenThatSounds);
  await ada.page.evaluate(withPickerByHand);
  await ada.page.getByTestId('screen').click();
  await ada.page.locator('[name="quality"][value="audio"]').check({ force: true });
  await ada.page.evaluate(() => window.allow());
  await ada.until('all tracks ended', () => window.shared?.every(({ readyState }) => readyState === 'ended'));
});

scene('"Audio only" stops a camera that is just being opened', async (scene) => {
  const ada = await scene.visit('Ada');
  await ada.page.locator('[data-testid="camera"][aria-pressed="true"]').click();
  await ada.page.evaluate(withPermissionByHand);
  await ada.page.getByTestId('camera').click();
  await ada.page.locator('[name="quality"][value="audio"]').check({ force: true });
  await ada.page.evaluate(() => window.allow());
  await ada.until('the camera stopped', () => window.captured.length > 0 && window.captured.every(({ readyState }) => readyState === 'ended'));
  await ada.page.locator('[name="quality"][value="normal"]').check({ force: true });
  await ada.page.locator('[data-testid="camera"][aria-pressed="true"]').waitFor();
});

scene('a microphone that is unplugged during the call is told to its member and to the others', async (scene) => {
  const ada = await scene.visit('Ada', withPermissionByHand, async (page) => {
    await page.evaluate(() => window.allow());
    await page.waitForFunction(() => window.captured.length > 0);
    await page.getByTestId('join').click();
  });
  const grace = await scene.visit('Grace');
  await grace.sees('Ada');
  await ada.page.evaluate(() => {
    const microphone = window.captured.find(({ kind }) => kind === 'audio');
    microphone?.stop();
    microphone?.dispatchEvent(new Event('ended'));
  });
  await grace.shows('Ada', 'muted', 'true');
  await ada.page.getByText('The microphone has stopped').waitFor();
  await ada.page.getByTestId('mute').click();
  await grace.shows('Ada', 'muted', 'false');
  await grace.hears('Ada');
});

scene('servers that the server offers late reach a call that was joined early', async (scene) => {
  const ada = await scene.visit('Ada');
  const page = await scene.context.newPage();
  /** @type {() => void} */
  let answer = () => {};
  const isAnswered = new Promise((/** @type {(value: void) => void} */ resolve) => (answer = resolve));
  let asked = 0;
  await page.route('**/ice-servers', async (route) => {
    asked += 1;
    if (asked === 1) await isAnswered;
    await route.fulfill({ json: [OFFERED] });
  });
  await page.addInitScript(() => {
    const Native = window.RTCPeerConnection;
    /** @type {RTCPeerConnection[]} */
    window.connections = [];
    window.RTCPeerConnection = class extends Native {
      /** @param {RTCConfiguration} [configuration] */
      constructor(configuration) {
        super(configuration);
        window.connections.push(this);
      }
    };
  });
  await page.goto(`${scene.server.origin}/?${new URLSearchParams({ room: scene.room, name: 'Grace' })}`);
  await page.getByTestId('join').click();
  await ada.meets('Grace');
  answer();
  await page.waitForFunction(() => window.connections.every((connection) => connection.getConfiguration().iceServers?.length === 1), undefined, { timeout: 8_000 });
});

scene('"Try again" of a call that was left meanwhile makes no connection', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  await ada.meets('Grace');
  /** @type {() => void} */
  let answer = () => {};
  const isAnswered = new Promise((/** @type {(value: void) => void} */ resolve) => (answer = resolve));
  await ada.page.route('**/ice-servers', async (route) => {
    await isAnswered;
    await route.fulfill({ json: [] });
  });
  await ada.page.getByTestId('try-again').evaluate((button) => /** @type {HTMLElement} */ (button).click());
  await ada.page.getByTestId('leave').click();
  await grace.until('alone', () => window.tiles().length === 0);
  const answered = ada.page.waitForResponse('**/ice-servers');
  answer();
  await answered;
  await ada.page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  assert.equal(await ada.page.evaluate(() => window.connections.filter(({ signalingState }) => signalingState !== 'closed').length), 0);
  assert.equal(await ada.page.getByTestId('tile').count(), 0);
});

scene('calls that are joined and left leave nothing behind', async (scene) => {
  const grace = await scene.visit('Grace');
  const ada = await scene.visit('Ada', () => {
    window.observers = 0;
    window.timers = new Set();
    window.players = [];
    const create = document.createElement;
    document.createElement = /** @type {any} */ (function (/** @type {string} */ tag) {
      const element = create.call(document, tag);
      if (element instanceof HTMLMediaElement) window.players.push(element);
      return element;
    });
    const Native = window.ResizeObserver;
    window.ResizeObserver = class extends Native {
      /** @param {Element} element */
      observe(element) {
        window.observers += 1;
        super.observe(element);
      }
      disconnect() {
        window.observers -= 1;
        super.disconnect();
      }
    };
    const { setInterval, clearInterval } = window;
    window.setInterval = /** @type {any} */ ((/** @type {any[]} */ ...parameters) => {
      const timer = setInterval(.../** @type {[any]} */ (parameters));
      window.timers.add(timer);
      return timer;
    });
    window.clearInterval = /** @type {any} */ ((/** @type {any} */ timer) => {
      window.timers.delete(timer);
      clearInterval(timer);
    });
  });
  const { page } = ada;
  for (let round = 0; round < 3; round += 1) {
    await ada.meets('Grace');
    await page.getByTestId('leave').click();
    await grace.until('alone', () => window.tiles().length === 0);
    const left = await page.evaluate(() => ({ observers: window.observers, timers: window.timers.size, players: window.players.filter(({ srcObject }) => srcObject).length }));
    assert.deepEqual(left, { observers: 0, timers: 0, players: 0 });
    await page.getByTestId('join').click();
  }
});
