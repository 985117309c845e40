/** The page at `/`: every member is heard, with any devices and with any of them off. */
import assert from 'node:assert/strict';
import { withSilentMicrophone, withoutCamera, withoutDevices, withoutMicrophone } from '../lib/absent-devices.js';
import { stage } from '../lib/stage.js';
import { joinWithCameraOff } from '../lib/visitor.js';

const scene = stage();

scene('a member that joins with the camera off is heard', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace', undefined, joinWithCameraOff);
  const linus = await scene.visit('Linus', undefined, joinWithCameraOff);

  await Promise.all([ada.meets('Grace', 'Linus'), grace.meets('Ada', 'Linus'), linus.meets('Ada', 'Grace')]);
  await Promise.all([ada.hears('Grace', 'Linus'), grace.hears('Ada', 'Linus'), linus.hears('Ada', 'Grace')]);
  await ada.shows('Grace', 'video', 'off');
  await ada.shows('Grace', 'muted', 'false');
});

scene('a member is heard while its camera is off, and seen when it is on again', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);

  await grace.page.getByTestId('camera').click();
  await ada.shows('Grace', 'video', 'off');
  await Promise.all([ada.hears('Grace'), grace.hears('Ada')]);

  await grace.page.getByTestId('camera').click();
  await ada.shows('Grace', 'video', 'on');
  await ada.sees('Grace');
  await ada.hears('Grace');
});

scene('a member whose camera comes on only after joining is seen and heard', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace', undefined, joinWithCameraOff);
  await Promise.all([ada.meets('Grace'), grace.sees('Ada')]);
  await ada.hears('Grace');

  await grace.page.getByTestId('camera').click();
  await ada.sees('Grace');
  await ada.hears('Grace');
});

scene('a member without a camera is heard', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace', withoutCamera);
  await Promise.all([ada.meets('Grace'), grace.sees('Ada')]);
  await Promise.all([ada.hears('Grace'), grace.hears('Ada')]);
});

scene('a member without a microphone is seen, hears the others and counts as muted', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace', withoutMicrophone);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await grace.hears('Ada');
  await ada.shows('Grace', 'muted', 'true');
});

scene('a member that only listens hears everybody', async (scene) => {
  const ada = await scene.visit('Ada', withoutCamera);
  const grace = await scene.visit('Grace', withoutDevices);
  const linus = await scene.visit('Linus');
  await Promise.all([ada.meets('Grace', 'Linus'), grace.meets('Ada', 'Linus'), linus.meets('Ada', 'Grace')]);
  await Promise.all([grace.hears('Ada', 'Linus'), ada.hears('Linus'), linus.hears('Ada')]);
  await ada.shows('Grace', 'muted', 'true');
});

scene('a member is shown as muted when it says so, not when it is silent', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace', withSilentMicrophone);
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);
  await ada.measures('Grace', 4);
  await ada.shows('Grace', 'muted', 'false');

  await ada.page.getByTestId('mute').click();
  await grace.shows('Ada', 'muted', 'true');
  await ada.page.getByTestId('mute').click();
  await grace.shows('Ada', 'muted', 'false');
  await grace.hears('Ada');
});

scene('each member has a volume of its own', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  await Promise.all([ada.sees('Grace'), grace.sees('Ada')]);

  const tile = ada.page.locator('[data-testid="tile"][data-username="Grace"]');
  await tile.getByTestId('tile-volume').fill('0.25');
  assert.equal(await tile.locator('audio').evaluate((audio) => /** @type {HTMLAudioElement} */ (audio).volume), 0.25);
  await ada.hears('Grace');
});
