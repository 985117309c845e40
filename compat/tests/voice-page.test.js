/** The page at `/voice` with keys, operated like a user does, each with a microphone of its own. */
import assert from 'node:assert/strict';
import { voiceStage } from '../lib/voice-stage.js';

const ADA_HZ = 440;
const GRACE_HZ = 1000;
const LINUS_HZ = 1700;

const scene = voiceStage();

/** @typedef {import('../lib/voice-stage.js').VoiceScene} VoiceScene */
/** @typedef {import('../lib/voice-person.js').Person} Person */

/** @param {VoiceScene} scene */
async function twoPeople(scene, format = 'wav') {
  const [ada, grace] = await Promise.all([scene.comes('Ada', ADA_HZ), scene.comes('Grace', GRACE_HZ)]);
  await Promise.all([ada.prefers(format), grace.prefers(format)]);
  return { ada, grace };
}

/** @param {Person} caller @param {Person} callee */
async function connect(caller, callee) {
  await caller.calls(callee);
  await callee.isRungBy(caller, 'verified');
  await callee.at('accept').click();
  await Promise.all([caller.talksWith('call', callee.address), callee.talksWith('call', caller.address)]);
}

for (const format of ['wav', 'opus', 'vorbis']) {
  scene(`Ada calls Grace, who sees that it is her: each hears the other alone, in ${format}`, async (scene) => {
    const { ada, grace } = await twoPeople(scene, format);

    await connect(ada, grace);

    await Promise.all([ada.hears([grace], [ada, grace]), grace.hears([ada], [ada, grace])]);
    for (const person of [ada, grace]) await person.shows('talk', { verified: 'true', format });
  });
}

scene('who is muted is not heard, and hears on', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await connect(ada, grace);
  await grace.hears([ada], [ada, grace]);

  await ada.at('mute').click();
  await Promise.all([grace.hears([], [ada, grace]), ada.hears([grace], [ada, grace])]);
  await ada.at('mute').click();
  await grace.hears([ada], [ada, grace]);
});

scene('one hangs up, and the other is told', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await connect(ada, grace);

  await grace.at('hang-up').click();

  await Promise.all([ada.isAlone(), grace.isAlone(), ada.reads('notice', 'has ended')]);
  await connect(grace, ada);
});

scene('a call that is declined', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await ada.calls(grace);
  await grace.isRungBy(ada, 'verified');

  await grace.at('decline').click();

  await Promise.all([ada.reads('call-error', 'declined'), ada.isAlone(), grace.at('incoming-call').waitFor({ state: 'hidden' })]);
});

scene('a call that is cancelled rings no more', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await ada.calls(grace);
  await grace.isRungBy(ada, 'verified');

  await ada.at('hang-up').click();

  await Promise.all([ada.isAlone(), grace.at('incoming-call').waitFor({ state: 'hidden' }), grace.reads('notice', 'Missed')]);
});

scene('nobody is there: the page says so', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await grace.page.close();
  ada.excused.push(/status of 404/);

  await ada.calls(grace);

  await Promise.all([ada.reads('call-error', 'This user is not online'), ada.isAlone()]);
});

scene('two tabs of one person ring, and fall silent when one accepts', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  const again = await scene.again(grace);
  assert.equal(again.address, grace.address);
  await ada.calls(grace);
  await Promise.all([grace.isRungBy(ada, 'verified'), again.isRungBy(ada, 'verified')]);

  await again.at('accept').click();

  await Promise.all([ada.talksWith('call', grace.address), again.talksWith('call', ada.address)]);
  await Promise.all([grace.at('incoming-call').waitFor({ state: 'hidden' }), grace.isAlone()]);
  await Promise.all([ada.hears([again], [ada, again]), again.hears([ada], [ada, again])]);
});

scene('who reloads within a call takes it up again', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  await connect(ada, grace);

  await grace.page.reload();
  await grace.arrives();
  await grace.at('rejoin-yes').click();

  await grace.talksWith('call', ada.address);
  await Promise.all([ada.hears([grace], [ada, grace]), grace.hears([ada], [ada, grace])]);
});

scene('a second tab takes over in a room, and the first one says so and does not come back by itself', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  const again = await scene.again(ada);
  for (const person of [grace, ada, again]) {
    await person.at('room-name').fill(scene.room);
    await person.at('room-button').click();
    await person.shows('talk', { kind: 'room', other: scene.room, down: 'on' });
    if (person === grace) continue;
    await person.at('talk-toggle').click();
    await person.talksWith('room', scene.room);
  }

  await Promise.all([ada.shows('talk', { up: 'failed', down: 'failed' }), ada.reads('talk-problem', 'has taken over')]);
  await grace.hears([again], [again, grace]);
  await again.talksWith('room', scene.room);
  await ada.shows('talk', { up: 'failed', down: 'failed' });
});

scene('three in a room: the list, who is there, who speaks, and leaving', async (scene) => {
  const { ada, grace } = await twoPeople(scene);
  const linus = await scene.comes('Linus', LINUS_HZ);
  await linus.prefers('opus');
  const all = [ada, grace, linus];

  await ada.at('room-name').fill(scene.room);
  await ada.at('room-button').click();
  await ada.shows('talk', { kind: 'room', other: scene.room, down: 'on' });
  const place = await ada.at('talk-toggle').boundingBox();
  for (const guest of [grace, linus]) {
    await guest.at('room').filter({ hasText: scene.room }).getByTestId('room-join').click();
    await guest.shows('talk', { kind: 'room', other: scene.room, down: 'on' });
  }
  await Promise.all(all.map((person) => person.shows('room', { room: scene.room, count: '3' })));
  await Promise.all(all.flatMap((person) => all.map(({ address }) => person.shows('member', { address, mic: 'false', headphones: 'true', speaking: 'false' }))));
  assert.deepEqual(await ada.at('talk-toggle').boundingBox(), place, 'the button stays under the pointer when members join');

  for (const speaker of [ada, grace]) {
    await speaker.at('talk-toggle').click();
    await speaker.talksWith('room', scene.room);
  }
  await Promise.all([ada.hears([grace], all), grace.hears([ada], all), linus.hears([ada, grace], all)]);
  await Promise.all([ada, grace].flatMap(({ address }) => all.map((person) => person.shows('member', { address, mic: 'true', speaking: 'true' }))));
  await linus.shows('member', { address: linus.address, mic: 'false', speaking: 'false' });

  await grace.at('hang-up').click();
  await Promise.all([grace.isAlone(), ada.shows('room', { room: scene.room, count: '2' }), grace.shows('room', { room: scene.room, count: '2' })]);
  await Promise.all([linus.hears([ada], all), ada.hears([], all)]);
});
