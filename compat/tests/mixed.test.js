/** Rooms of several dialects: everybody connects with everybody, and of each two exactly one calls. */
import assert from 'node:assert/strict';
import { calling, fullMesh, leavesAndAllAreTold } from '../lib/full-mesh.js';
import { outputFile, stage } from '../lib/stage.js';

const scene = stage();

/** @typedef {{ title: string, dialect: string, parameters: Record<string, string> }} Kind */

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
};

/** @type {[Kind, Kind][]} */
const PAIRS = [
  [KIND.lightstream, KIND.singo],
  [KIND.lightstream, KIND.p2p],
  [KIND.singo, KIND.p2p],
  [KIND.lightstream, KIND.mesh],
  [KIND.singo, KIND.mesh],
  [KIND.p2p, KIND.mesh],
  [KIND.lightstreamPayload, KIND.p2p],
  [KIND.lightstreamNamed, KIND.p2p],
  [KIND.oldSingo, KIND.p2p],
  [KIND.oldSingo, KIND.lightstream],
  [KIND.oddMesh, KIND.p2p],
];

for (const [one, other] of PAIRS) {
  meeting(one, other);
  meeting(other, one);
}

/** @param {Kind} member @param {Kind} newcomer */
function meeting(member, newcomer) {
  scene(`${newcomer.title} joins ${member.title}`, async (scene) => {
    const first = await scene.join(member.dialect, member.parameters);
    const second = await scene.join(newcomer.dialect, newcomer.parameters);

    const calls = await fullMesh([first, second]);

    assert.deepEqual(calls, [newcomer.dialect === 'mesh' ? calling(first, second) : calling(second, first)]);
    await leavesAndAllAreTold(first, [second]);
  });
}

const EVERY_DIALECT = [KIND.lightstream, KIND.singo, KIND.mesh, KIND.p2p];

scene('all four dialects in one room, one after the other', async (scene) => {
  const guests = [];
  for (const { dialect, parameters } of EVERY_DIALECT) guests.push(await scene.join(dialect, parameters));

  const calls = await fullMesh(guests);

  assert.equal(calls.length, 6);
  await guests[3].page.screenshot({ path: outputFile('four-dialects.png') });
  const [leaver, ...others] = guests;
  await leavesAndAllAreTold(leaver, others);
  await fullMesh(others);
});

scene('all four dialects in one room, all at the same moment', async (scene) => {
  const guests = await Promise.all(EVERY_DIALECT.map(({ dialect, parameters }) => scene.join(dialect, parameters)));

  const calls = await fullMesh(guests);

  assert.equal(calls.length, 6);
});
