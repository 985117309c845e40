/** Two nodes that share a Redis. The members join them in turn. */
import assert from 'node:assert/strict';
import { startTwoNodes } from '../lib/cluster.js';
import { fullMesh, leavesAndAllAreTold } from '../lib/full-mesh.js';
import { stage } from '../lib/stage.js';
import { voiceStage } from '../lib/voice-stage.js';
import { missing } from '../lib/voice-tools.js';

const ADA_HZ = 440;
const GRACE_HZ = 1000;

const absent = missing('redis-server');
const scene = stage({ open: startTwoNodes, absent });

scene('three people on two nodes see each other, chat, and see who leaves', async (scene) => {
  const ada = await scene.visit('Ada');
  const grace = await scene.visit('Grace');
  const linus = await scene.visit('Linus');
  assert.notEqual(new URL(ada.page.url()).port, new URL(grace.page.url()).port);
  await Promise.all([ada.sees('Grace', 'Linus'), grace.sees('Ada', 'Linus'), linus.sees('Ada', 'Grace')]);

  await grace.writes('Hello, other node');
  await Promise.all([ada.reads('Grace', 'Hello, other node'), linus.reads('Grace', 'Hello, other node')]);

  await grace.page.getByTestId('leave').click();
  await Promise.all([ada.sees('Linus'), linus.sees('Ada'), ada.isToldOf('Grace')]);
});

for (const [one, other] of [
  ['lightstream', 'lightstream'],
  ['p2p', 'p2p'],
  ['singo', 'singo'],
  ['lightstream', 'singo'],
  ['p2p', 'lightstream'],
]) {
  scene(`${one} on a node, then ${other} on the other`, async (scene) => {
    const guests = [await scene.join(one), await scene.join(other), await scene.join(one)];
    const calls = await fullMesh(guests);
    assert.equal(calls.length, 3, `of each two, one calls: ${calls}`);
    await leavesAndAllAreTold(guests[1], [guests[0], guests[2]]);
  });
}

const voiceScene = voiceStage({ open: openVoiceHouse, absent });

voiceScene('Ada on a node calls Grace on the other by voice, and each hears the other alone', async (scene) => {
  const [ada, grace] = await Promise.all([scene.comes('Ada', ADA_HZ), scene.comes('Grace', GRACE_HZ)]);
  assert.notEqual(new URL(ada.page.url()).port, new URL(grace.page.url()).port);
  await Promise.all([ada.prefers('opus'), grace.prefers('opus')]);
  await ada.calls(grace);
  await grace.isRungBy(ada, 'verified');
  await grace.at('accept').click();
  await Promise.all([ada.talksWith('call', grace.address), grace.talksWith('call', ada.address)]);
  await Promise.all([ada.hears([grace], [ada, grace]), grace.hears([ada], [ada, grace])]);
});

/** @param {import('../lib/cluster.js').Closers} closers */
async function openVoiceHouse(closers) {
  const servers = await startTwoNodes(closers);
  let next = 0;
  return {
    server: servers[0],
    openPage: (/** @type {import('../lib/voice-person.js').Person} */ { page }) => page.goto(`${servers[next++ % servers.length].origin}/voice`),
  };
}
