/** A client of singo. `?trickle=0` is a client of the first version, which waits for gathering and sends no candidates. */
import { Calls } from './calls.js';
import { complain, openSocket, parameter, state } from './page.js';
import { video } from './video.js';

const trickles = parameter('trickle', '1') === '1';

/** @param {string} type @param {object} payload */
function say(type, payload) {
  socket.send({ type, payload });
}

const calls = new Calls(
  {
    offer: (client_id, sdp) => say('offer', { sdp, client_id }),
    answer: (client_id, sdp) => say('answer', { sdp, client_id }),
    candidate: trickles ? (client_id, candidate) => say('ice-candidate', { ...withoutFragment(candidate), client_id }) : null,
  },
  video,
);

/** @param {RTCIceCandidate} candidate */
function withoutFragment({ candidate, sdpMid, sdpMLineIndex }) {
  return { candidate, sdpMid, sdpMLineIndex };
}

/** @type {Record<string, (payload: any) => void>} */
const ON = {
  'notify-client-id'({ client_id }) {
    state.myId = client_id;
    say('join', { room_id: parameter('room') });
    state.joined = true; // the dialect has no frame for it
  },
  'new-client': ({ client_id }) => calls.call(client_id),
  'leave-client': ({ client_id }) => calls.left(client_id),
  offer: ({ client_id, sdp }) => calls.takeOffer(client_id, sdp),
  answer: ({ client_id, sdp }) => calls.takeAnswer(client_id, sdp),
  'ice-candidate': ({ client_id, ...candidate }) => trickles && calls.takeCandidate(client_id, candidate),
  ping: () => socket.send({ type: 'pong' }),
};

const socket = openSocket('/connect', {
  frame: (frame) => (ON[frame.type] ?? (() => complain('frame', frame)))(frame.payload),
});
