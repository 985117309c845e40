/** The page at `/voice`: names, keys, links and devices. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { voiceStage } from '../lib/voice-stage.js';

const ADA_HZ = 440;
const GRACE_HZ = 1000;

const scene = voiceStage({ hasInterface: true });

/** @param {string} address */
const short = (address) => `${address.slice(0, 8)}…${address.slice(-4)}`;

/** @param {import('../lib/voice-stage.js').VoiceScene} scene */
async function twoPeople(scene) {
  const [ada, grace] = await Promise.all([scene.comes('Ada', ADA_HZ), scene.comes('Grace', GRACE_HZ)]);
  await Promise.all([ada.prefers('wav'), grace.prefers('wav')]);
  return { ada, grace };
}

scene('a display name is shown beside the key, in a call and in a room, and never alone', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await ada.isNamed('  Ada\u202e  Lovelace ');
  assert.equal(await ada.at('my-name').inputValue(), 'Ada Lovelace');
  await grace.isNamed('Grace');

  await ada.calls(grace);
  await grace.isRungBy(ada, 'verified');
  const ringing = await grace.at('incoming-call').innerText();
  assert.match(ringing, /Ada Lovelace/);
  assert.ok(ringing.includes(`(${short(ada.address)})`), ringing);
  await grace.at('accept').click();
  await Promise.all([ada.talksWith('call', grace.address), grace.talksWith('call', ada.address)]);
  await ada.reads('talk-title', `(${short(grace.address)})`);
  await ada.reads('talk-title', 'Grace');

  for (const person of [ada, grace]) await person.enters(scene.room);
  const row = ada.page.locator(`[data-testid="member"][data-address="${grace.address}"]`);
  await row.getByTestId('member-name').filter({ hasText: 'Grace' }).waitFor();
  assert.equal(await row.getByTestId('member-key').innerText(), short(grace.address));

  // The others learn of a new name, and of none.
  await grace.isNamed('Rear Admiral');
  await row.getByTestId('member-name').filter({ hasText: 'Rear Admiral' }).waitFor();
  await grace.isNamed('');
  await row.getByTestId('member-name').filter({ hasText: /^$/ }).waitFor({ state: 'attached' });
});

scene('a name that a person gave a key holds over the name that the key gave itself', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await ada.isNamed('Somebody else');
  await ada.connects(grace);

  await grace.at('name-input').fill('Ada');
  await grace.at('name-save').click();

  await grace.page.getByTestId('talk-title').filter({ hasText: /^Ada$/ }).waitFor();
});

scene('a key is saved to a file, and opened in another browser', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await ada.at('key-file').click();
  const [download] = await Promise.all([ada.page.waitForEvent('download'), ada.at('key-export').click()]);
  const bytes = await readFile(await download.path());
  assert.match(bytes.toString(), /^[0-9a-f]{64}\n$/);

  await grace.at('key-file').click();
  const { length } = await grace.page.evaluate(() => localStorage['switchboard.voice.key']);
  assert.equal(length, 64);
  for (const nonsense of ['', 'hello', 'f'.repeat(64), '0'.repeat(64), 'a'.repeat(5_000)]) {
    await grace.at('key-import-file').setInputFiles({ name: 'some.key', mimeType: 'text/plain', buffer: Buffer.from(nonsense) });
    await grace.reads('key-problem', 'contains no key');
    assert.ok(await grace.at('key-import').isDisabled());
    await grace.at('key-import-file').setInputFiles([]);
    await grace.at('key-problem').waitFor({ state: 'hidden' });
  }
  await grace.at('key-import-file').setInputFiles({ name: 'switchboard-voice.key', mimeType: 'text/plain', buffer: bytes });
  await grace.reads('key-found', short(ada.address));
  await Promise.all([grace.page.waitForEvent('load'), grace.at('key-import').click()]);

  await grace.arrives();
  assert.equal(grace.address, ada.address);
});

scene('the link of a room opens the page and offers to join', async (scene) => {
  const { ada } = await twoPeople(scene);
  const room = `${scene.room} & “more”`;
  await ada.enters(room);
  await ada.page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await ada.at('copy-room-link').click();
  await ada.reads('copy-room-link', 'Copied');
  const link = new URL(await ada.page.evaluate(() => navigator.clipboard.readText()));

  const grace = await scene.comes('Grace', GRACE_HZ, { hash: link.hash });
  await grace.reads('invitation', room);
  await grace.isAlone();
  await grace.at('invitation-yes').click();

  await grace.shows('talk', { kind: 'room', other: room, down: 'on' });
  await ada.shows('member', { address: grace.address });
});

scene('another microphone and speaker, in a call, without an interruption', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await ada.connects(grace);
  await grace.hears([ada], [ada, grace]);
  let sockets = 0;
  ada.page.on('websocket', () => (sockets += 1));

  for (const choice of ['microphone-choice', 'speaker-choice']) {
    const options = ada.at(choice).locator('option');
    // The browser lists the devices once one of them is open.
    await options.nth(1).waitFor({ state: 'attached' });
    const values = await options.evaluateAll((all) => all.map((option) => /** @type {HTMLOptionElement} */ (option).value));
    await ada.at(choice).selectOption(values.at(-1) ?? '');
    await Promise.all([ada.hears([grace], [ada, grace]), grace.hears([ada], [ada, grace])]);
  }

  await ada.talksWith('call', grace.address);
  assert.equal(await ada.at('sound-problem').isVisible(), false);
  assert.equal(sockets, 0);
  // The choice outlasts the page.
  const chosen = await ada.at('microphone-choice').inputValue();
  await ada.page.reload();
  await ada.arrives();
  await ada.page.waitForFunction((value) => /** @type {HTMLSelectElement} */ (document.getElementById('microphone-choice')).value === value, chosen);
});

scene('where no audio device can be opened, the page says so, and asks for no click', async (scene) => {
  const ada = await scene.comes('Ada', ADA_HZ, {
    // As Firefox is without a device.
    prepare: () => {
      AudioContext.prototype.resume = () => new Promise(() => {});
      Object.defineProperty(AudioContext.prototype, 'state', { get: () => 'suspended' });
    },
  });
  await ada.at('room-name').fill(scene.room);
  await ada.at('room-button').click();

  await ada.reads('talk-status', 'No audio device could be opened');
});

scene('where the browser makes no audio context, the page says so, and can be called', async (scene) => {
  const ada = await scene.comes('Ada', ADA_HZ, {
    prepare: () => {
      // @ts-ignore: a class that cannot be made.
      window.AudioContext = class extends EventTarget {
        constructor() {
          super();
          throw new DOMException('no device', 'NotSupportedError');
        }
      };
    },
  });
  await ada.at('room-name').fill(scene.room);
  await ada.at('room-button').click();
  await ada.reads('talk-problem', 'No audio device could be opened');

  const grace = await scene.comes('Grace', GRACE_HZ);
  await grace.calls(ada);
  await ada.isRungBy(grace, 'verified');
});
