/** Rooms of several dialects: all members connect, and of every two the one named in the documentation sends the offer. */
import assert from 'node:assert/strict';
import { calling, fullMesh, leavesAndAllAreTold } from '../lib/full-mesh.js';
import { LONG } from '../lib/original.js';
import { outputFile, stage, startOneNode } from '../lib/stage.js';
import { whoCalls } from '../lib/who-calls.js';

/** @typedef {import('../lib/guest.js').Guest} Guest */
/** @typedef {import('../lib/stage.js').Scene} Scene */
/** @typedef {{ title: string, dialect: string, parameters: Record<string, string> }} Kind */

// The room is a key of PeerJS, which other dialects can enter only with `mixed`.
const PEERJS = { SWITCHBOARD_PEERJS_KEYS: '*', SWITCHBOARD_PEERJS_MIXED: 'true' };
const scene = stage({ open: (closers) => startOneNode(closers, PEERJS) });

/** @type {Record<string, Kind>} */
const KIND = {
  lightstream: { title: 'lightstream', dialect: 'lightstream', parameters: {} },
  lightstreamPayload: { title: 'lightstream with `payload`', dialect: 'lightstream', parameters: { field: 'payload' } },
  lightstreamNamed: { title: 'lightstream with named keys', dialect: 'lightstream', parameters: { field: 'named' } },
  singo: { title: 'singo', dialect: 'singo', parameters: {} },
  oldSingo: { title: 'singo of the first version', dialect: 'singo', parameters: { trickle: '0' } },
  p2p: { title: 'p2p', dialect: 'p2p', parameters: {} },
  mesh: { title: 'mesh', dialect: 'mesh', parameters: { call: '0' } },
  oddMesh: { title: 'mesh that answers under kind Offer', dialect: 'mesh', parameters: { call: '0', answer: 'Offer' } },
  ayame: { title: 'ayame', dialect: 'ayame', parameters: {} },
  matchbox: { title: 'matchbox', dialect: 'matchbox', parameters: {} },
  peerjs: { title: 'peerjs', dialect: 'peerjs', parameters: {} },
};

const EVERY_DIALECT = [KIND.lightstream, KIND.singo, KIND.p2p, KIND.mesh, KIND.ayame, KIND.matchbox, KIND.peerjs];

// Of each pair one order, which the sum of their places chooses, so that each dialect comes first and comes later; the
// other orders only with SWITCHBOARD_LONG=1.
for (const [first, member] of EVERY_DIALECT.entries()) {
  for (const [second, newcomer] of EVERY_DIALECT.entries()) {
    const isChosen = (first + second) % 2 === 0 ? first < second : first > second;
    if (newcomer !== member && (LONG || isChosen)) meeting(member, newcomer);
  }
}

for (const [one, other] of [
  [KIND.lightstreamPayload, KIND.p2p],
  [KIND.lightstreamNamed, KIND.p2p],
  [KIND.oldSingo, KIND.p2p],
  [KIND.oldSingo, KIND.lightstream],
  [KIND.oddMesh, KIND.p2p],
]) {
  meeting(one, other);
  meeting(other, one);
}

/** @param {Kind} member @param {Kind} newcomer */
function meeting(member, newcomer) {
  scene(`${newcomer.title} joins ${member.title}`, async (scene) => {
    const caller = whoCalls(newcomer.dialect, member.dialect);
    const first = await enters(scene, member);
    const second = caller === 'either side' ? await entersAndCalls(scene, newcomer, first) : await enters(scene, newcomer);

    const calls = await fullMesh([first, second]);

    assert.deepEqual(calls, [caller === 'the member' ? calling(first, second) : calling(second, first)]);
    // PeerJS clients are told of a leave only after a call.
    if (newcomer.dialect !== 'peerjs') await leavesAndAllAreTold(first, [second]);
  });
}

/** @param {Scene} scene @param {Kind} kind @param {Record<string, string>} [more] parameters */
async function enters(scene, { dialect, parameters }, more) {
  const room = dialect === 'peerjs' && { key: scene.room };
  return scene.join(dialect, { ...parameters, ...room, ...more });
}

/** The server requests an offer of neither side: the newcomer finds the member in a list, or knows its id. @param {Scene} scene @param {Kind} newcomer @param {Guest} member */
async function entersAndCalls(scene, newcomer, member) {
  if (newcomer.dialect === 'mesh') return enters(scene, newcomer, { call: '1' });
  const guest = await enters(scene, newcomer);
  await dials(guest, member);
  return guest;
}

/** @param {Guest} caller one of PeerJS @param {Guest} called */
async function dials(caller, called) {
  const { myId } = await called.state();
  await caller.page.evaluate((id) => window.call(id), myId);
}

/** All dialects except ayame, whose rooms have two members. */
const TOGETHER = [KIND.lightstream, KIND.singo, KIND.mesh, KIND.p2p, KIND.matchbox, KIND.peerjs];

scene('six dialects in one room, one after the other', async (scene) => {
  const guests = [];
  for (const kind of TOGETHER) guests.push(await enters(scene, kind));
  const [, , mesh, , , peerjs] = guests;
  await dials(peerjs, mesh);

  const calls = await fullMesh(guests);

  assert.equal(calls.length, 15);
  await peerjs.page.screenshot({ path: outputFile('six-dialects.png') });
  const others = guests.slice(0, -1);
  await leavesAndAllAreTold(peerjs, others);
  await fullMesh(others);
});

scene('six dialects in one room, all at the same moment', async (scene) => {
  const guests = await Promise.all(TOGETHER.map((kind) => enters(scene, kind)));
  const [, , mesh, , , peerjs] = guests;
  await dials(peerjs, mesh);

  const calls = await fullMesh(guests);

  assert.equal(calls.length, 15);
});

/** The data channel of the page of p2p-go-app, as a PeerJS connection. */
const CHANNEL = { serialization: 'raw', label: 'chat' };

scene('text: p2p joins peerjs', async (scene) => {
  const peerjs = await enters(scene, KIND.peerjs);
  const p2p = await scene.join('p2p-chat');
  await chat({ caller: p2p, called: peerjs, peerjs, p2p });
});

scene('text: peerjs joins p2p', async (scene) => {
  const p2p = await scene.join('p2p-chat');
  const peerjs = await enters(scene, KIND.peerjs);
  await chat({ caller: p2p, called: peerjs, peerjs, p2p });
});

scene('text: peerjs joins p2p, and calls one that waits to be called', async (scene) => {
  const p2p = await scene.join('p2p-chat', { call: '0' });
  const peerjs = await enters(scene, KIND.peerjs);
  const { myId } = await p2p.state();
  await peerjs.page.evaluate(([id, channel]) => window.dial(id, channel), /** @type {const} */ ([myId, CHANNEL]));
  await chat({ caller: peerjs, called: p2p, peerjs, p2p });
});

/** @param {Record<'caller' | 'called' | 'peerjs' | 'p2p', Guest>} guests */
async function chat({ caller, called, peerjs, p2p }) {
  assert.deepEqual(await fullMesh([caller, called], { moving: false }), [calling(caller, called)]);
  // A member that has received a message may send: its channel is open.
  await peerjs.page.evaluate((content) => window.say(JSON.stringify({ content })), 'from peerjs');
  await hears(p2p, peerjs, 'from peerjs');
  await p2p.page.evaluate((content) => window.say(content), 'from p2p');
  await peerjs.until('a message', () => window.state.messages.length > 0);
  const [{ from, content }] = (await peerjs.state()).messages;
  assert.deepEqual([from, JSON.parse(content).content], [(await p2p.state()).myId, 'from p2p']);
}

/** @param {Guest} guest @param {Guest} speaker @param {string} words */
async function hears(guest, speaker, words) {
  await guest.until('a message', () => window.state.messages.length > 0);
  assert.deepEqual((await guest.state()).messages, [{ from: (await speaker.state()).myId, content: words }]);
}
