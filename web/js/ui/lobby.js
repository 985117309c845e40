// @ts-check
// The screen before the call: the name, the room, the own picture, and the problems of devices.

import { isMirrored } from '../cameras.js';
import { asked, newRoomName, recall, remember } from '../settings.js';
import { texts } from '../texts.js';
import { byId, draw, press, say } from './dom.js';

/** @typedef {import('../media.js').Media} Media */
/**
 * @typedef {object} LobbyEvents
 * @property {(name: string, room: string) => void} onJoin
 * @property {() => void} onCancel
 */

export class Lobby {
  #screen = byId('prejoin', HTMLElement);
  #name = byId('name', HTMLInputElement);
  #room = byId('room', HTMLInputElement);
  #join = byId('join', HTMLButtonElement);
  #error = byId('join-error', HTMLElement);
  #problem = byId('media-problem', HTMLElement);
  #preview = byId('preview', HTMLVideoElement);
  #previewBox = byId('preview-box', HTMLElement);
  #mic = byId('prejoin-mic', HTMLButtonElement);
  #camera = byId('prejoin-camera', HTMLButtonElement);
  #isBusy = false;

  /** @param {Media} media @param {LobbyEvents} events */
  constructor(media, events) {
    this.media = media;
    this.events = events;
    this.#name.value = shortened(asked.name || recall('name'), this.#name.maxLength);
    this.#room.value = asked.room || newRoomName();
    byId('join-form', HTMLFormElement).addEventListener('submit', (event) => this.#submit(event));
    this.#mic.addEventListener('click', () => this.#toggleMic());
    this.#camera.addEventListener('click', () => this.#toggleCamera());
  }

  show() {
    this.#screen.hidden = false;
    byId('prejoin-devices', HTMLElement).append(byId('devices', HTMLElement));
    this.#setBusy(false);
    this.refresh();
    (this.#name.value ? this.#join : this.#name).focus();
  }

  hide() {
    this.#screen.hidden = true;
    this.#preview.srcObject = null;
    byId('settings-devices', HTMLElement).append(byId('devices', HTMLElement));
  }

  async openMedia() {
    this.explainMedia(await this.media.openBoth());
  }

  /** @param {string} problem */
  explainMedia(problem) {
    say(this.#problem, problem);
  }

  submit() {
    byId('join-form', HTMLFormElement).requestSubmit();
  }

  /** @param {string} message @param {boolean} isName */
  refuse(message, isName) {
    this.show();
    say(this.#error, isName ? texts.lobby.chooseAnotherName(message) : message);
    if (isName) this.#name.select();
  }

  /** @param {string} message */
  explainDelay(message) {
    if (this.#isBusy) say(this.#error, message);
  }

  refresh() {
    const { camera, mic, isMuted } = this.media;
    press(this.#mic, mic !== null && !isMuted);
    draw(this.#mic, mic !== null && !isMuted ? 'i-mic' : 'i-muted');
    press(this.#camera, camera !== null);
    draw(this.#camera, camera ? 'i-camera' : 'i-camera-off');
    this.#previewBox.classList.toggle('is-live', camera !== null);
    this.#previewBox.classList.toggle('is-mirrored', isMirrored(camera));
    if (!this.#screen.hidden) this.#preview.srcObject = camera ? new MediaStream([camera]) : null;
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    if (this.#isBusy) {
      this.#setBusy(false);
      this.events.onCancel();
      return;
    }
    this.#setBusy(true);
    const [name, room] = [this.#name, this.#room].map(({ value }) => value.trim());
    remember('name', name ?? '');
    this.events.onJoin(name ?? '', room ?? '');
  }

  /** @param {boolean} isBusy */
  #setBusy(isBusy) {
    this.#isBusy = isBusy;
    say(this.#error, '');
    this.#join.textContent = isBusy ? texts.lobby.joining : texts.lobby.join;
  }

  async #toggleMic() {
    if (this.media.mic) this.media.setMuted(!this.media.isMuted);
    else this.explainMedia(await this.media.openMic());
  }

  async #toggleCamera() {
    if (this.media.camera) this.media.closeCamera();
    else this.explainMedia(await this.media.openCamera());
  }
}

/** The first characters, none of them cut in half. Needed for values of the link: a field bounds only typed text. @param {string} text @param {number} length */
function shortened(text, length) {
  return text.slice(0, length).replace(/[\ud800-\udbff]$/, '');
}
