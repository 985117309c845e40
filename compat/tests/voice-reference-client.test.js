/** Clients like the page of gostream call each other. */
import assert from 'node:assert/strict';
import { stage } from '../lib/stage.js';
import { ellipticScript } from '../lib/voice-elliptic.js';
import { hearsOnly } from '../lib/voice-ear.js';

const scene = stage();

scene('two pages as gostream has one call each other, and each hears the other alone', async (scene) => {
  await scene.context.addInitScript({ content: ellipticScript() });
  const ada = await scene.join('gostream', { tone: '440' });
  const grace = await scene.join('gostream', { tone: '1000' });
  const { myId } = await grace.state();

  await ada.page.evaluate((key) => window.voice.call(key), myId);

  const heard = () => window.voice.heard();
  await Promise.all([hearsOnly(ada, heard, 1000, 440), hearsOnly(grace, heard, 440, 1000)]);
  const [ofAda, ofGrace] = await Promise.all([ada, grace].map(({ page }) => page.evaluate(() => window.voice.events())));
  const names = (/** @type {Record<string, any>[]} */ events) => events.map(({ name }) => name).filter((name) => name !== 'setAudioConf');
  assert.deepEqual([names(ofAda), names(ofGrace)], [['answer', 'acceptedCall'], ['newCall', 'answer2']]);
  const [latest] = ofAda.filter(({ name }) => name === 'setAudioConf').slice(-1);
  assert.deepEqual([latest?.from, latest?.in, latest?.out, latest && 'roomid' in latest], [myId, '1', '1', false]);
  for (const guest of [ada, grace]) {
    assert.deepEqual((await guest.state()).errors, []);
    for (const problem of guest.problems.splice(0)) assert.match(problem, /ScriptProcessorNode is deprecated/);
  }
});
