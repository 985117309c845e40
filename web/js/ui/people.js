// @ts-check
// The grid of all members: updated from the mesh, with their media and with the member that speaks.

import { ActiveSpeaker } from '../active-speaker.js';
import { isMirrored } from '../cameras.js';
import { SpeakingDetector } from '../speaking.js';
import { texts } from '../texts.js';
import { Grid } from './grid.js';
import { Tile } from './tile.js';

/** @typedef {import('../peer.js').Peer} Peer */
/** @typedef {import('../stats.js').Rates} Rates */
/** @typedef {import('../media.js').Media} Media */

const SELF = 'self';

export class People {
  #grid = new Grid(SELF);
  #activeSpeaker = new ActiveSpeaker();
  #self;
  #speaking;
  /** @type {MediaStreamTrack | null} */ #watchedMic = null;
  /** Peers whose sound the browser does not play yet. @type {Set<string>} */ #blocked = new Set();
  #playAll = () => {
    for (const id of this.#blocked) this.#play(id);
  };

  /** @param {string} name @param {string} speakerId @param {{onSoundBlocked: (isBlocked: boolean) => void, onTryAgain: (peer: Peer) => void, onDetails: (peer: Peer) => void}} events */
  constructor(name, speakerId, events) {
    this.speakerId = speakerId;
    this.events = events;
    this.#speaking = new SpeakingDetector((id, isSpeaking) => this.#setSpeaking(id, isSpeaking));
    this.#self = new Tile(SELF, name, texts.tile.you(name));
    this.#self.setState(SELF);
    this.#grid.add(SELF, this.#self);
    addEventListener('pointerdown', this.#playAll);
    addEventListener('keydown', this.#playAll);
  }

  /** @param {string} name */
  renameSelf(name) {
    this.#self.rename(name, texts.tile.you(name));
  }

  /** @param {Media} media */
  showSelf(media) {
    const { video } = media.tracks;
    this.#self.setVideoStream(video ? new MediaStream([video]) : null);
    this.#self.setVideo(video !== null);
    this.#self.element.classList.toggle('is-mirrored', video === media.camera && isMirrored(media.camera));
    this.#self.setMuted(media.state.isMuted);
    if (media.mic !== this.#watchedMic) this.#speaking.watch(SELF, media.mic);
    this.#watchedMic = media.mic;
  }

  /** @param {Peer} peer */
  add(peer) {
    const tile = new Tile(peer.id, peer.username);
    tile.onTryAgain = () => this.events.onTryAgain(peer);
    tile.onDetails = () => this.events.onDetails(peer);
    tile.setState(peer.state);
    tile.setSpeaker(this.speakerId);
    this.#grid.add(peer.id, tile);
  }

  /** @param {import('./grid.js').View} view */
  setView(view) {
    this.#grid.setView(view);
  }

  /** @param {string} id @param {boolean} isSpeaking */
  #setSpeaking(id, isSpeaking) {
    this.#grid.tiles.get(id)?.setSpeaking(isSpeaking);
    if (id !== SELF && this.#activeSpeaker.hear(id, isSpeaking, performance.now())) this.#grid.setSpeaker(this.#activeSpeaker.current);
  }

  /** @param {Peer} peer */
  remove(peer) {
    if (this.#activeSpeaker.remove(peer.id)) this.#grid.setSpeaker('');
    this.#speaking.unwatch(peer.id);
    this.#setBlocked(peer.id, false);
    this.#grid.remove(peer.id);
  }

  /** @param {Peer} peer @param {string} reason  why it has failed, if it has */
  showState(peer, reason) {
    this.#grid.tiles.get(peer.id)?.setState(peer.state, reason);
  }

  /** @param {Peer} peer */
  showChannel(peer) {
    this.#grid.tiles.get(peer.id)?.setChat(peer.channel?.isOpen ?? false);
  }

  /** @param {Peer} peer */
  showStream(peer) {
    const tile = this.#grid.tiles.get(peer.id);
    if (peer.video.getTracks().length > 0) tile?.setVideoStream(peer.video);
    const [sound] = peer.audio.getAudioTracks();
    if (!tile || !sound || tile.audio.srcObject === peer.audio) return;
    tile.audio.srcObject = peer.audio;
    this.#speaking.watch(peer.id, sound);
    this.#play(peer.id);
  }

  /** @param {Peer} peer @returns {boolean} whether it has begun to share a screen */
  showMediaState(peer) {
    const tile = this.#grid.tiles.get(peer.id);
    if (!peer.mediaState || !tile) return false;
    tile.setMuted(peer.mediaState.isMuted);
    if (peer.mediaState.video === 'off') tile.setVideo(false);
    return this.#grid.setScreen(peer.id, peer.mediaState.video === 'screen');
  }

  /** @param {string} speakerId */
  setSpeaker(speakerId) {
    this.speakerId = speakerId;
    for (const tile of this.#grid.tiles.values()) tile.setSpeaker(speakerId);
  }

  /** @param {Map<Peer, Rates>} rates */
  showRates(rates) {
    for (const [peer, rate] of rates) {
      const tile = this.#grid.tiles.get(peer.id);
      tile?.setRates(rate);
      tile?.setVideo(rate.hasVideo && peer.mediaState?.video !== 'off');
    }
  }

  close() {
    removeEventListener('pointerdown', this.#playAll);
    removeEventListener('keydown', this.#playAll);
    this.#speaking.close();
    this.#grid.close();
  }

  // A browser refuses to play sound before the first touch or key on the page.
  /** @param {string} id */
  async #play(id) {
    const error = await this.#grid.tiles.get(id)?.audio.play().then(() => null, (reason) => reason);
    this.#setBlocked(id, error?.name === 'NotAllowedError');
  }

  /** @param {string} id @param {boolean} isBlocked */
  #setBlocked(id, isBlocked) {
    if (isBlocked) this.#blocked.add(id);
    else this.#blocked.delete(id);
    this.events.onSoundBlocked(this.#blocked.size > 0);
  }
}
