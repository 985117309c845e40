/** The page at `/` in Firefox, and between Firefox and Chromium in both orders of joining. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { launchBrowser } from '../lib/browser.js';
import { firefoxMissing, launchFirefox } from '../lib/firefox.js';
import { paintCamera } from '../lib/painted-camera.js';
import { stage } from '../lib/stage.js';
import { joinWithCameraOff } from '../lib/visitor.js';

const FILE_BYTES = 1024 * 1024;
const PAIRS = [['firefox', 'firefox'], ['firefox', 'chromium'], ['chromium', 'firefox']];

const declare = stage({ absent: firefoxMissing, apart: true, launchers: { firefox: launchFirefox, chromium: launchBrowser } });

/** Declares a test for each pair of browsers. @param {string} title @param {(scene: import('../lib/stage.js').Scene) => Promise<void>} play */
function scene(title, play) {
  for (const names of PAIRS) {
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
