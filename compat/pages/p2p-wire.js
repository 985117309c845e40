/**
 * The wire of p2p-go-app. Like the page of that app, it drops offers of peers that were not announced to it. `?call=0`:
 * this client waits to be called.
 */
import { Calls } from './calls.js';
import { complain, openSocket, parameter, state } from './page.js';

/** @type {Map<string, string>} */
const usernames = new Map();

/** @param {string} id */
export function usernameOf(id) {
  return usernames.get(id) ?? id;
}

/** @param {import('./calls.js').Medium} medium */
export function joinWith(medium) {
  /** @param {string} type @param {string} toPeerId @param {object} content */
  const say = (type, toPeerId, content) => socket.send({ type, toPeerId, ...content });

  const calls = new Calls(
    {
      offer: (id, sdp) => say('SDP_OFFER', id, { sdp: { type: 'offer', sdp } }),
      answer: (id, sdp) => say('SDP_ANSWER', id, { sdp: { type: 'answer', sdp } }),
      candidate: (id, candidate) => say('ICE_CANDIDATE', id, { iceCandidate: candidate.toJSON() }),
    },
    medium,
  );

  /** @type {Record<string, (frame: any) => void>} */
  const on = {
    AUTH_SUCCESS({ username, peerId }) {
      state.myId = peerId ?? username;
      socket.send({ type: 'JOIN_ROOM', roomId: parameter('room') });
    },
    ROOM_MEMBERS({ members }) {
      state.joined = true;
      for (const { id, username } of members) {
        usernames.set(id, username);
        if (parameter('call', '1') === '1') calls.call(id);
      }
    },
    NEW_PEER_IN_ROOM: ({ peer }) => usernames.set(peer.id, peer.username),
    PEER_LEFT_ROOM({ peer }) {
      usernames.delete(peer.id);
      calls.left(peer.id);
    },
    SDP_OFFER({ fromPeerId, sdp }) {
      if (usernames.has(fromPeerId)) calls.takeOffer(fromPeerId, sdp.sdp);
      else complain('offer from a stranger', fromPeerId);
    },
    SDP_ANSWER: ({ fromPeerId, sdp }) => calls.takeAnswer(fromPeerId, sdp.sdp),
    ICE_CANDIDATE: ({ fromPeerId, iceCandidate }) => calls.takeCandidate(fromPeerId, iceCandidate),
  };

  const socket = openSocket('/ws', {
    opened: () => socket.send({ type: 'IDENTIFY', username: parameter('name') }),
    frame: (frame) => (on[frame.type] ?? ((odd) => complain('frame', odd)))(frame),
  });
}
