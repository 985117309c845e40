// @ts-check
// One call from joining to leaving: connects signaling, mesh, media and the user interface, without logic of their own.

import { hasTurn, typedServers } from './ice.js';
import { Mesh } from './mesh.js';
import { roomLink, showRoomInAddress, signalingUrl } from './settings.js';
import { Signaling } from './signaling.js';
import { StatsMeter } from './stats.js';
import { texts } from './texts.js';
import { Controls } from './ui/controls.js';
import { Conversation } from './ui/conversation.js';
import { CameraSwitch } from './ui/camera-switch.js';
import { DetailsDialog } from './ui/details-dialog.js';
import { byId } from './ui/dom.js';
import { Invite } from './ui/invite.js';
import { People } from './ui/people.js';
import { Status } from './ui/status.js';
import { ViewSwitch } from './ui/view-switch.js';
import { textOf } from './untrusted.js';
import { WakeLock } from './wake-lock.js';

/** @typedef {import('./signaling.js').Frame} Frame */
/** @typedef {import('./peer.js').Peer} Peer */
/** @typedef {import('./stats.js').Rates} Rates */
/** @typedef {import('./media.js').Media} Media */
/** @typedef {import('./quality.js').Quality} Quality */
/**
 * @typedef {object} CallEvents
 * @property {() => void} onJoined
 * @property {(words: string) => void} onDelay  the server cannot be reached yet
 * @property {(message: string, isName: boolean) => void} onRefused  the server has refused the name (`isName`) or the room
 * @property {() => void} onLeft
 */


export class Call {
  #screen = byId('call', HTMLElement);
  #status = new Status();
  #isShown = false;
  #isSoundBlocked = false;
  #wakeLock = new WakeLock();

  /**
   * @param {object} options
   * @param {string} options.name
   * @param {string} options.room
   * @param {Media} options.media
   * @param {() => import('./ice.js').Typed} options.typedServers
   * @param {import('./offered-servers.js').OfferedServers} options.offered
   * @param {CallEvents} events
   */
  constructor(options, events) {
    this.options = options;
    this.events = events;
    const { media, name, room } = options;
    this.controls = new Controls(media, {
      onQuality: (quality) => this.#setQuality(quality),
      onLeave: () => this.leave(),
      onProblem: (words) => this.#status.problem(words),
    });
    media.setQuality(this.controls.quality);
    this.people = new People(name, media.speakerId, {
      onSoundBlocked: (isBlocked) => this.#soundBlocked(isBlocked),
      onTryAgain: (peer) => this.#tryAgain(peer),
      onDetails: (peer) => this.detailsDialog.open(peer),
    });
    this.cameraSwitch = new CameraSwitch(media, (words) => this.#status.problem(words));
    this.detailsDialog = new DetailsDialog();
    this.invite = new Invite(() => roomLink(this.options.room, this.options.typedServers()));
    this.viewSwitch = new ViewSwitch((view) => this.people.setView(view));
    this.conversation = new Conversation({
      peers: () => [...this.mesh.peers.values()],
      sendThroughServer: (content) => this.signaling.send({ type: 'CHAT_MESSAGE', content }),
      onNews: (words, isMessage) => this.#news(words, isMessage),
    });
    this.mesh = this.#newMesh();
    this.meter = new StatsMeter(() => this.mesh.peers.values(), (rates) => this.#showRates(rates));
    this.signaling = new Signaling({ url: signalingUrl(), name, room }, {
      onState: (state, retryInMs) => this.#signalingState(state, retryInMs),
      onSession: (peerId) => this.mesh.startSession(peerId),
      onFrame: (frame) => this.#receive(frame),
      onRefused: (message, isName) => this.#refused(message, isName),
      onName: (name) => this.#renamed(name),
    });
  }

  /** The camera, the microphone or the screen has changed. */
  mediaChanged() {
    this.mesh?.setMedia(this.options.media.tracks, this.options.media.state);
    this.people?.showSelf(this.options.media);
    this.controls?.refresh();
    this.cameraSwitch?.refresh();
  }

  /** Plays the others on another device. @param {string} speakerId */
  setSpeaker(speakerId) {
    this.people.setSpeaker(speakerId);
  }

  /** Sets the current ICE servers for existing and new connections. */
  updateServers() {
    this.mesh.setIceServers(this.#iceServers());
  }

  async #refreshServers() {
    await this.options.offered.refresh();
    this.updateServers();
  }

  #iceServers() {
    return [...this.options.offered.servers, ...typedServers(this.options.typedServers())];
  }

  /** @param {Peer} peer */
  async #tryAgain(peer) {
    await this.#refreshServers();
    this.mesh.callAnew(peer);
  }

  /** The server accepted another name than the requested one. @param {string} name */
  #renamed(name) {
    const words = texts.call.nameTaken(this.options.name, name);
    this.options.name = name;
    this.people.renameSelf(name);
    this.conversation.log.addEvent(words);
    this.#status.notice(words);
  }

  leave() {
    this.#end();
    this.events.onLeft();
  }

  #newMesh() {
    const { people, conversation } = this;
    return new Mesh({
      iceServers: this.#iceServers(),
      tracks: this.options.media.tracks,
      mediaState: this.options.media.state,
      quality: this.controls.quality,
      send: (frame) => this.signaling.isJoined && this.signaling.send(frame),
      events: {
        onAdded: (peer, why) => this.#added(peer, why),
        onRemoved: (peer, why) => this.#removed(peer, why),
        onState: (peer) => this.#peerChanged(peer),
        onTrack: (peer) => people.showStream(peer),
        onMediaState: (peer) => people.showMediaState(peer) && peer.mayShow() && conversation.announce(texts.call.sharesScreen(peer.username)),
        onChannel: (peer) => people.showChannel(peer),
        onRelayRefused: () => this.options.offered.replace(),
        onFlood: (peer) => conversation.log.addEvent(texts.chat.tooMany(peer.username)),
        onText: (peer, content, timestamp) => conversation.receive(peer.username, content, timestamp),
        onFile: (peer, transfer) => conversation.receiveFile(peer, transfer),
      },
    });
  }

  /** @param {Peer} peer */
  #peerChanged(peer) {
    const reason = noRoute(hasTurn(this.#iceServers()), peer.relay.state);
    this.people.showState(peer, reason);
    if (peer.state === 'failed') this.#status.speak(texts.status.notConnected(peer.username, reason));
    if (peer.state === 'reconnecting') this.options.offered.renewIfDue();
  }

  /** @param {Peer} peer @param {'joined' | 'present' | 'back'} why */
  #added(peer, why) {
    this.people.add(peer);
    // After this page has returned, the return of the others is no news.
    const isOwnReturn = why === 'back' && peer.options.calling;
    if (isOwnReturn) return;
    this.conversation.announce(texts.call[why](peer.username));
  }

  /** @param {Peer} peer @param {'left' | 'replaced' | 'closed'} why */
  #removed(peer, why) {
    this.people.remove(peer);
    this.detailsDialog.forget(peer);
    if (why === 'left') this.conversation.announce(texts.call.left(peer.username));
  }

  /** @param {Frame} frame */
  #receive(frame) {
    if (frame.type === 'CHAT_MESSAGE') this.#receiveChat(frame);
    else if (frame.type === 'ERROR') this.conversation.log.addEvent(texts.call.serverSays(textOf(frame['message'] ?? frame['code'])));
    else this.mesh.receive(frame);
  }

  /** @param {Frame} frame */
  #receiveChat(frame) {
    this.conversation.receive(textOf(frame['username']), textOf(frame['content']), Date.now());
  }

  /** @param {import('./signaling.js').SignalingState} state @param {number} retryInMs */
  #signalingState(state, retryInMs) {
    this.#status.showConnection(state, retryInMs);
    if (state === 'joined' && this.#isShown) this.#refreshServers();
    if (state === 'joined') this.#show();
    if (state === 'waiting') this.events.onDelay(texts.lobby.unreachable);
  }

  #show() {
    if (this.#isShown) return;
    this.#isShown = true;
    this.#wakeLock.acquire();
    showRoomInAddress(this.options.room);
    document.title = texts.page.titleInCall(this.options.room);
    const title = byId('room-title', HTMLElement);
    title.textContent = this.options.room;
    this.#status.problem('');
    this.#status.showTraffic(0, 0);
    this.#screen.hidden = false;
    this.events.onJoined();
    title.focus();
    this.mediaChanged();
    const { mic, camera } = this.options.media;
    if (!mic && !camera) this.conversation.log.addEvent(texts.call.noDevices);
  }

  /** @param {string} message @param {boolean} isName */
  #refused(message, isName) {
    this.#end();
    this.events.onRefused(message, isName);
  }

  #end() {
    this.#wakeLock.release();
    for (const part of [this.viewSwitch, this.cameraSwitch, this.detailsDialog, this.invite]) part.close();
    this.mesh.close();
    this.signaling?.close();
    this.meter.stop();
    // Before the tiles end: the change of media is shown in them.
    this.options.media.closeScreen();
    this.people.close();
    this.conversation.close();
    this.controls.close();
    this.#screen.hidden = true;
    document.title = texts.page.title;
  }

  /** @param {Quality} quality */
  async #setQuality(quality) {
    this.mesh.setQuality(quality);
    this.#status.problem(await this.options.media.setQuality(quality));
  }

  /** @param {Map<Peer, Rates>} rates */
  #showRates(rates) {
    this.people.showRates(rates);
    const all = [...rates.values()];
    this.#status.showTraffic(sum(all.map(({ up }) => up)), sum(all.map(({ down }) => down)));
  }

  /** @param {boolean} isBlocked */
  #soundBlocked(isBlocked) {
    if (isBlocked !== this.#isSoundBlocked) this.#status.problem(isBlocked ? texts.call.soundBlocked : '');
    this.#isSoundBlocked = isBlocked;
  }

  /** @param {string} words @param {boolean} isMessage */
  #news(words, isMessage) {
    if (!this.controls.isChatOpen) this.#status.notice(words);
    if (isMessage) this.controls.news();
  }
}

/** @param {boolean} hasTurn @param {import('./relay.js').RelayState} relay */
function noRoute(hasTurn, relay) {
  return hasTurn ? texts.noRoute[relay] : texts.noRoute.withoutTurn;
}

/** @param {number[]} numbers */
function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
