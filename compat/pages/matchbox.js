/** A client of matchbox, like its socket in a browser: a client that gets `NewPeer` sends the offer. */
import { Calls } from './calls.js';
import { complain, openSocket, parameter, state } from './page.js';
import { video } from './video.js';

const KEEP_ALIVE_MS = 10_000;

/** @param {string} receiver @param {object} data */
function say(receiver, data) {
  socket.send({ Signal: { receiver, data } });
}

const calls = new Calls(
  {
    offer: (id, sdp) => say(id, { Offer: sdp }),
    answer: (id, sdp) => say(id, { Answer: sdp }),
    candidate: (id, candidate) => say(id, { IceCandidate: JSON.stringify(candidate) }),
    gathered: (id) => say(id, { IceCandidate: 'null' }),
  },
  video,
);

/** @type {Record<string, (sender: string, said: string) => void>} */
const SAID = {
  Offer: (sender, sdp) => calls.takeOffer(sender, sdp),
  Answer: (sender, sdp) => calls.takeAnswer(sender, sdp),
  IceCandidate(sender, json) {
    const candidate = JSON.parse(json);
    if (candidate) calls.takeCandidate(sender, candidate);
  },
};

/** @type {Record<string, (content: any) => void>} */
const ON = {
  IdAssigned(id) {
    state.myId = id;
    state.joined = true;
  },
  NewPeer: (id) => calls.call(id),
  PeerLeft: (id) => calls.left(id),
  Signal({ sender, data }) {
    const [[kind, said]] = Object.entries(data);
    (SAID[kind] ?? (() => complain('signal', data)))(sender, said);
  },
};

const socket = openSocket(`/matchbox/${encodeURIComponent(parameter('room'))}`, {
  opened: () => setInterval(() => socket.send('KeepAlive'), KEEP_ALIVE_MS),
  frame(frame) {
    const [[kind, content]] = Object.entries(frame);
    (ON[kind] ?? (() => complain('frame', frame)))(content);
  },
});
