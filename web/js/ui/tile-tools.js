// @ts-check
// The tools of one tile: volume, pin, full screen, connection details. They are shown while the pointer or the focus is
// on the tile; a device without a pointer that hovers has a button that shows them.

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
  #volume;
  #pin;
  #fullScreen;
  #details;
  #more;
  #list;

  /** @param {string} username @param {boolean} isSelf @param {ToolEvents} events */
  constructor(username, isSelf, events) {
    this.#volume = volume(events.onVolume);
    this.#pin = tool('tile-pin', 'i-pin', () => this.#use(events.onPin));
    this.#fullScreen = tool('tile-full-screen', 'i-full-screen', () => this.#use(events.onFullScreen));
    this.#fullScreen.hidden = !document.fullscreenEnabled;
    this.#details = tool('tile-details', 'i-details', () => this.#use(events.onDetails));
    const tools = [this.#volume, this.#pin, this.#fullScreen, this.#details];
    this.#list = make('div', { className: 'tile-tool-list' }, isSelf ? [this.#pin, this.#fullScreen] : tools);
    this.#more = tool('tile-more', 'i-more', () => this.#setOpen(this.#list.dataset['open'] !== 'true'));
    this.element = make('div', { className: 'tile-tools' }, [this.#list, this.#more]);
    this.#setOpen(false);
    this.setPinned(false);
    this.setFullScreen(false);
    this.rename(username);
  }

  /** @param {string} username */
  rename(username) {
    name(this.#volume, texts.tile.volume(username));
    name(this.#pin, texts.tile.pin(username));
    name(this.#fullScreen, texts.tile.fullScreen(username));
    name(this.#details, texts.tile.details(username));
    name(this.#more, texts.tile.more(username));
  }

  /** @param {boolean} isPinned */
  setPinned(isPinned) {
    press(this.#pin, isPinned);
  }

  /** @param {boolean} isFullScreen */
  setFullScreen(isFullScreen) {
    press(this.#fullScreen, isFullScreen);
  }

  /** Runs an action. Tools that their button has opened close, and the focus moves to an element that is still shown. @param {() => void} action */
  #use(action) {
    if (this.#list.dataset['open'] === 'true' && this.#more.offsetParent !== null) this.#more.focus();
    this.#setOpen(false);
    action();
  }

  /** @param {boolean} isOpen */
  #setOpen(isOpen) {
    this.#list.dataset['open'] = String(isOpen);
    this.#more.setAttribute('aria-expanded', String(isOpen));
  }
}

/** @param {HTMLElement} element @param {string} text */
function name(element, text) {
  element.title = text;
  element.setAttribute('aria-label', text);
}

/** @param {string} testid @param {string} drawing @param {() => void} action */
function tool(testid, drawing, action) {
  const button = make('button', { testid, className: testid }, [icon(drawing)]);
  button.type = 'button';
  button.addEventListener('click', action);
  return button;
}

/** @param {(volume: number) => void} onVolume */
function volume(onVolume) {
  const input = make('input', { className: 'tile-volume', testid: 'tile-volume' });
  Object.assign(input, { type: 'range', min: '0', max: '1', step: '0.05', value: '1' });
  input.addEventListener('input', () => onVolume(Number(input.value)));
  return input;
}
