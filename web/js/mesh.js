// @ts-check
// The peers in the room: makes calls from the frames of the server, and keeps calls while the server connection is
// lost. In a new session the server has new ids for all clients that reconnected. A call between two pages continues:
// each sends its new id to the other over the call itself. A call with another client continues until that client
// returns under a new id, or until the call ends.

import { markOf } from './page-channel.js';
import { Peer } from './peer.js';
import { RateLimit } from './throttle.js';
import { sdpOf, textOf } from './untrusted.js';

/** @typedef {import('./signaling.js').Frame} Frame */
/** @typedef {import('./peer.js').PeerEvents} PeerEvents */
/** @typedef {import('./peer.js').Tracks} Tracks */
/** @typedef {import('./peer.js').MediaState} MediaState */
/** @typedef {import('./quality.js').Quality} Quality */
/** @typedef {{id: string, username: string}} Member */
/**
 * @typedef {object} MeshEvents
 * @property {(peer: Peer, why: 'joined' | 'present' | 'back') => void} onAdded  joined: after this page; present: before
 *   this page; back: instead of a former connection with the member
 * @property {(peer: Peer, why: 'left' | 'replaced' | 'closed') => void} onRemoved  replaced: by a new connection with the
 *   member; closed: this page has left the call
 */

/** Time that a client that is no page has to return after it left, until its call is ended. */
const LINGER_MS = 6_000;
/** Time that an open call has to send the new id of its peer. */
const SESSION_WAIT_MS = 5_000;
/** Time that a peer whose channel was closed has to leave the room, until it is called again. */
const CALL_AGAIN_MS = 1_500;
/** New connections that one member may ask for at once, and per second afterwards. */
const RENEWALS_BURST = 5;
const RENEWALS_PER_SECOND = 0.2;

export class Mesh {
  /** The peers, by their id at the server. @type {Map<string, Peer>} */ peers = new Map();
  /** Members that may belong to an open call, until the call confirms it. @type {Map<string, {member: Member, calling: boolean}>} */
  #undecided = new Map();
  /** The limits of new connections, by the id of the member. @type {Map<string, RateLimit>} */ #renewals = new Map();
  #ownId = '';

  /**
   * @param {object} options
   * @param {RTCIceServer[]} options.iceServers
   * @param {Tracks} options.tracks
   * @param {MediaState} options.mediaState
   * @param {Quality} options.quality
   * @param {(frame: Frame) => boolean} options.send
   * @param {MeshEvents & Omit<PeerEvents, 'onSession'>} options.events
   */
  constructor(options) {
    this.options = options;
    /** @type {PeerEvents} */
    this.peerEvents = {
      ...options.events,
      onState: (peer) => this.#stateChanged(peer),
      onChannel: (peer) => this.#channelChanged(peer),
      onSession: (peer) => this.#sessionReceived(peer),
    };
  }

  /** The server has a new session for this page: it knows no peer of the former one. @param {string} ownId */
  startSession(ownId) {
    this.#ownId = ownId;
    this.#undecided.clear();
    this.#renewals.clear();
    for (const peer of [...this.peers.values()]) {
      peer.isDeparted = true;
      peer.sendSession(ownId);
      this.#dropIfDead(peer);
    }
  }

  /** @param {Frame} frame */
  receive(frame) {
    if (frame.type === 'ROOM_MEMBERS') membersOf(frame['members']).forEach((member) => this.#memberPresent(member, true));
    if (frame.type === 'NEW_PEER_IN_ROOM') membersOf([frame['peer']]).forEach((member) => this.#memberPresent(member, false));
    if (frame.type === 'PEER_LEFT_ROOM') membersOf([frame['peer']]).forEach(({ id }) => this.#left(id));
    const from = textOf(frame['fromPeerId']);
    if (frame.type === 'SDP_OFFER' && !this.#prepareFor(from, frame)) return;
    const peer = this.peers.get(from);
    if (peer && !peer.isDeparted) peer.receive(frame);
  }

  /** @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.options.iceServers = iceServers;
    for (const peer of this.peers.values()) peer.setIceServers(iceServers);
  }

  /** Gives up a connection that failed, and makes another one. @param {Peer} peer */
  callAnew(peer) {
    if (this.#isPresent(peer)) this.#connect({ id: peer.address, username: peer.username }, true);
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
    this.#undecided.clear();
    for (const peer of [...this.peers.values()]) this.#remove(peer, 'closed');
  }

  /** @param {Member} member @param {boolean} calling */
  #memberPresent(member, calling) {
    const known = this.peers.get(member.id);
    const isPending = known && !known.options.calling && !known.isAnswered;
    if (known && !known.isDeparted && !(calling && isPending)) return;
    const call = this.#openCalls(member).find((peer) => peer.sentId === member.id);
    if (call) return this.#bind(call, member.id);
    if (this.#openCalls(member).length === 0) return this.#connect(member, calling);
    const entry = { member, calling };
    this.#undecided.set(member.id, entry);
    // If the other side sends the offer, its offer decides.
    if (calling) setTimeout(() => this.#decide(entry), SESSION_WAIT_MS);
  }

  /** No open call has sent the id of this member in time, or that call has ended: connects the member. @param {{member: Member, calling: boolean}} entry */
  #decide({ member, calling }) {
    if (this.#undecided.get(member.id)?.member !== member) return;
    this.#undecided.delete(member.id);
    this.#connect(member, calling);
  }

  /** @param {Member} member @param {boolean} calling */
  #connect(member, calling) {
    const former = this.peers.get(member.id) ?? this.#departed(member.username);
    if (former) this.#remove(former, 'replaced');
    const why = former ? 'back' : calling ? 'present' : 'joined';
    const { iceServers, tracks, mediaState, quality, send } = this.options;
    const others = this.peers.size + 1;
    const options = { ...member, calling, others, iceServers, tracks, mediaState, quality, send, events: this.peerEvents };
    const peer = new Peer(options);
    peer.sendSession(this.#ownId);
    this.peers.set(member.id, peer);
    this.#countOthers();
    this.options.events.onAdded(peer, why);
  }

  /**
   * An offer names its connection: it belongs to an open call, or to a new one.
   * @param {string} id @param {Frame} frame @returns {boolean} whether the offer is to be handled
   */
  #prepareFor(id, frame) {
    const connection = markOf(sdpOf(frame))?.connection;
    const undecided = this.#undecided.get(id);
    this.#undecided.delete(id);
    if (undecided) this.#connectOrBind(undecided.member, connection);
    if (undecided) return true;
    const peer = this.peers.get(id);
    const isOther = peer?.remoteConnection && connection && connection !== peer.remoteConnection;
    const isCrossed = peer?.options.calling && !peer.isAnswered && this.#ownId < id;
    if (!peer || peer.isDeparted || !(isOther || isCrossed)) return true;
    const mayBegin = this.#mayRenew(id);
    if (mayBegin) this.#connect({ id, username: peer.username }, false);
    return mayBegin;
  }

  /** Limits the new connections of a member: each is expensive for this page and free for the member. @param {string} id */
  #mayRenew(id) {
    const limit = this.#renewals.get(id) ?? new RateLimit(RENEWALS_BURST, RENEWALS_PER_SECOND);
    this.#renewals.set(id, limit);
    return limit.tryAcquire(performance.now());
  }

  /** @param {Member} member @param {string | undefined} connection */
  #connectOrBind(member, connection) {
    const call = this.#openCalls(member).find((peer) => peer.remoteConnection === connection);
    if (call) this.#bind(call, member.id);
    else this.#connect(member, false);
  }

  /** @param {string} username */
  #departed(username) {
    return [...this.peers.values()].find((peer) => peer.isDeparted && peer.username === username);
  }

  /** Calls with pages of this name that continue without the server. @param {Member} member */
  #openCalls({ username }) {
    return [...this.peers.values()].filter((peer) => peer.isDeparted && peer.username === username && peer.isPage && isAlive(peer));
  }

  /** The page of the peer has sent the id of its session. Only the server knows the name of an id. @param {Peer} peer */
  #sessionReceived(peer) {
    const undecided = this.#undecided.get(peer.sentId);
    if (undecided?.member.username !== peer.username || !peer.isDeparted) return;
    this.#undecided.delete(peer.sentId);
    this.#bind(peer, peer.sentId);
  }

  /** The call continues under a new id. @param {Peer} peer @param {string} id */
  #bind(peer, id) {
    this.peers.delete(peer.address);
    this.peers.set(id, peer);
    peer.rebind(id);
  }

  // A peer whose server connection broke is reported as left while its call is still open, and usually returns.
  /** @param {string} id */
  #left(id) {
    this.#undecided.delete(id);
    this.#renewals.delete(id);
    const peer = this.peers.get(id);
    if (!peer) return;
    peer.isDeparted = true;
    this.#dropIfDead(peer);
    if (peer.isPage) return;
    setTimeout(() => {
      if (peer.isDeparted) this.#remove(peer, 'left');
    }, LINGER_MS);
  }

  /** @param {Peer} peer */
  #dropIfDead(peer) {
    if (!peer.isDeparted || isAlive(peer)) return;
    this.#remove(peer, 'left');
    for (const entry of [...this.#undecided.values()]) {
      if (entry.member.username === peer.username) this.#decide(entry);
    }
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
    const wasClosed = peer.channel?.isOpen === false && peer.remoteConnection !== '';
    if (wasClosed && peer.pc.connectionState !== 'closed') setTimeout(() => this.#callAgain(peer), CALL_AGAIN_MS);
  }

  /** The peer's page has closed the call, but is still in the room: it waits for a new one. @param {Peer} peer */
  #callAgain(peer) {
    if (this.#isPresent(peer) && !peer.channel?.isOpen) this.#connect({ id: peer.address, username: peer.username }, true);
  }

  /** Whether the server knows the peer, and no other connection has taken its place. @param {Peer} peer */
  #isPresent(peer) {
    return !peer.isDeparted && this.peers.get(peer.address) === peer;
  }

  /** @param {Peer} peer @param {'left' | 'replaced' | 'closed'} why */
  #remove(peer, why) {
    if (this.peers.get(peer.address) !== peer) return;
    this.peers.delete(peer.address);
    peer.close();
    this.#countOthers();
    this.options.events.onRemoved(peer, why);
  }

  #countOthers() {
    for (const peer of this.peers.values()) peer.setOthers(this.peers.size);
  }
}

/** @param {Peer} peer */
function isAlive(peer) {
  const isConnected = peer.state === 'connected' || (peer.isPage && peer.state === 'reconnecting');
  return isConnected && peer.channel?.isOpen === true;
}

/** @param {unknown} members @returns {Member[]} */
function membersOf(members) {
  if (!Array.isArray(members)) return [];
  const named = members.filter((member) => typeof member?.id === 'string');
  return named.map(({ id, username }) => ({ id, username: textOf(username) || id }));
}
