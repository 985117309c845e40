// @ts-check
// The button that changes between the cameras of a phone. Elsewhere the settings have the list of cameras.

import { listDevices } from '../media.js';
import { remember } from '../settings.js';
import { texts } from '../texts.js';
import { byId, label } from './dom.js';

/** @typedef {import('../media.js').Media} Media */

const TOUCH = matchMedia('(pointer: coarse)');

export class CameraSwitch {
  #button = byId('switch-camera', HTMLButtonElement);
  #ended = new AbortController();

  /** @param {Media} media @param {(problem: string) => void} onProblem */
  constructor(media, onProblem) {
    this.media = media;
    this.onProblem = onProblem;
    label(this.#button, texts.camera.flip, texts.camera.flipTitle);
    const { signal } = this.#ended;
    this.#button.addEventListener('click', () => this.#switch(), { signal });
    navigator.mediaDevices?.addEventListener('devicechange', () => this.refresh(), { signal });
    this.refresh();
  }

  async refresh() {
    const cameras = (await listDevices()).filter(({ kind }) => kind === 'videoinput');
    this.#button.hidden = !TOUCH.matches || cameras.length < 2 || this.media.camera === null;
  }

  close() {
    this.#ended.abort();
  }

  async #switch() {
    this.#button.disabled = true;
    this.onProblem(await this.media.switchCamera());
    this.#button.disabled = false;
    remember('camera', this.media.cameraId);
  }
}
