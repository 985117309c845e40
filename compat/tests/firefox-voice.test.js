/** The page at `/voice` in Firefox, with a sound device and without one. */
import { newContext } from '../lib/browser.js';
import { firefoxMissing, launchFirefox } from '../lib/firefox.js';
import { Server } from '../lib/server.js';
import { SoundDevice } from '../lib/sound-device.js';
import { exposeSound } from '../lib/voice-ear.js';
import { voiceStage } from '../lib/voice-stage.js';
import { missing } from '../lib/voice-tools.js';

/** Firefox has one fake microphone for all of its pages, with this tone. */
const FIREFOX_HZ = 1000;
const CHROMIUM_HZ = 440;
/** Without it Firefox would look for a device of ALSA, too. */
const PULSE_ONLY = { 'media.cubeb.backend': 'pulse-rust' };

/** @type {SoundDevice} */
let device;
/** @type {(() => Promise<unknown>)[]} */
let closers = [];

/** @param {(() => Promise<unknown>)[]} ofStage */
async function open(ofStage) {
  closers = ofStage;
  const server = await Server.start();
  closers.unshift(() => server.stop());
  device = await SoundDevice.start();
  closers.unshift(() => device.stop());
  return { server, openPage: (/** @type {import('../lib/voice-person.js').Person} */ { page }) => page.goto(`${server.origin}/voice`) };
}

const scene = voiceStage({ absent: firefoxMissing || missing('pulseaudio'), open });

/** A context of a Firefox that runs until the end of the file. @param {Record<string, string>} env */
async function contextOfFirefox(env) {
  const firefox = await launchFirefox({ preferences: PULSE_ONLY, env });
  closers.unshift(() => firefox.close());
  const context = await newContext(firefox);
  await context.addInitScript(exposeSound);
  return context;
}

scene('two members of a room, one in Firefox, hear each other', async (scene) => {
  const ada = await scene.opens('Ada', FIREFOX_HZ, await contextOfFirefox(device.env));
  const grace = await scene.comes('Grace', CHROMIUM_HZ);
  for (const person of [ada, grace]) {
    await person.prefers('wav');
    await person.enters(scene.room);
    await person.at('talk-toggle').click();
    await person.talksWith('room', scene.room);
  }

  await Promise.all([ada.hears([grace], [ada, grace]), grace.hears([ada], [ada, grace])]);
});

scene('Firefox without a sound device: the page says so, and asks for no click', async (scene) => {
  const ada = await scene.opens('Ada', FIREFOX_HZ, await contextOfFirefox({ PULSE_SERVER: 'unix:/nonexistent' }));
  await ada.at('room-name').fill(scene.room);
  await ada.at('room-button').click();

  await ada.reads('talk-status', 'No audio device could be opened');
});
