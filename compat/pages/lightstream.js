/** A client of go-lightstream. `?field=` is the field of descriptions and candidates: data, payload or named. */
import { Calls } from './calls.js';
import { complain, openSocket, parameter, state } from './page.js';
import { video } from './video.js';

const roomID = parameter('room');
state.myId = parameter('name');

/** @type {Record<string, string>} */
const NAMED = { offer: 'offer', answer: 'answer', 'ice-candidate': 'candidate' };

/** @type {Record<string, { write: (type: string, value: object) => object, read: (frame: any) => any }>} */
const FIELDS = {
  data: {
    write: (_type, value) => ({ data: value }),
    read: (frame) => frame.data,
  },
  payload: {
    write: (_type, value) => ({ payload: JSON.stringify(value) }),
    read: (frame) => JSON.parse(frame.payload),
  },
  named: {
    write: (type, value) => ({ [NAMED[type]]: value }),
    read: (frame) => frame[NAMED[frame.type]],
  },
};
const field = FIELDS[parameter('field', 'data')];

/** @param {string} type @param {string} targetID @param {object} value */
function say(type, targetID, value) {
  socket.send({ type, senderID: state.myId, roomID, targetID, ...field.write(type, value) });
}

const calls = new Calls(
  {
    offer: (id, sdp) => say('offer', id, { type: 'offer', sdp }),
    answer: (id, sdp) => say('answer', id, { type: 'answer', sdp }),
    candidate: (id, candidate) => say('ice-candidate', id, candidate.toJSON()),
  },
  video,
);

const known = new Set();

/** @param {any} frame */
function signalled(frame) {
  if (!known.has(frame.senderID)) complain('signal from somebody never announced', frame);
  const value = field.read(frame);
  if (frame.type === 'offer') return calls.takeOffer(frame.senderID, value.sdp);
  if (frame.type === 'answer') return calls.takeAnswer(frame.senderID, value.sdp);
  return calls.takeCandidate(frame.senderID, value);
}

/** @type {Record<string, (frame: any) => void>} */
const ON = {
  peers({ peers }) {
    state.joined = true;
    for (const id of peers) {
      known.add(id);
      calls.call(id);
    }
  },
  'user-joined': ({ senderID }) => known.add(senderID),
  'user-left'({ senderID }) {
    known.delete(senderID);
    calls.left(senderID);
  },
  offer: signalled,
  answer: signalled,
  'ice-candidate': signalled,
};

const socket = openSocket('/ws', {
  opened: () => socket.send({ type: 'join', senderID: state.myId, roomID }),
  frame: (frame) => (ON[frame.type] ?? ((odd) => complain('frame', odd)))(frame),
});
