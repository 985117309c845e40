/** Parts of the call page that need no browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ActiveSpeaker } from '../../web/js/active-speaker.js';

/** Every 100 ms, as the page's detector tells it. @param {ActiveSpeaker} speaker @param {number} from @param {number} until @param {string[]} talking */
function conversation(speaker, from, until, talking) {
  const changes = [];
  for (let now = from; now < until; now += 100) {
    for (const id of ['ada', 'grace']) if (speaker.hear(id, talking.includes(id), now)) changes.push(speaker.current);
  }
  return changes;
}

test('a member that talks becomes the active speaker, one that only coughs does not', () => {
  const speaker = new ActiveSpeaker();
  assert.deepEqual(conversation(speaker, 0, 600, ['ada']), []);
  assert.deepEqual(conversation(speaker, 600, 1_000, []), []);
  assert.deepEqual(conversation(speaker, 1_000, 3_000, ['ada']), ['ada']);
});

test('the active speaker keeps the place in a pause and against an interruption', () => {
  const speaker = new ActiveSpeaker();
  conversation(speaker, 0, 5_000, ['ada']);
  assert.deepEqual(conversation(speaker, 5_000, 20_000, ['ada', 'grace']), []);
  assert.deepEqual(conversation(speaker, 20_000, 21_000, ['ada']), []);
  assert.deepEqual(conversation(speaker, 21_000, 60_000, []), []);
  assert.equal(speaker.current, 'ada');
  assert.deepEqual(conversation(speaker, 60_000, 62_000, ['grace']), ['grace']);
});

test('two members that take turns fast change the active speaker every two seconds at most', () => {
  const speaker = new ActiveSpeaker();
  const changes = [];
  for (let now = 0; now < 20_000; now += 1_000) changes.push(...conversation(speaker, now, now + 1_000, [now % 2_000 ? 'ada' : 'grace']));
  assert.ok(changes.length >= 2 && changes.length <= 10, String(changes));
});

test('a member that left is not the active speaker', () => {
  const speaker = new ActiveSpeaker();
  conversation(speaker, 0, 2_000, ['ada']);
  assert.equal(speaker.remove('grace'), false);
  assert.equal(speaker.remove('ada'), true);
  assert.equal(speaker.current, '');
});
