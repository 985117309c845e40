/**
 * The page at `/voice` with speech as microphone and with the audio processing of the browser: each hears the words of the other.
 * Tones do not show this, because noise suppression takes them for noise.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { RATE } from '../lib/voice-sine.js';
import { likeness, speak, speechMissing } from '../lib/voice-speech.js';
import { voiceStage } from '../lib/voice-stage.js';
import { decode } from '../lib/voice-tools.js';

const RECORDED_S = 8;
/** Speech that went through Opus and a browser's processing is above; another speech is below. */
const INTELLIGIBLE = 0.7;
const OTHER_MAX = 0.6;

const ADA = 'The engine weaves patterns. A bell rang twice, then silence fell over the old harbour town.';
const GRACE = 'Seven ships sailed at dawn, but only one of them carried a compiler and a box of lemons.';

const folder = speechMissing ? '' : await mkdtemp(join(tmpdir(), 'switchboard-speech-'));
after(() => folder && rm(folder, { recursive: true }));

const scene = voiceStage({ absent: speechMissing });

/** @param {import('../lib/voice-person.js').Person} person */
async function recorded({ name, page }) {
  const base64 = await page.evaluate((seconds) => window.record(seconds), RECORDED_S);
  const file = join(folder, `heard by ${name}.webm`);
  await writeFile(file, Buffer.from(base64, 'base64'));
  return decode(file);
}

/** The samples without the last tenth of each second, as a busy browser delivers them. @param {Int16Array} samples */
function withGaps(samples) {
  return samples.filter((_, at) => at % RATE < 0.9 * RATE);
}

test('one speech is told from another, also where it is late and quiet', { skip: speechMissing }, async () => {
  const [ada, grace] = await Promise.all([speak(folder, 'ada', ADA, 'en-gb'), speak(folder, 'grace', GRACE, 'en-us')]);
  const late = Int16Array.from({ length: 200_000 }, (_, at) => ada.samples[(at + 12_345) % ada.samples.length] / 8);
  assert.ok(likeness(late, ada.samples) > 0.95);
  assert.ok(likeness(late, grace.samples) < OTHER_MAX);
  const interrupted = withGaps(late);
  assert.ok(likeness(interrupted, ada.samples) > INTELLIGIBLE, 'a tenth of a second is lost in each second');
  assert.ok(likeness(interrupted, grace.samples) < OTHER_MAX);
});

for (const format of ['opus', 'wav']) {
  scene(`in a call, each hears the words of the other and not its own, in ${format}`, async (scene) => {
    const [one, two] = await Promise.all([speak(folder, 'ada', ADA, 'en-gb'), speak(folder, 'grace', GRACE, 'en-us')]);
    const [ada, grace] = await Promise.all([scene.comes('Ada', one.file), scene.comes('Grace', two.file)]);
    for (const person of [ada, grace]) {
      await person.at('sound').evaluate((details) => details.setAttribute('open', ''));
      await person.at('format').selectOption(format);
    }
    await ada.connects(grace);

    const [byAda, byGrace] = await Promise.all([recorded(ada), recorded(grace)]);

    const heard = {
      'Ada hears Grace': likeness(byAda, two.samples),
      'Grace hears Ada': likeness(byGrace, one.samples),
      'Ada hears Ada': likeness(byAda, one.samples),
      'Grace hears Grace': likeness(byGrace, two.samples),
    };
    assert.ok(heard['Ada hears Grace'] > INTELLIGIBLE && heard['Grace hears Ada'] > INTELLIGIBLE, JSON.stringify(heard));
    assert.ok(heard['Ada hears Ada'] < OTHER_MAX && heard['Grace hears Grace'] < OTHER_MAX, JSON.stringify(heard));
  });
}
