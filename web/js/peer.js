// @ts-check
// One other member: its connection, the media and data of the connection, and its state. The first offer has a media
// section for audio and one for video, so that turning a camera on later needs no new offer. A peer is a "page" if it
// runs this call page, else a client of any dialect.

import { Channel } from './channel.js';
import { FILE_LABEL, PageFiles } from './files/page-files.js';
import { configure, newConnection } from './ice.js';
import { Negotiation } from './negotiation.js';
import { PageChannel, marked, markOf, newConnectionId } from './page-channel.js';
import { PROFILES, askForLess, isPaused, limitSender, lower, qualityOf } from './quality.js';
import { Relay } from './relay.js';
import { RateLimit, Throttle } from './throttle.js';
import { textOf } from './untrusted.js';

/** @typedef {import('./signaling.js').Frame} Frame */
/** @typedef {import('./quality.js').Quality} Quality */
/** @typedef {'connecting' | 'connected' | 'reconnecting' | 'failed'} PeerState */
/** @typedef {{audio: MediaStreamTrack | null, video: MediaStreamTrack | null}} Tracks */
/**
 * @typedef {object} MediaState  the media state that a member sends
 * @property {boolean} isMuted
 * @property {'off' | 'camera' | 'screen'} video
 */
/**
 * @typedef {object} PeerEvents
 * @property {(peer: Peer) => void} onState
 * @property {(peer: Peer) => void} onTrack
 * @property {(peer: Peer) => void} onMediaState
 * @property {(peer: Peer) => void} onSession  the page of the peer has sent the id of its session with the server
 * @property {(peer: Peer) => void} onChannel
 * @property {() => void} onRelayRefused  the TURN server does not accept the credentials
 * @property {(peer: Peer) => void} onFlood  the peer sends more messages or files than are shown
 * @property {(peer: Peer, content: string, timestamp: number) => void} onText
 * @property {(peer: Peer, transfer: import('./files/transfer.js').IncomingTransfer) => void} onFile
 */
/**
 * @typedef {object} PeerOptions
 * @property {string} id
 * @property {string} username
 * @property {boolean} calling  whether this page makes the offer
 * @property {RTCIceServer[]} iceServers
 * @property {Tracks} tracks
 * @property {MediaState} mediaState
 * @property {Quality} quality
 * @property {number} others  the number of other members, this peer included
 * @property {(frame: Frame) => boolean} send
 * @property {PeerEvents} events
 */

/** A peer that is not connected for so long has failed. */
const GIVE_UP_MS = 30_000;
const ICE_RESTARTS = 3;
/** Chat channels that one peer may open; two when the first offers of both cross. */
const CHAT_CHANNELS_MAX = 4;
/** Chat messages and offers of files that one peer may have shown at once, and per second afterwards. */
const ENTRIES_BURST = 100;
const ENTRIES_PER_SECOND = 5;
const FLOOD_NOTICES_PER_SECOND = 1 / 60;
/** The state that a peer sends is applied once in this period at most, because each change lays the page out again. */
const STATE_PERIOD_MS = 100;
/** Offers are made on request of the peer once in this period at most. */
const REQUESTED_OFFER_PERIOD_MS = 250;
const KINDS = /** @type {const} */ (['audio', 'video']);

export class Peer {
  /** @type {PeerState} */ state = 'connecting';
  /** @type {Channel | null} */ channel = null;
  /** The peer's sound and pictures, each for an element of its own: an element with both waits for the first picture. */
  audio = new MediaStream();
  video = new MediaStream();
  /** The media state that the peer has sent; null before the first. @type {MediaState | null} */ mediaState = null;
  /** The id of its session with the server that the peer's page has sent; before that, the one from the server. */
  sentId = '';
  /** The connection id in the session description of the peer's page; empty if the peer is no page. */
  remoteConnection = '';
  /** The quality that the peer's page wants to receive. @type {Quality} */ #wantedQuality = 'normal';
  /** The stream to which the sent tracks belong: many clients play no track without a stream. */
  #sentStream = new MediaStream();
  /** The senders whose track belongs to that stream. @type {WeakSet<RTCRtpSender>} */ #inStream = new WeakSet();
  #ownId = '';
  #connectionId = newConnectionId();
  /** @type {PageChannel | null} */ #pageChannel = null;
  #pageFiles = new PageFiles({
    send: (message) => this.#pageChannel?.send(message) ?? false,
    openChannel: (label, init) => this.pc.createDataChannel(label, init),
    onFile: (transfer) => this.options.events.onFile(this, transfer),
  });
  /** Set when the server no longer knows this peer under its id; the call itself may go on. */
  isDeparted = false;
  #entries = new RateLimit(ENTRIES_BURST, ENTRIES_PER_SECOND);
  #floodNotices = new RateLimit(1, FLOOD_NOTICES_PER_SECOND);
  #mediaStates = new Throttle(STATE_PERIOD_MS, (/** @type {import('./page-channel.js').Message} */ message) => this.#receiveMediaState(message));
  #qualities = new Throttle(STATE_PERIOD_MS, (/** @type {import('./page-channel.js').Message} */ message) => this.#receiveQuality(message));
  #requestedOffers = new Throttle(REQUESTED_OFFER_PERIOD_MS, () => this.pc.restartIce());
  #restarts = 0;
  #chatChannels = 0;
  /** Whether other credentials were set after the TURN server had refused the former ones. */
  #hasOtherCredentials = false;
  /** @type {Promise<unknown>} */ #filling = Promise.resolve();
  /** @type {number | undefined} */ #giveUp;

  /** @param {PeerOptions} options */
  constructor(options) {
    this.options = options;
    this.id = options.id;
    /** The id under which the server knows the peer now; `id` is the first one. */
    this.address = options.id;
    this.sentId = options.id;
    this.username = options.username;
    this.pc = newConnection(options.iceServers);
    this.relay = new Relay(this.pc, () => options.events.onRelayRefused());
    this.negotiation = new Negotiation(this.pc, {
      polite: !options.calling,
      send: (frame) => this.#send(frame),
      isPage: () => this.remoteConnection !== '',
      delegate: () => this.#pageChannel?.send({ type: 'OFFER' }) ?? false,
      beforeAnswer: () => this.#fillTransceivers(),
      describe: (sdp, offer) => marked(askForLess(sdp, this.options.quality), { connection: this.#connectionId, offer }),
      onDescription: (sdp) => this.#remoteDescriptionApplied(sdp),
    });
    this.#listen();
    if (options.calling) this.#call();
    this.#watchState();
  }

  /** Whether the peer has sent an offer or an answer. */
  get isAnswered() {
    return this.negotiation.hasRemoteDescription;
  }

  /** Whether the peer is a page of Switchboard that listens for its messages. */
  get isPage() {
    return this.#pageChannel?.isOpen === true;
  }

  /** The server knows the peer under another id from now on. @param {string} id */
  rebind(id) {
    this.address = id;
    this.isDeparted = false;
    this.negotiation.resume();
    if (this.pc.connectionState === 'failed') this.#connectionFailed();
  }

  /** @param {string} ownId  the id under which the server knows this page */
  sendSession(ownId) {
    this.#ownId = ownId;
    this.#pageChannel?.send({ type: 'SESSION', peerId: ownId });
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

  /** The sending quality follows the number of members. @param {number} others */
  setOthers(others) {
    if (this.options.others === others) return;
    this.options.others = others;
    this.#fillTransceivers();
  }

  /** @param {RTCIceServer[]} iceServers */
  async setIceServers(iceServers) {
    const areOther = JSON.stringify(iceServers) !== JSON.stringify(this.options.iceServers);
    this.options.iceServers = iceServers;
    try {
      configure(this.pc, iceServers);
      this.#hasOtherCredentials ||= areOther && this.relay.state === 'refused';
      this.#askAgainForRelay();
      if (areOther) await this.#replaceRelay();
    } catch (error) {
      console.info('ICE servers refused', error);
    }
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
    if (!this.#sendQuality()) this.negotiation.renegotiate();
  }

  /** Offers a file to the peer, by the protocol of its client. Null if it has none. @param {File} file */
  sendFile(file) {
    if (!this.channel?.isOpen) return null;
    return this.remoteConnection === '' ? this.channel.sendFile(file) : this.#pageFiles.send(file);
  }

  close() {
    clearTimeout(this.#giveUp);
    for (const throttle of [this.#mediaStates, this.#qualities, this.#requestedOffers]) throttle.close();
    this.negotiation.close();
    this.channel?.close();
    this.#pageFiles.close();
    this.pc.close();
  }

  #listen() {
    this.pc.ontrack = ({ track }) => {
      (track.kind === 'audio' ? this.audio : this.video).addTrack(track);
      this.options.events.onTrack(this);
    };
    this.pc.ondatachannel = ({ channel }) => {
      if (channel.label === 'chat') this.#adoptChannel(channel);
      else if (channel.label === FILE_LABEL) this.#pageFiles.adopt(channel);
    };
    this.pc.onsignalingstatechange = () => {
      if (this.pc.signalingState === 'stable') this.#fillTransceivers();
    };
    this.pc.onconnectionstatechange = () => this.#connectionChanged();
  }

  #call() {
    this.#useChannel(this.pc.createDataChannel('chat'));
    for (const kind of KINDS) {
      const { sender } = this.pc.addTransceiver(kind, { direction: this.#direction(kind), streams: [this.#sentStream] });
      this.#inStream.add(sender);
    }
    this.#fillTransceivers();
  }

  /** @param {RTCDataChannel} channel */
  #adoptChannel(channel) {
    this.#chatChannels += 1;
    if (this.#chatChannels > CHAT_CHANNELS_MAX) channel.close();
    else this.#useChannel(channel);
  }

  /** @param {RTCDataChannel} channel */
  #useChannel(channel) {
    const { events } = this.options;
    this.channel = new Channel(channel, {
      mayShow: () => this.mayShow(),
      onText: (content, timestamp) => events.onText(this, content, timestamp),
      onFile: (transfer) => events.onFile(this, transfer),
      onChange: () => events.onChannel(this),
    });
  }

  // The page channel is created only if the description has a section for data: otherwise the browser would make
  // another offer to add one.
  /** @param {string} sdp */
  #remoteDescriptionApplied(sdp) {
    const mark = markOf(sdp);
    this.remoteConnection = mark?.connection ?? '';
    this.#askAgainForRelay();
    if (this.#pageChannel || !mark || !/^m=application [1-9]/m.test(sdp)) return;
    this.#pageChannel = new PageChannel(this.pc, {
      onOpen: () => {
        this.setMediaState(this.options.mediaState);
        this.sendSession(this.#ownId);
        this.#sendQuality();
        this.#fillTransceivers();
        this.#pageFiles.opened();
      },
      onMessage: (message) => this.#receiveFromPage(message),
      onClose: () => this.#pageFiles.close(),
    });
  }

  /** @param {import('./page-channel.js').Message} message */
  #receiveFromPage(message) {
    if (message.type === 'MEDIA') this.#mediaStates.push(message);
    if (message.type === 'SESSION') this.#receiveSession(message);
    if (message.type === 'OFFER') this.#requestedOffers.push(message);
    if (message.type === 'RECEIVE') this.#qualities.push(message);
    if (message.type === 'FILE_OFFER' && !this.mayShow()) this.#pageFiles.refuse(message);
    else if (message.type.startsWith('FILE_')) this.#pageFiles.receive(message);
  }

  /** Whether another message or file of the peer is shown. */
  mayShow() {
    const now = performance.now();
    if (this.#entries.tryAcquire(now)) return true;
    if (this.#floodNotices.tryAcquire(now)) this.options.events.onFlood(this);
    return false;
  }

  /** Asks the peer's page to limit what it sends, which needs no offer and so no server. False if it cannot be asked. */
  #sendQuality() {
    return this.#pageChannel?.send({ type: 'RECEIVE', quality: this.options.quality }) ?? false;
  }

  /** @param {import('./page-channel.js').Message} message */
  #receiveQuality({ quality }) {
    this.#wantedQuality = qualityOf(quality);
    this.#fillTransceivers();
  }

  /** @param {import('./page-channel.js').Message} message */
  #receiveSession({ peerId }) {
    this.sentId = textOf(peerId);
    this.options.events.onSession(this);
  }

  /** @param {import('./page-channel.js').Message} message */
  #receiveMediaState(message) {
    const video = message['video'] === 'camera' || message['video'] === 'screen' ? message['video'] : 'off';
    this.mediaState = { isMuted: message['isMuted'] === true, video };
    this.options.events.onMediaState(this);
  }

  // One change at a time, because setting the parameters of a sender fails if they were read again in between. The
  // limits of a sender are set after a negotiation, which changes the parameters too.
  #fillTransceivers() {
    this.#filling = this.#filling.then(() => this.#fillAll()).catch((error) => console.warn('senders', error));
    return this.#filling.then(() => {});
  }

  // This page sends in the first section of each kind; further sections of the peer stay unused.
  async #fillAll() {
    if (this.pc.signalingState === 'closed') return;
    const transceivers = this.pc.getTransceivers();
    const firsts = KINDS.map((kind) => transceivers.find(({ receiver }) => receiver.track.kind === kind));
    await Promise.all(firsts.map((transceiver) => transceiver && this.#fill(transceiver)));
  }

  /** @param {RTCRtpTransceiver} transceiver */
  async #fill(transceiver) {
    if (transceiver.currentDirection === 'stopped' || this.pc.signalingState === 'closed') return;
    const kind = /** @type {'audio' | 'video'} */ (transceiver.receiver.track.kind);
    transceiver.direction = this.#direction(kind);
    const quality = lower(this.options.quality, this.#wantedQuality);
    const isWanted = kind === 'audio' || PROFILES[quality].video;
    this.#putInStream(transceiver.sender);
    await transceiver.sender.replaceTrack(isWanted ? this.options.tracks[kind] : null);
    const isSettled = this.pc.signalingState === 'stable' && this.isAnswered;
    // Video that is resumed does not wait for an answer, which a stalled server would delay.
    const isResumed = transceiver.sender.track !== null && isPaused(transceiver.sender);
    if (isSettled || isResumed) await limitSender(transceiver.sender, kind, quality, this.options.others);
  }

  // Once for each sender, because each call may request an offer.
  /** @param {RTCRtpSender} sender */
  #putInStream(sender) {
    if (this.#inStream.has(sender)) return;
    this.#inStream.add(sender);
    sender.setStreams(this.#sentStream);
  }

  /** @param {'audio' | 'video'} kind @returns {RTCRtpTransceiverDirection} */
  #direction(kind) {
    const isOff = kind === 'video' && !PROFILES[this.options.quality].video && !this.isPage;
    return isOff ? 'inactive' : 'sendrecv';
  }

  // Replaces a relay before its credentials expire, because the TURN server may end it then. The old relay carries the
  // media until the new one is ready. A client that is no page keeps the old relay: it may ignore the offer that is
  // needed.
  async #replaceRelay() {
    if (this.isPage && (await this.relay.isUsed()) && this.pc.signalingState !== 'closed') this.pc.restartIce();
  }

  // Restarts ICE with the new credentials, if the connection still needs a relay.
  #askAgainForRelay() {
    const isWanted = this.state === 'connecting' || this.state === 'reconnecting';
    if (!this.#hasOtherCredentials || !isWanted || !this.remoteConnection) return;
    this.#hasOtherCredentials = false;
    this.pc.restartIce();
  }

  /** @param {Frame} frame */
  #send(frame) {
    if (!this.isDeparted) this.options.send({ ...frame, toPeerId: this.address });
  }

  #connectionChanged() {
    const { connectionState } = this.pc;
    if (connectionState === 'connected') this.#connected();
    if (connectionState === 'disconnected') this.#setState('reconnecting');
    if (connectionState === 'failed') this.#connectionFailed();
    if (connectionState === 'closed') this.#setState('failed');
  }

  #connected() {
    this.#restarts = 0;
    this.#setState('connected');
  }

  // Only the caller restarts ICE, so that the restarts of the two sides do not collide.
  #connectionFailed() {
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
    this.#watchState();
    this.options.events.onState(this);
  }

  #watchState() {
    clearTimeout(this.#giveUp);
    if (this.state === 'connecting' || this.state === 'reconnecting') {
      this.#giveUp = setTimeout(() => this.#setState('failed'), GIVE_UP_MS);
    }
  }
}
