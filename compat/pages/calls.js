/** The calls of the page: one connection for each peer. The dialect selects the peers to call and carries the signals. */
import { sessionOf } from './connection.js';
import { complain, showPeers, state } from './page.js';

/**
 * @typedef {object} Wire the signals of this dialect to a peer
 * @property {(id: string, sdp: string) => void} offer
 * @property {(id: string, sdp: string) => void} answer
 * @property {((id: string, candidate: RTCIceCandidate) => void) | null} candidate null if the sdp contains all candidates
 * @property {(id: string) => void} [gathered] in dialects with such a frame
 */

/**
 * @typedef {object} Medium the media or data of the calls
 * @property {(pc: RTCPeerConnection, id: string, calling: boolean) => void} equip
 * @property {(id: string) => { videoWidth: number, frames: number }} watch
 * @property {(id: string) => void} forget
 */

/** @typedef {{ pc: RTCPeerConnection, waiting: RTCIceCandidateInit[], offersMade: number, offersGot: number }} Peer */

export class Calls {
  /** @param {Wire} wire @param {Medium} medium */
  constructor(wire, medium) {
    this.wire = wire;
    this.medium = medium;
    /** @type {Map<string, Peer>} */
    this.peers = new Map();
    showPeers(() => Object.fromEntries([...this.peers].map(([id, peer]) => [id, this.#describe(id, peer)])));
  }

  /** @param {string} id */
  async call(id) {
    const peer = this.#connect(id, true);
    peer.offersMade += 1;
    await peer.pc.setLocalDescription();
    this.wire.offer(id, await this.#spoken(peer));
  }

  /** @param {string} id @param {string} sdp */
  async takeOffer(id, sdp) {
    const peer = this.peers.get(id) ?? this.#connect(id, false);
    peer.offersGot += 1;
    await this.#accept(peer, { type: 'offer', sdp });
    await peer.pc.setLocalDescription();
    this.wire.answer(id, await this.#spoken(peer));
  }

  /** @param {string} id @param {string} sdp */
  async takeAnswer(id, sdp) {
    const peer = this.peers.get(id);
    if (peer) await this.#accept(peer, { type: 'answer', sdp });
    else complain('answer from somebody never called', id);
  }

  /** @param {string} id @param {RTCIceCandidateInit} candidate */
  async takeCandidate(id, candidate) {
    const peer = this.peers.get(id);
    if (!peer) complain('candidate from somebody without a call', id);
    else if (peer.pc.remoteDescription) await peer.pc.addIceCandidate(candidate);
    else peer.waiting.push(candidate);
  }

  /** @param {string} id */
  left(id) {
    state.left.push(id);
    this.peers.get(id)?.pc.close();
    this.peers.delete(id);
    this.medium.forget(id);
  }

  /** @param {string} id @param {boolean} calling @returns {Peer} */
  #connect(id, calling) {
    const before = this.peers.get(id);
    before?.pc.close();
    const pc = new RTCPeerConnection();
    const peer = { pc, waiting: [], offersMade: before?.offersMade ?? 0, offersGot: before?.offersGot ?? 0 };
    this.peers.set(id, peer);
    const { candidate: trickle, gathered } = this.wire;
    if (trickle) pc.onicecandidate = ({ candidate }) => (candidate ? trickle(id, candidate) : gathered?.(id));
    this.medium.equip(pc, id, calling);
    return peer;
  }

  /** @param {Peer} peer @param {RTCSessionDescriptionInit} description */
  async #accept(peer, description) {
    await peer.pc.setRemoteDescription(description);
    for (const candidate of peer.waiting.splice(0)) await peer.pc.addIceCandidate(candidate);
  }

  /** @param {Peer} peer */
  async #spoken({ pc }) {
    if (!this.wire.candidate) await gatheringComplete(pc);
    return pc.localDescription?.sdp ?? '';
  }

  /** @param {string} id @param {Peer} peer */
  #describe(id, { pc, offersMade, offersGot }) {
    return {
      connectionState: pc.connectionState,
      localSession: sessionOf(pc.localDescription),
      remoteSession: sessionOf(pc.remoteDescription),
      offersMade,
      offersGot,
      ...this.medium.watch(id),
    };
  }
}

/** @param {RTCPeerConnection} pc @returns {Promise<void>} */
function gatheringComplete(pc) {
  return new Promise((resolve) => {
    const check = () => pc.iceGatheringState === 'complete' && resolve();
    pc.addEventListener('icegatheringstatechange', check);
    check();
  });
}
