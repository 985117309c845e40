/**
 * A client of the mesh server. Among clients of this dialect, newcomers call all clients in the list (`?call=0`: this
 * client waits to be called). `?answer=Offer` is the client that sends its answers under the wrong kind.
 */
import { Calls } from './calls.js';
import { complain, openSocket, parameter, state } from './page.js';
import { video } from './video.js';

const OFFER = 1;
const ANSWER = 3;

/** @param {string} kind @param {string} reach @param {string} peerID @param {object | null} content */
function say(kind, reach, peerID, content) {
  socket.send({ kind, reach, sender: state.myId, peerID, content });
}

const calls = new Calls(
  {
    offer: (id, sdp) => say('Offer', 'OnePeer', id, { type: OFFER, sdp }),
    answer: (id, sdp) => say(parameter('answer', 'Answer'), 'OnePeer', id, { type: ANSWER, sdp }),
    candidate: (id, candidate) => say('ICECandidate', 'OnePeer', id, candidate.toJSON()),
  },
  video,
);

/** @param {{ sender: string, content: { type: number, sdp: string } }} frame */
function described({ sender, content }) {
  if (content.type === OFFER) calls.takeOffer(sender, content.sdp);
  else if (content.type === ANSWER) calls.takeAnswer(sender, content.sdp);
  else complain('description of an unknown type', content);
}

/** @type {Record<string, (frame: any) => void>} */
const ON = {
  IdentifySelf: ({ content }) => (state.myId = content.id),
  GetAllPeerIDs({ content }) {
    state.joined = true;
    if (parameter('call', '1') === '0') return;
    for (const id of content.peersIDs) if (id !== state.myId) calls.call(id);
  },
  Offer: described,
  Answer: described,
  ICECandidate: ({ sender, content }) => calls.takeCandidate(sender, content),
  DisconnectionNotification: ({ content }) => calls.left(content.disconnectedPeerID),
};

const socket = openSocket(`/signalingserver?room=${encodeURIComponent(parameter('room'))}`, {
  opened() {
    say('IdentifySelf', 'Self', '', { id: '' });
    say('GetAllPeerIDs', 'Self', '', null);
  },
  frame: (frame) => (ON[frame.kind] ?? ((odd) => complain('frame', odd)))(frame),
});
