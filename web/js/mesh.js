// @ts-check
// Everyone in the room: turns the server's news into calls, and keeps calls alive across a lost server connection.
// After a new session the server has new ids for everyone who reconnected; a call of the old session goes on
// until its owner comes back under a new id, or until it ends by itself.

import { Peer } from './peer.js';

/** @typedef {import('./signaling.js').Frame} Frame */
/** @typedef {import('./peer.js').PeerEvents} PeerEvents */
/** @typedef {import('./peer.js').Tracks} Tracks */
/** @typedef {import('./peer.js').MediaState} MediaState */
/** @typedef {import('./quality.js').Quality} Quality */
/** @typedef {{id: string, username: string}} Member */
/**
 * @typedef {object} MeshEvents
 * @property {(peer: Peer, why: 'joined' | 'present' | 'back') => void} onAdded
 * @property {(peer: Peer, why: 'left' | 'replaced' | 'closed') => void} onRemoved
 */

const LINGER_MS = 6_000;

export class Mesh {
  /** @type {Map<string, Peer>} */ peers = new Map();

  /**
   * @param {object} options
   * @param {RTCIceServer[]} options.iceServers
   * @param {Tracks} options.tracks
   * @param {MediaState} options.mediaState
   * @param {Quality} options.quality
   * @param {(frame: Frame) => boolean} options.send
   * @param {MeshEvents & PeerEvents} options.events
   */
  constructor(options) {
    this.options = options;
    /** @type {PeerEvents} */
    this.peerEvents = {
      ...options.events,
      onState: (peer) => this.#stateChanged(peer),
      onChannel: (peer) => this.#channelChanged(peer),
    };
  }

  /** The server has a new session for us: it knows nobody by the ids that we hold. */
  startSession() {
    for (const peer of this.peers.values()) {
      peer.isDeparted = true;
      this.#dropIfDead(peer);
    }
  }

  /** @param {Frame} frame */
  receive(frame) {
    if (frame.type === 'ROOM_MEMBERS') membersOf(frame['members']).forEach((member) => this.#meet(member, true));
    if (frame.type === 'NEW_PEER_IN_ROOM') membersOf([frame['peer']]).forEach((member) => this.#meet(member, false));
    if (frame.type === 'PEER_LEFT_ROOM') membersOf([frame['peer']]).forEach(({ id }) => this.#left(id));
    const from = this.peers.get(String(frame['fromPeerId'] ?? ''));
    if (from && !from.isDeparted) from.receive(frame);
  }

  /** @param {Tracks} tracks @param {MediaState} mediaState */
  setMedia(tracks, mediaState) {
    Object.assign(this.options, { tracks, mediaState });
    for (const peer of this.peers.values()) {
      peer.setTracks(tracks);
      peer.setMediaState(mediaState);
    }
  }

  /** @param {Quality} quality */
  setQuality(quality) {
    this.options.quality = quality;
    for (const peer of this.peers.values()) peer.setQuality(quality);
  }

  close() {
    for (const peer of [...this.peers.values()]) this.#remove(peer, 'closed');
  }

  /** @param {Member} member @param {boolean} calling */
  #meet(member, calling) {
    const known = this.peers.get(member.id);
    const isPending = known && !known.options.calling && !known.isAnswered;
    if (known && !known.isDeparted && !(calling && isPending)) return;
    const former = known ?? this.#departed(member.username);
    if (former) this.#remove(former, 'replaced');
    const why = former ? 'back' : calling ? 'present' : 'joined';
    const { iceServers, tracks, mediaState, quality, send } = this.options;
    const options = { ...member, calling, iceServers, tracks, mediaState, quality, send, events: this.peerEvents };
    const peer = new Peer(options);
    this.peers.set(member.id, peer);
    this.options.events.onAdded(peer, why);
  }

  /** @param {string} username */
  #departed(username) {
    return [...this.peers.values()].find((peer) => peer.isDeparted && peer.username === username);
  }

  // A peer whose server connection broke is reported as gone while its call still runs, and mostly comes back.
  /** @param {string} id */
  #left(id) {
    const peer = this.peers.get(id);
    if (!peer) return;
    peer.isDeparted = true;
    this.#dropIfDead(peer);
    setTimeout(() => this.#remove(peer, 'left'), LINGER_MS);
  }

  /** @param {Peer} peer */
  #dropIfDead(peer) {
    const lives = peer.state === 'connected' && peer.channel?.isOpen;
    if (peer.isDeparted && !lives) this.#remove(peer, 'left');
  }

  /** @param {Peer} peer */
  #stateChanged(peer) {
    this.options.events.onState(peer);
    this.#dropIfDead(peer);
  }

  /** @param {Peer} peer */
  #channelChanged(peer) {
    this.options.events.onChannel(peer);
    this.#dropIfDead(peer);
  }

  /** @param {Peer} peer @param {'left' | 'replaced' | 'closed'} why */
  #remove(peer, why) {
    if (this.peers.get(peer.id) !== peer) return;
    this.peers.delete(peer.id);
    peer.close();
    this.options.events.onRemoved(peer, why);
  }
}

/** @param {unknown} members @returns {Member[]} */
function membersOf(members) {
  if (!Array.isArray(members)) return [];
  const named = members.filter((member) => typeof member?.id === 'string');
  return named.map(({ id, username }) => ({ id, username: String(username || id) }));
}
