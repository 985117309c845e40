/** The voice page as part of the website `examples/site`, which authenticates the users and decides their permissions. */
import assert from 'node:assert/strict';
import { openSite } from '../lib/voice-site.js';
import { voiceStage } from '../lib/voice-stage.js';

const scene = voiceStage({ open: openSite });

/** @param {import('../lib/voice-stage.js').VoiceScene} scene */
async function adaAndGrace(scene) {
  const people = await Promise.all([scene.comes('Ada', 440), scene.comes('Grace', 1000)]);
  await Promise.all(people.map((person) => person.prefers('wav')));
  return people;
}

scene('one calls another by number, the site vouches for both, and each hears the other alone', async (scene) => {
  const [ada, grace] = await adaAndGrace(scene);
  assert.deepEqual([ada.address, grace.address], ['1', '2']);

  await ada.calls(grace);
  await grace.isRungBy(ada, 'vouched');
  await grace.at('accept').click();
  await Promise.all([ada.talksWith('call', '2'), grace.talksWith('call', '1')]);
  await Promise.all([ada.hears([grace], [ada, grace]), grace.hears([ada], [ada, grace])]);

  await ada.at('hang-up').click();
  await Promise.all([ada.isAlone(), grace.isAlone()]);
});

scene('who may not call is told so, and nothing rings', async (scene) => {
  const [grace, linus] = await Promise.all([scene.comes('Grace', 1000), scene.comes('Linus', 1700)]);

  grace.excused.push(/(status of|response code:) 403/);

  await grace.calls(linus);

  await grace.reads('call-error', 'may not call');
  assert.equal(await linus.at('incoming-call').count(), 0);
});

scene('a room by its number: who may speak is heard, who may only listen is told so', async (scene) => {
  const [ada, grace] = await adaAndGrace(scene);
  const lecture = '2';
  for (const person of [ada, grace]) {
    await person.at('room-name').fill(lecture);
    await person.at('room-button').click();
    await person.shows('talk', { kind: 'room', other: lecture, down: 'on' });
  }

  await ada.at('talk-toggle').click();
  await ada.talksWith('room', lecture);
  await grace.hears([ada], [ada, grace]);
  await grace.shows('member', { address: ada.address, speaking: 'true' });
  grace.excused.push(/(status of|response code:) 403/);
  await grace.at('talk-toggle').click();

  await grace.reads('talk-problem', 'may not');
  await ada.hears([], [ada, grace]);
});
