// @ts-check
// The choice of camera, microphone and speaker, before and during the call. Browsers name devices only once one of them
// was allowed, so the lists are filled again after each change.

import { listDevices } from '../media.js';
import { recall, remember } from '../settings.js';
import { texts } from '../texts.js';
import { byId, make } from './dom.js';

/** @typedef {import('../media.js').Media} Media */

export class Devices {
  #camera = byId('camera-select', HTMLSelectElement);
  #mic = byId('mic-select', HTMLSelectElement);
  #speaker = byId('speaker-select', HTMLSelectElement);

  /** @param {Media} media @param {{onProblem: (problem: string) => void, onSpeaker: (speakerId: string) => void}} events */
  constructor(media, events) {
    this.media = media;
    this.events = events;
    media.speakerId = recall('speaker');
    this.#speaker.addEventListener('change', () => this.#chooseSpeaker());
    byId('speaker-label', HTMLLabelElement).hidden = !('setSinkId' in HTMLMediaElement.prototype);
    media.cameraId = recall('camera');
    media.micId = recall('mic');
    this.#camera.addEventListener('change', () => this.#chooseCamera());
    this.#mic.addEventListener('change', () => this.#chooseMic());
    navigator.mediaDevices?.addEventListener('devicechange', () => this.refresh());
  }

  async refresh() {
    const devices = await listDevices();
    const { camera, mic, cameraId, micId, speakerId } = this.media;
    fill(this.#camera, devices, 'videoinput', camera?.getSettings().deviceId ?? cameraId);
    fill(this.#mic, devices, 'audioinput', mic?.getSettings().deviceId ?? micId);
    fill(this.#speaker, devices, 'audiooutput', speakerId);
  }

  async #chooseCamera() {
    this.media.cameraId = this.#camera.value;
    remember('camera', this.#camera.value);
    if (this.media.camera) this.events.onProblem(await this.media.openCamera());
  }

  async #chooseMic() {
    this.media.micId = this.#mic.value;
    remember('mic', this.#mic.value);
    if (this.media.mic) this.events.onProblem(await this.media.openMic());
  }

  #chooseSpeaker() {
    this.media.speakerId = this.#speaker.value;
    remember('speaker', this.#speaker.value);
    this.events.onSpeaker(this.#speaker.value);
  }
}

/** @param {HTMLSelectElement} select @param {MediaDeviceInfo[]} devices @param {string} kind @param {string} chosen */
function fill(select, devices, kind, chosen) {
  const options = devices.filter((device) => device.kind === kind).map((device, index) => {
    const option = make('option', { text: device.label || texts.devices.unnamed(index + 1) });
    option.value = device.deviceId;
    return option;
  });
  // Firefox lists no speaker before one is chosen, and plays anyway.
  if (options.length === 0) options.push(make('option', { text: kind === 'audiooutput' ? texts.devices.systemSpeaker : texts.devices.none }));
  select.replaceChildren(...options);
  select.value = options.some(({ value }) => value === chosen) ? chosen : (options[0]?.value ?? '');
}
