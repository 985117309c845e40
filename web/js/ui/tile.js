// @ts-check
// One member in the grid, this one included: picture or initials, sound and its volume, name, speaking and muted marks,
// state, traffic. Sound has an element of its own, because a video element plays none before its first picture.

import { texts } from '../texts.js';
import { icon, make } from './dom.js';
import { TileTools } from './tile-tools.js';

/** @typedef {import('../peer.js').PeerState} PeerState */
/** @typedef {import('../stats.js').Rates} Rates */

export class Tile {
  video = make('video', { testid: 'tile-video' });
  audio = make('audio', { testid: 'tile-audio' });
  #name = make('span', { className: 'pill tile-name', testid: 'tile-name' });
  #shownName = '';
  #reason = make('p', { testid: 'tile-reason' });
  #tryAgain = make('button', { className: 'small', testid: 'try-again', text: texts.tile.tryAgain });
  #failure = make('div', { className: 'tile-failure' }, [this.#reason, this.#tryAgain]);
  onTryAgain = () => {};
  onPin = () => {};
  onDetails = () => {};
  #tools;
  #state = make('span', { className: 'pill tile-state', testid: 'tile-state' });
  #muted = make('span', { className: 'pill tile-muted', testid: 'tile-muted' }, [
    icon('i-muted'),
    make('span', { text: texts.tile.muted }),
  ]);
  #stats = make('span', { className: 'pill tile-stats', testid: 'tile-stats' });

  /** @param {string} id @param {string} username @param {string} shownName */
  constructor(id, username, shownName = username) {
    this.#shownName = shownName;
    this.#name.dir = 'auto';
    this.#tryAgain.type = 'button';
    this.#tryAgain.addEventListener('click', () => this.onTryAgain());
    this.#failure.hidden = true;
    const avatar = make('span', { className: 'avatar', text: initials(username) });
    avatar.setAttribute('aria-hidden', 'true');
    const head = make('div', { className: 'tile-head' }, [this.#state, this.#stats]);
    const foot = make('div', { className: 'tile-foot' }, [this.#name, this.#muted]);
    this.#tools = new TileTools(username, id === 'self', {
      onVolume: (volume) => (this.audio.volume = volume),
      onPin: () => this.onPin(),
      onFullScreen: () => this.#toggleFullScreen(),
      onDetails: () => this.onDetails(),
    });
    const parts = id === 'self' ? [this.#tools.element] : [this.audio, this.#tools.element, this.#failure];
    this.element = make('li', { className: 'tile', testid: 'tile' }, [this.video, avatar, foot, head, ...parts]);
    this.element.addEventListener('fullscreenchange', () => this.#tools.setFullScreen(document.fullscreenElement === this.element));
    this.audio.autoplay = true;
    this.video.muted = true;
    this.element.style.setProperty('--hue', String(hue(username)));
    Object.assign(this.element.dataset, { peer: id, username, speaking: 'false', video: 'off', chat: 'closed' });
    this.video.autoplay = true;
    this.video.playsInline = true;
    this.setMuted(false);
    this.#stats.setAttribute('role', 'img');
    this.rename(username, shownName);
  }

  /** @param {string} deviceId  empty for the default one */
  setSpeaker(deviceId) {
    if (!('setSinkId' in this.audio)) return;
    this.audio.setSinkId(deviceId).catch((error) => console.info('speaker', error));
  }

  /** @param {MediaStream | null} stream */
  setVideoStream(stream) {
    if (this.video.srcObject !== stream) this.video.srcObject = stream;
  }

  /** Stops the media elements, which would play on after their removal from the document. */
  close() {
    this.video.srcObject = null;
    this.audio.srcObject = null;
  }

  /** @param {string} username @param {string} shownName */
  rename(username, shownName) {
    this.element.dataset['username'] = username;
    this.#shownName = shownName;
    this.#name.textContent = shownName;
    this.#tools.rename(username);
    this.#describe();
  }

  /** The name of the tile for screen readers: the member, and its state unless it is connected. */
  #describe() {
    const { state, muted } = this.element.dataset;
    const words = state === 'connected' ? '' : (this.#state.textContent ?? '');
    const parts = [this.#shownName, words, muted === 'true' ? texts.tile.muted : ''];
    this.element.setAttribute('aria-label', parts.filter(Boolean).join(', '));
  }

  /** @param {PeerState | 'self'} state @param {string} [reason]  why it has failed, if it has */
  setState(state, reason = '') {
    this.#failure.hidden = state !== 'failed';
    this.#reason.textContent = reason;
    this.element.dataset['state'] = state;
    this.#state.textContent = texts.tile.states[state];
    this.#describe();
  }

  /** @param {boolean} isOn */
  setVideo(isOn) {
    this.element.dataset['video'] = isOn ? 'on' : 'off';
  }

  /** @param {boolean} isPinned */
  setPinned(isPinned) {
    this.#tools.setPinned(isPinned);
  }

  /** Whether the tile has the stage, and the others a strip below it. @param {boolean} isLarge */
  setLarge(isLarge) {
    this.element.dataset['large'] = String(isLarge);
  }

  #toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.element.requestFullscreen().catch((error) => console.info('full screen', error));
  }

  /** @param {boolean} isSpeaking */
  setSpeaking(isSpeaking) {
    this.element.dataset['speaking'] = String(isSpeaking);
  }

  /** @param {boolean} isMuted */
  setMuted(isMuted) {
    this.element.dataset['muted'] = String(isMuted);
    this.#muted.hidden = !isMuted;
    this.#describe();
  }

  /** @param {boolean} isOpen */
  setChat(isOpen) {
    this.element.dataset['chat'] = isOpen ? 'open' : 'closed';
  }

  /** @param {Rates} rates */
  setRates(rates) {
    const up = Math.round(rates.up);
    const down = Math.round(rates.down);
    this.#stats.textContent = texts.tile.shortRates(up, down);
    this.#stats.setAttribute('aria-label', texts.tile.rates(up, down));
    this.#stats.title = rates.picture ? texts.tile.picture(rates.picture) : '';
    const { picture, videoUp, audioUp } = rates;
    const numbers = { up, down, picture, videoUp: Math.round(videoUp), audioUp: Math.round(audioUp) };
    for (const [key, value] of Object.entries(numbers)) this.element.dataset[key] = String(value);
  }
}

/** @param {string} name */
function initials(name) {
  const words = name.trim().split(/\s+/);
  return words.slice(0, 2).map((word) => [...word][0] ?? '').join('').toUpperCase();
}

/** @param {string} name */
function hue(name) {
  return [...name].reduce((sum, letter) => (sum * 31 + (letter.codePointAt(0) ?? 0)) % 360, 7);
}
