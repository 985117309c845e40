/** The page at `/` in Firefox, and between Firefox and Chromium in both orders of joining. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { launchBrowser } from '../lib/browser.js';
import { firefoxMissing, launchFirefox } from '../lib/firefox.js';
import { seesEverybody } from '../lib/full-mesh.js';
import { LONG } from '../lib/original.js';
import { paintCamera } from '../lib/painted-camera.js';
import { Server } from '../lib/server.js';
import { outputFile, stage } from '../lib/stage.js';
import { joinWithCameraOff } from '../lib/visitor.js';

const FILE_BYTES = 1024 * 1024;
const STALL_MS = 10_000;
const NORMAL_KBITS = { min: 280 };
/** 150 kbit/s of video, sound, and what it takes to send them. */
const LOW_KBITS = { max: 250 };
/** 24 kbit/s of sound, and what it takes to send it. */
const AUDIO_KBITS = { max: 65 };
const PHONE = { width: 390, height: 844 };
const PAIRS = [['firefox', 'firefox'], ['firefox', 'chromium'], ['chromium', 'firefox']];

const declare = stage({ absent: firefoxMissing, apart: true, launchers: { firefox: launchFirefox, chromium: () => launchBrowser() } });

/** Declares a test for each pair of browsers. @param {string} title @param {(scene: import('../lib/stage.js').Scene) => Promise<void>} play */
function scene(title, play, pairs = PAIRS) {
  for (const names of pairs) {
    declare(`${names.join(', then ')}: ${title}`, async (scene) => {
      scene.browserNames = names;
      await play(scene);
    });
  }
}

scene('a call with cameras that go off and on, a muted microphone, chat and files', async (scene) => {
  const ada = await scene.visit('Ada', paintCamera);
  const grace = await scene.visit('Grace', paintCamera, joinWithCameraOff);
  await Promise.all([ada.meets('Grace'), grace.sees('Ada')]);
  await Promise.all([ada.hears('Grace'), grace.hears('Ada'), ada.shows('Grace', 'video', 'off')]);

  await grace.page.getByTestId('camera').click();
  await ada.page.getByTestId('camera').click();
  await Promise.all([ada.sees('Grace'), grace.shows('Ada', 'video', 'off'), grace.hears('Ada')]);
  await ada.page.getByTestId('camera').click();
  await ada.page.getByTestId('mute').click();
  await Promise.all([grace.sees('Ada'), grace.shows('Ada', 'muted', 'true')]);
  await ada.page.getByTestId('mute').click();
  await Promise.all([grace.hears('Ada'), grace.shows('Ada', 'muted', 'false')]);

  await ada.writes('Shall we begin?');
  await grace.reads('Ada', 'Shall we begin?');
  await grace.writes('Yes');
  await ada.reads('Grace', 'Yes');
  await arrivesIntact(ada, grace);
  await arrivesIntact(grace, ada);
});

/** @param {import('../lib/visitor.js').Visitor} from @param {import('../lib/visitor.js').Visitor} to */
async function arrivesIntact(from, to) {
  const bytes = randomBytes(FILE_BYTES);
  const name = `of-${from.name}.bin`;
  await from.sends(name, bytes);
  assert.equal(await to.receives(name), createHash('sha256').update(bytes).digest('hex'));
}

scene('the measured rates follow the quality while the server stalls, which harms nothing', async (scene) => {
  const ada = await scene.visit('Ada', paintCamera);
  const grace = await scene.visit('Grace', paintCamera);
  // The server is away for a while.
  for (const { excused } of [ada, grace]) excused.push(/WebSocket connection to|connection to the server at ws:|connection to ws:/);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await keep(ada, NORMAL_KBITS);

  const { server } = scene;
  assert.ok(server instanceof Server);
  server.child.kill('SIGSTOP');
  const stall = delay(STALL_MS);
  try {
    await ada.page.getByTestId('quality-low').check();
    await Promise.all([keep(ada, LOW_KBITS), stall]);
    await Promise.all([ada.sees('Grace'), grace.sees('Ada'), ada.hears('Grace'), grace.hears('Ada')]);
  } finally {
    server.child.kill('SIGCONT');
  }
  await ada.page.getByTestId('quality-audio').check();
  await Promise.all([keep(ada, AUDIO_KBITS), grace.shows('Ada', 'video', 'off')]);
  await ada.page.getByTestId('quality-normal').check();
  await Promise.all([ada.sees('Grace'), grace.sees('Ada'), ada.hears('Grace'), grace.hears('Ada')]);
  assert.deepEqual(await Promise.all([ada, grace].map(({ page }) => page.evaluate(() => window.connections.length))), [1, 1]);
  // Firefox is measured, and a pair takes half a minute.
}, LONG ? PAIRS : [['firefox', 'chromium']]);

/** Both directions keep within these limits for some seconds. @param {import('../lib/visitor.js').Visitor} visitor @param {{ min?: number, max?: number }} limits */
async function keep(visitor, limits) {
  await Promise.all(['stats-up', 'stats-down'].map((testid) => visitor.keeps(testid, 'data-kbits', limits)));
}

declare('the pictures of a call in Firefox, wide and on a phone', async (scene) => {
  scene.room = 'seminar';
  scene.browserNames = ['firefox', 'chromium'];
  const ada = await scene.visit('Ada', paintCamera);
  const grace = await scene.visit('Grace', paintCamera);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await grace.writes('Can you read this in Firefox?');
  await ada.reads('Grace', 'Firefox');

  await ada.page.screenshot({ path: outputFile('firefox-call.png') });
  await ada.page.getByTestId('chat-toggle').click();
  await ada.page.setViewportSize(PHONE);
  await ada.sees('Grace');
  await ada.page.screenshot({ path: outputFile('firefox-call-phone.png') });
});

declare('a peer whose connection was closed bears a change of quality and of media', async (scene) => {
  scene.browserNames = ['firefox'];
  const ada = await scene.visit('Ada');
  const isAnswered = await ada.page.evaluate(async () => {
    const { Peer } = await import(new URL('js/peer.js', document.baseURI).href);
    const options = { id: '1', username: 'Grace', calling: true, iceServers: [], tracks: { audio: null, video: null } };
    const peer = new Peer({ ...options, mediaState: { isMuted: true, video: 'off' }, quality: 'normal', others: 1, send: () => true, events: {} });
    peer.close();
    await peer.setQuality('low');
    await peer.setTracks({ audio: null, video: null });
    return peer.isAnswered;
  });
  assert.equal(isAnswered, false);
});

declare('Firefox with clients of other dialects: pictures, a lower quality, sound alone, and back', async (scene) => {
  scene.browserNames = ['firefox', 'chromium', 'chromium'];
  const ada = await scene.visit('Ada', paintCamera);
  const guests = [await scene.join('lightstream'), await scene.join('mesh', { call: '0' })];
  const allSee = () => Promise.all([ada.seesMoving(2), ...guests.map((guest) => seesEverybody(guest, 2))]);
  const offersGot = () => Promise.all(guests.map(({ page }) => page.evaluate(() => Math.max(...Object.values(window.state.peers).map(({ offersGot }) => offersGot)))));
  await allSee();

  for (const quality of ['low', 'audio', 'normal']) {
    const before = await offersGot();
    await ada.page.getByTestId(`quality-${quality}`).check();
    await Promise.all(guests.map((guest, index) => guest.until(`a new offer for ${quality}`, (before) => {
      return Object.values(window.state.peers).some(({ offersGot }) => offersGot > before);
    }, before[index])));
  }
  await allSee();
  for (const guest of guests) assert.deepEqual((await guest.state()).errors, []);
});
