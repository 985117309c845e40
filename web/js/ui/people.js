// @ts-check
// The grid of everyone, kept true to the mesh: who is there, what they send, whether they speak.

import { SpeakingDetector } from '../speaking.js';
import { Grid } from './grid.js';
import { Tile } from './tile.js';

/** @typedef {import('../peer.js').Peer} Peer */
/** @typedef {import('../stats.js').Rates} Rates */
/** @typedef {import('../media.js').Media} Media */

const SELF = 'self';

export class People {
  #grid = new Grid();
  #self;
  #speaking;
  /** @type {MediaStreamTrack | null} */ #heardMic = null;
  #playAll = () => this.#play();

  /** @param {string} name @param {(isBlocked: boolean) => void} onSoundBlocked */
  constructor(name, onSoundBlocked) {
    this.onSoundBlocked = onSoundBlocked;
    this.#speaking = new SpeakingDetector((id, speaks) => this.#grid.tiles.get(id)?.setSpeaking(speaks));
    this.#self = new Tile(SELF, name, `${name} (you)`);
    this.#self.video.muted = true;
    this.#self.setState(SELF);
    this.#grid.add(SELF, this.#self);
    addEventListener('pointerdown', this.#playAll);
    addEventListener('keydown', this.#playAll);
  }

  /** @param {Media} media */
  showSelf(media) {
    const { video } = media.tracks;
    this.#self.setStream(video ? new MediaStream([video]) : null);
    this.#self.setVideo(video !== null);
    this.#self.element.classList.toggle('is-mirrored', video !== null && video === media.camera);
    this.#self.setMuted(media.isMuted || media.mic === null);
    if (media.mic !== this.#heardMic) this.#speaking.watch(SELF, media.mic);
    this.#heardMic = media.mic;
  }

  /** @param {Peer} peer */
  add(peer) {
    const tile = new Tile(peer.id, peer.username);
    tile.setState(peer.state);
    this.#grid.add(peer.id, tile);
  }

  /** @param {Peer} peer */
  remove(peer) {
    this.#speaking.unwatch(peer.id);
    this.#grid.remove(peer.id);
  }

  /** @param {Peer} peer */
  showState(peer) {
    this.#grid.tiles.get(peer.id)?.setState(peer.state);
  }

  /** @param {Peer} peer */
  showChannel(peer) {
    this.#grid.tiles.get(peer.id)?.setChat(peer.channel?.isOpen ?? false);
  }

  /** @param {Peer} peer */
  showStream(peer) {
    this.#grid.tiles.get(peer.id)?.setStream(peer.stream);
    this.#speaking.watch(peer.id, peer.stream.getAudioTracks()[0]);
    this.#play();
  }

  /** @param {Map<Peer, Rates>} rates */
  showRates(rates) {
    for (const [peer, rate] of rates) {
      const tile = this.#grid.tiles.get(peer.id);
      tile?.setRates(rate);
      tile?.setVideo(rate.hasVideo);
      tile?.setMuted(peer.state === 'connected' && !rate.hasSound);
    }
  }

  close() {
    removeEventListener('pointerdown', this.#playAll);
    removeEventListener('keydown', this.#playAll);
    this.#speaking.close();
    this.#grid.clear();
  }

  // A browser may refuse sound on a page that nobody has touched yet.
  async #play() {
    const videos = [...this.#grid.tiles.values()].map(({ video }) => video).filter((video) => video.srcObject);
    const results = await Promise.allSettled(videos.map((video) => video.play()));
    const isBlocked = results.some((result) => result.status === 'rejected' && result.reason?.name === 'NotAllowedError');
    this.onSoundBlocked(isBlocked);
  }
}
