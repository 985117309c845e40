// @ts-check
// The settings of the sound: the devices, the format of the stream, and whether the microphone's sound is left as it is.

import { byId, make } from '../../ui/dom.js';
import { playableFormats } from '../audio/decoders.js';
import { recall, remember } from '../store.js';
import { texts } from '../texts.js';
import { DeviceSettings } from './device-settings.js';

/** @typedef {import('../audio/decoders.js').Format} Format */
/** @typedef {import('../line.js').Sound} Sound */

/** @type {Format[]} */
const ALL = ['opus', 'wav', 'vorbis'];

export class SoundSettings {
  devices = new DeviceSettings();
  #format = byId('format', HTMLSelectElement);
  #raw = byId('raw', HTMLInputElement);
  /** @type {Format[]} */ #decoded;

  /** @param {Format[]} decoded  the formats that the page itself decodes, best first */
  constructor(decoded) {
    this.#decoded = decoded;
    const offered = ALL.filter((format) => decoded.includes(format) || canElementPlay(format));
    this.#format.replaceChildren(...offered.map((format) => option(format)));
    const kept = ALL.find((format) => format === recall('format') && offered.includes(format));
    this.#format.value = kept ?? decoded[0] ?? 'wav';
    this.#raw.checked = recall('raw') === '1';
  }

  static async open() {
    return new SoundSettings(await playableFormats());
  }

  /** @returns {Sound} */
  get sound() {
    const format = ALL.find((one) => one === this.#format.value) ?? 'wav';
    return { format, isDecoded: this.#decoded.includes(format), isRaw: this.#raw.checked, deviceId: this.devices.microphone };
  }

  /** @param {() => void} listener */
  onChange(listener) {
    this.devices.onMicrophone(listener);
    for (const control of [this.#format, this.#raw]) {
      control.addEventListener('change', () => {
        remember('format', this.#format.value);
        remember('raw', this.#raw.checked ? '1' : '0');
        listener();
      });
    }
  }
}

/** @param {Format} format */
function canElementPlay(format) {
  return format !== 'wav' && new Audio().canPlayType(`audio/ogg; codecs="${format}"`) !== '';
}

/** @param {Format} format */
function option(format) {
  const element = make('option', { text: texts.sound[format] });
  element.value = format;
  return element;
}
