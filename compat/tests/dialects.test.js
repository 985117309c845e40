/** Each dialect alone: three pages connect in a full mesh, by the offer policy of the dialect. */
import assert from 'node:assert/strict';
import { calling, fullMesh, leavesAndAllAreTold } from '../lib/full-mesh.js';
import { outputFile, stage } from '../lib/stage.js';

const scene = stage();

/** @type {{ title: string, dialect: string, parameters: Record<string, string>, caller: 'newcomer' | 'member' }[]} */
const KINDS = [
  { title: 'lightstream, `data`', dialect: 'lightstream', parameters: { field: 'data' }, caller: 'newcomer' },
  { title: 'lightstream, `payload`', dialect: 'lightstream', parameters: { field: 'payload' }, caller: 'newcomer' },
  { title: 'lightstream, named keys', dialect: 'lightstream', parameters: { field: 'named' }, caller: 'newcomer' },
  { title: 'singo', dialect: 'singo', parameters: {}, caller: 'member' },
  { title: 'singo of the first version', dialect: 'singo', parameters: { trickle: '0' }, caller: 'member' },
  { title: 'mesh', dialect: 'mesh', parameters: {}, caller: 'newcomer' },
  { title: 'mesh, answers under kind Offer', dialect: 'mesh', parameters: { answer: 'Offer' }, caller: 'newcomer' },
  { title: 'p2p', dialect: 'p2p', parameters: {}, caller: 'newcomer' },
];

for (const { title, dialect, parameters, caller } of KINDS) {
  scene(`three pages of one dialect: ${title}`, async (scene) => {
    const first = await scene.join(dialect, parameters);
    const second = await scene.join(dialect, parameters);
    const third = await scene.join(dialect, parameters);

    const calls = await fullMesh([first, second, third]);

    const meetings = [[first, second], [first, third], [second, third]];
    const expected = meetings.map(([member, newcomer]) => (caller === 'member' ? calling(member, newcomer) : calling(newcomer, member)));
    assert.deepEqual(calls, expected.sort());
    await third.page.screenshot({ path: outputFile(`three-${title.match(/\w+/g)?.join('-')}.png`) });
    await leavesAndAllAreTold(second, [first, third]);
    await fullMesh([first, third]);
  });
}

for (const dialect of ['lightstream', 'singo', 'p2p']) {
  scene(`three pages of one dialect, all at the same moment: ${dialect}`, async (scene) => {
    const guests = await Promise.all([scene.join(dialect), scene.join(dialect), scene.join(dialect)]);

    const calls = await fullMesh(guests);

    assert.equal(calls.length, 3);
  });
}
