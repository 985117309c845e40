import assert from 'node:assert/strict';

/**
 * @typedef {import('./guest.js').Guest} Guest
 * @typedef {import('../pages/state.js').PeerState} PeerState
 * @typedef {{ guest: Guest, id: string, peer: PeerState }} End one guest's end of a connection; `id` is the id of the peer at the other end
 */

const MOVING_FRAMES = 5;

/**
 * Waits until all guests are connected with each other and see each other's picture move, if there is one. Of every two
 * exactly one has sent the offer.
 * @param {Guest[]} guests @param {{ moving?: boolean }} [options]
 * @returns {Promise<string[]>} the caller and callee of each pair, sorted
 */
export async function fullMesh(guests, { moving = true } = {}) {
  const meets = moving ? seesEverybody : connectedWith;
  await Promise.all(guests.map((guest) => meets(guest, guests.length - 1)));
  const ends = (await Promise.all(guests.map(endsOf))).flat();
  return ends.filter(({ peer }) => peer.offersMade > 0).map((end) => callOf(end, ends)).sort();
}

/** @param {Guest} guest @param {number} count */
export async function seesEverybody(guest, count) {
  await connectedWith(guest, count);
  await seesMoving(guest);
}

/** @param {Guest} guest @param {number} count */
export async function connectedWith(guest, count) {
  await guest.until(
    `connected with exactly ${count}`,
    (wanted) => {
      const all = Object.values(window.state.peers);
      return all.length === wanted && all.every((peer) => peer.connectionState === 'connected');
    },
    count,
  );
}

/** @param {Guest} guest */
async function seesMoving(guest) {
  const { peers } = await guest.state();
  const wanted = Object.entries(peers).map(([id, { frames }]) => ({ id, frames: frames + MOVING_FRAMES }));
  await guest.until(
    'every video moving',
    (goals) => {
      const now = window.state.peers;
      return goals.every(({ id, frames }) => now[id].videoWidth > 0 && now[id].frames >= frames);
    },
    wanted,
  );
}

/** @param {Guest} guest @returns {Promise<End[]>} */
async function endsOf(guest) {
  const { peers, errors } = await guest.state();
  assert.deepEqual(errors, [], `${guest.name} has something to complain about`);
  return Object.entries(peers).map(([id, peer]) => ({ guest, id, peer }));
}

/** @param {End} end @param {End[]} ends */
function callOf(end, ends) {
  const others = ends.filter(({ peer }) => isOtherEnd(end.peer, peer));
  assert.equal(others.length, 1, `${end.guest.name} has a connection with ${end.id} that nobody else has`);
  const [other] = others;
  const offers = [end.peer.offersMade, end.peer.offersGot, other.peer.offersMade, other.peer.offersGot];
  assert.deepEqual(offers, [1, 0, 0, 1], `offers made and got by ${end.guest.name} and ${other.guest.name}`);
  return calling(end.guest, other.guest);
}

/** @param {Guest} caller @param {Guest} called */
export function calling(caller, called) {
  return `${caller.name} calls ${called.name}`;
}

/** @param {PeerState} one @param {PeerState} other */
function isOtherEnd(one, other) {
  return one.localSession === other.remoteSession && one.remoteSession === other.localSession;
}

/**
 * Closes the page of a guest. Its peers get the leave in their dialects.
 * @param {Guest} leaver @param {Guest[]} others
 */
export async function leavesAndAllAreTold(leaver, others) {
  const gone = await Promise.all(others.map((other) => idOf(leaver, other)));
  await leaver.page.close();
  await Promise.all(others.map((other, index) => other.until('told who left', (id) => window.state.left.includes(id), gone[index])));
}

/** @param {Guest} guest @param {Guest} seenBy */
async function idOf(guest, seenBy) {
  const [own, others] = await Promise.all([endsOf(guest), endsOf(seenBy)]);
  const end = others.find((theirs) => own.some((mine) => isOtherEnd(mine.peer, theirs.peer)));
  assert.ok(end, `${seenBy.name} has no connection with ${guest.name}`);
  return end.id;
}
