// @ts-check
// The choice of microphone and speaker. Browsers name them once the page may use the microphone.

import { byId, make, say } from '../../ui/dom.js';
import { canChooseSpeaker, chooseSpeaker } from '../audio/context.js';
import { recall, remember } from '../store.js';
import { texts } from '../texts.js';

export class DeviceSettings {
  #microphone = byId('microphone-choice', HTMLSelectElement);
  #speaker = byId('speaker-choice', HTMLSelectElement);
  #problem = byId('sound-problem', HTMLElement);

  constructor() {
    byId('speaker-label', HTMLElement).hidden = !canChooseSpeaker;
    byId('no-speaker-choice', HTMLElement).hidden = canChooseSpeaker;
    navigator.mediaDevices?.addEventListener('devicechange', () => this.refresh());
    this.#microphone.addEventListener('change', () => remember('microphone', this.microphone));
    this.#speaker.addEventListener('change', () => this.#chooseSpeaker());
    fill(this.#microphone, [], recall('microphone'));
    fill(this.#speaker, [], recall('speaker'));
    this.refresh().then(() => this.#chooseSpeaker());
  }

  /** The chosen microphone's id, or '' for the system's. */
  get microphone() {
    return this.#microphone.value;
  }

  /** @param {() => void} listener */
  onMicrophone(listener) {
    this.#microphone.addEventListener('change', listener);
  }

  /** Updates the lists after a change of the devices or their names. */
  async refresh() {
    const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    fill(this.#microphone, devices.filter(({ kind }) => kind === 'audioinput'), recall('microphone'));
    fill(this.#speaker, devices.filter(({ kind }) => kind === 'audiooutput'), recall('speaker'));
  }

  async #chooseSpeaker() {
    const { value } = this.#speaker;
    remember('speaker', value);
    const isThere = await chooseSpeaker(value);
    say(this.#problem, isThere ? '' : texts.sound.speakerFailed);
    if (isThere) return;
    this.#speaker.value = '';
    await chooseSpeaker('');
  }
}

/** @param {HTMLSelectElement} select @param {MediaDeviceInfo[]} devices @param {string} chosen */
function fill(select, devices, chosen) {
  const { defaultDevice, unnamed } = texts.sound;
  const named = devices.filter(({ deviceId }) => deviceId !== '' && deviceId !== 'default');
  const options = named.map(({ deviceId, label }, index) => option(deviceId, label || unnamed(index + 1)));
  select.replaceChildren(option('', defaultDevice), ...options);
  select.value = named.some(({ deviceId }) => deviceId === chosen) ? chosen : '';
}

/** @param {string} value @param {string} text */
function option(value, text) {
  const element = make('option', { text });
  element.value = value;
  return element;
}
