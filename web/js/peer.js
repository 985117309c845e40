// @ts-check
// One other person: the connection to them, what it carries, and how it is doing. Audio and video have a place in
// the connection from the start, so that turning a camera on later needs no new offer.

import { Channel } from './channel.js';
import { Negotiation } from './negotiation.js';
import { PageChannel, marked, markOf, newConnectionId } from './page-channel.js';
import { PROFILES, askForLess, limitSender } from './quality.js';

/** @typedef {import('./signaling.js').Frame} Frame */
/** @typedef {import('./quality.js').Quality} Quality */
/** @typedef {'connecting' | 'connected' | 'reconnecting' | 'failed'} PeerState */
/** @typedef {{audio: MediaStreamTrack | null, video: MediaStreamTrack | null}} Tracks */
/**
 * @typedef {object} MediaState  what a member says of its own media
 * @property {boolean} isMuted
 * @property {'off' | 'camera' | 'screen'} video
 */
/**
 * @typedef {object} PeerEvents
 * @property {(peer: Peer) => void} onState
 * @property {(peer: Peer) => void} onTrack
 * @property {(peer: Peer) => void} onMediaState
 * @property {(peer: Peer) => void} onChannel
 * @property {(peer: Peer, content: string, timestamp: number) => void} onText
 * @property {(peer: Peer, name: string, size: number) => import('./files.js').Receipt} onFile
 */
/**
 * @typedef {object} PeerOptions
 * @property {string} id
 * @property {string} username
 * @property {boolean} calling  whether it is for us to make the offer
 * @property {RTCIceServer[]} iceServers
 * @property {Tracks} tracks
 * @property {MediaState} mediaState
 * @property {Quality} quality
 * @property {(frame: Frame) => boolean} send
 * @property {PeerEvents} events
 */

const GIVE_UP_MS = 30_000;
const ICE_RESTARTS = 3;
const KINDS = /** @type {const} */ (['audio', 'video']);

export class Peer {
  /** @type {PeerState} */ state = 'connecting';
  /** @type {Channel | null} */ channel = null;
  /** The peer's sound and pictures, each for an element of its own: an element with both waits for the first picture. */
  audio = new MediaStream();
  video = new MediaStream();
  /** What the peer says of its media; null as long as it says nothing. @type {MediaState | null} */ mediaState = null;
  #connectionId = newConnectionId();
  /** @type {PageChannel | null} */ #pageChannel = null;
  /** Set when the server no longer knows this peer under its id; the call itself may go on. */
  isDeparted = false;
  #restarts = 0;
  /** @type {Promise<unknown>} */ #filling = Promise.resolve();
  /** @type {number | undefined} */ #giveUp;

  /** @param {PeerOptions} options */
  constructor(options) {
    this.options = options;
    this.id = options.id;
    this.username = options.username;
    this.pc = new RTCPeerConnection({ iceServers: options.iceServers });
    this.negotiation = new Negotiation(this.pc, {
      polite: !options.calling,
      send: (frame) => this.#send(frame),
      beforeAnswer: () => this.#fillTransceivers(),
      describe: (sdp) => marked(askForLess(sdp, this.options.quality), { connection: this.#connectionId, offer: 0 }),
      onDescription: (sdp) => this.#described(sdp),
    });
    this.#listen();
    if (options.calling) this.#call();
    this.#watch();
  }

  /** Whether anything has been heard from the peer in this connection. */
  get isAnswered() {
    return this.pc.remoteDescription !== null;
  }

  /** @param {Frame} frame */
  receive(frame) {
    this.negotiation.receive(frame);
  }

  /** @param {Tracks} tracks */
  async setTracks(tracks) {
    this.options.tracks = tracks;
    await this.#fillTransceivers();
  }

  /** @param {MediaState} state */
  setMediaState(state) {
    this.options.mediaState = state;
    this.#pageChannel?.send({ type: 'MEDIA', ...state });
  }

  /** @param {Quality} quality */
  async setQuality(quality) {
    this.options.quality = quality;
    await this.#fillTransceivers();
    this.negotiation.renegotiate();
  }

  close() {
    clearTimeout(this.#giveUp);
    this.pc.close();
  }

  #listen() {
    this.pc.ontrack = ({ track }) => {
      (track.kind === 'audio' ? this.audio : this.video).addTrack(track);
      this.options.events.onTrack(this);
    };
    this.pc.ondatachannel = ({ channel }) => {
      if (channel.label === 'chat') this.#useChannel(channel);
    };
    this.pc.onsignalingstatechange = () => {
      if (this.pc.signalingState === 'stable') this.#fillTransceivers();
    };
    this.pc.onconnectionstatechange = () => this.#connectionChanged();
  }

  #call() {
    this.#useChannel(this.pc.createDataChannel('chat'));
    for (const kind of KINDS) this.pc.addTransceiver(kind, { direction: this.#direction(kind) });
    this.#fillTransceivers();
  }

  /** @param {RTCDataChannel} channel */
  #useChannel(channel) {
    const { events } = this.options;
    this.channel = new Channel(channel, {
      onText: (content, timestamp) => events.onText(this, content, timestamp),
      onFile: (name, size) => events.onFile(this, name, size),
      onChange: () => events.onChannel(this),
    });
  }

  // The channel needs a section of data in the description, or the browser would ask for a new offer.
  /** @param {string} sdp */
  #described(sdp) {
    if (this.#pageChannel || !markOf(sdp) || !/^m=application [1-9]/m.test(sdp)) return;
    this.#pageChannel = new PageChannel(this.pc, {
      onOpen: () => this.setMediaState(this.options.mediaState),
      onMessage: (message) => this.#receiveFromPage(message),
      onClose: () => {},
    });
  }

  /** @param {import('./page-channel.js').Message} message */
  #receiveFromPage(message) {
    if (message.type !== 'MEDIA') return;
    const video = message['video'] === 'camera' || message['video'] === 'screen' ? message['video'] : 'off';
    this.mediaState = { isMuted: message['isMuted'] === true, video };
    this.options.events.onMediaState(this);
  }

  // One at a time, because a sender's parameters can only be set by whoever read them last; and limits wait for the
  // end of a negotiation, which changes the parameters by itself.
  #fillTransceivers() {
    this.#filling = this.#filling.then(() => this.#fillAll()).catch((error) => console.warn('senders', error));
    return this.#filling.then(() => {});
  }

  // The first section of each kind is ours to fill; a peer with more keeps them to itself.
  async #fillAll() {
    const transceivers = this.pc.getTransceivers();
    const firsts = KINDS.map((kind) => transceivers.find(({ receiver }) => receiver.track.kind === kind));
    await Promise.all(firsts.map((transceiver) => transceiver && this.#fill(transceiver)));
  }

  /** @param {RTCRtpTransceiver} transceiver */
  async #fill(transceiver) {
    if (transceiver.currentDirection === 'stopped' || this.pc.signalingState === 'closed') return;
    const kind = /** @type {'audio' | 'video'} */ (transceiver.receiver.track.kind);
    transceiver.direction = this.#direction(kind);
    await transceiver.sender.replaceTrack(this.options.tracks[kind]);
    const isSettled = this.pc.signalingState === 'stable' && this.isAnswered;
    if (isSettled) await limitSender(transceiver.sender, kind, this.options.quality);
  }

  /** @param {'audio' | 'video'} kind @returns {RTCRtpTransceiverDirection} */
  #direction(kind) {
    return kind === 'video' && !PROFILES[this.options.quality].video ? 'inactive' : 'sendrecv';
  }

  /** @param {Frame} frame */
  #send(frame) {
    if (!this.isDeparted) this.options.send({ ...frame, toPeerId: this.id });
  }

  #connectionChanged() {
    const { connectionState } = this.pc;
    if (connectionState === 'connected') this.#connected();
    if (connectionState === 'disconnected') this.#setState('reconnecting');
    if (connectionState === 'failed') this.#lost();
    if (connectionState === 'closed') this.#setState('failed');
  }

  #connected() {
    this.#restarts = 0;
    this.#setState('connected');
  }

  // Only the caller restarts, so that the two sides do not cross each other's repairs.
  #lost() {
    const mayRepair = !this.isDeparted && this.#restarts < ICE_RESTARTS;
    if (mayRepair && this.options.calling) {
      this.#restarts += 1;
      this.pc.restartIce();
    }
    this.#setState(mayRepair ? 'reconnecting' : 'failed');
  }

  /** @param {PeerState} state */
  #setState(state) {
    if (this.state === state) return;
    this.state = state;
    this.#watch();
    this.options.events.onState(this);
  }

  #watch() {
    clearTimeout(this.#giveUp);
    if (this.state === 'connecting' || this.state === 'reconnecting') {
      this.#giveUp = setTimeout(() => this.#setState('failed'), GIVE_UP_MS);
    }
  }
}
