// @ts-check
// The tools of one tile: volume, pin, full screen, connection details. They are shown while the pointer or the focus is on
// the tile; a device without a pointer that hovers has a button that shows them.

import { texts } from '../texts.js';
import { icon, make, press } from './dom.js';

/**
 * @typedef {object} ToolEvents
 * @property {(volume: number) => void} onVolume  0 to 1
 * @property {() => void} onPin
 * @property {() => void} onFullScreen
 * @property {() => void} onDetails
 */

export class TileTools {
  #pin;
  #fullScreen;
  #more;
  #list;

  /** @param {string} username @param {boolean} isSelf @param {ToolEvents} events */
  constructor(username, isSelf, events) {
    this.#pin = tool('tile-pin', 'i-pin', texts.tile.pin(username), () => this.#use(events.onPin));
    this.#fullScreen = tool('tile-full-screen', 'i-full-screen', texts.tile.fullScreen(username), () => this.#use(events.onFullScreen));
    this.#fullScreen.hidden = !document.fullscreenEnabled;
    const details = tool('tile-details', 'i-details', texts.tile.details(username), () => this.#use(events.onDetails));
    const tools = [volume(username, events.onVolume), this.#pin, this.#fullScreen, details];
    this.#list = make('div', { className: 'tile-tool-list' }, isSelf ? [this.#pin, this.#fullScreen] : tools);
    this.#more = tool('tile-more', 'i-more', texts.tile.more(username), () => this.#setOpen(this.#list.dataset['open'] !== 'true'));
    this.element = make('div', { className: 'tile-tools' }, [this.#list, this.#more]);
    this.#setOpen(false);
    this.setPinned(false);
    this.setFullScreen(false);
  }

  /** @param {boolean} isPinned */
  setPinned(isPinned) {
    press(this.#pin, isPinned);
  }

  /** @param {boolean} isFullScreen */
  setFullScreen(isFullScreen) {
    press(this.#fullScreen, isFullScreen);
  }

  /** A list that was opened by its button closes, and the focus stays on something that is shown. @param {() => void} action */
  #use(action) {
    if (this.#list.dataset['open'] === 'true' && this.#more.checkVisibility()) this.#more.focus();
    this.#setOpen(false);
    action();
  }

  /** @param {boolean} isOpen */
  #setOpen(isOpen) {
    this.#list.dataset['open'] = String(isOpen);
    this.#more.setAttribute('aria-expanded', String(isOpen));
  }
}

/** @param {string} testid @param {string} drawing @param {string} name @param {() => void} action */
function tool(testid, drawing, name, action) {
  const button = make('button', { testid, className: testid }, [icon(drawing)]);
  button.type = 'button';
  button.title = name;
  button.setAttribute('aria-label', name);
  button.addEventListener('click', action);
  return button;
}

/** @param {string} username @param {(volume: number) => void} onVolume */
function volume(username, onVolume) {
  const input = make('input', { className: 'tile-volume', testid: 'tile-volume' });
  Object.assign(input, { type: 'range', min: '0', max: '1', step: '0.05', value: '1', title: texts.tile.volume(username) });
  input.setAttribute('aria-label', texts.tile.volume(username));
  input.addEventListener('input', () => onVolume(Number(input.value)));
  return input;
}
