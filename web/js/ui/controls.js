// @ts-check
// The buttons and keys of a call.

import { recall, remember } from '../settings.js';
import { texts } from '../texts.js';
import { byId, draw, press } from './dom.js';

/** @typedef {import('../media.js').Media} Media */
/** @typedef {import('../quality.js').Quality} Quality */
/**
 * @typedef {object} ControlsEvents
 * @property {(quality: Quality) => void} onQuality
 * @property {() => void} onLeave
 * @property {(problem: string) => void} onProblem
 */

/** On a wide page, the chat is beside the tiles; on a narrow one, it covers them. As in the style sheet. */
const WIDE = matchMedia('(min-width: 761px)');
const TEXT_FIELDS = 'input:not([type=radio]), textarea, select, dialog';

export class Controls {
  #call = byId('call', HTMLElement);
  #mute = byId('mute', HTMLButtonElement);
  #camera = byId('camera', HTMLButtonElement);
  #screen = byId('screen', HTMLButtonElement);
  #chat = byId('chat-toggle', HTMLButtonElement);
  #unread = byId('unread', HTMLElement);
  #quality = byId('quality', HTMLFieldSetElement);
  #dialog = byId('settings-dialog', HTMLDialogElement);
  #shortcuts = byId('shortcuts', HTMLInputElement);
  #unreadCount = 0;
  /** @type {Record<string, HTMLButtonElement>} */
  #keys = { m: this.#mute, v: this.#camera, s: this.#screen, c: this.#chat };
  /** @type {Record<string, string>} */
  #names = { m: texts.controls.mute, v: texts.controls.camera, s: texts.controls.shareScreen, c: texts.controls.chat };
  #ended = new AbortController();

  /** @param {Media} media @param {ControlsEvents} events */
  constructor(media, events) {
    this.media = media;
    this.events = events;
    this.#on(this.#mute, () => this.#toggleMute());
    this.#on(this.#camera, () => this.#toggleCamera());
    this.#on(this.#screen, () => this.#toggleScreen());
    this.#on(this.#chat, () => this.#toggleChat());
    this.#on(byId('chat-close', HTMLButtonElement), () => this.setChatOpen(false));
    this.#on(byId('settings', HTMLButtonElement), () => this.#dialog.showModal());
    this.#on(byId('leave', HTMLButtonElement), events.onLeave);
    const { signal } = this.#ended;
    this.#quality.addEventListener('change', () => events.onQuality(this.quality), { signal });
    this.#shortcuts.checked = recall('shortcuts') !== 'off';
    this.#shortcuts.addEventListener('change', () => this.#switchKeys(), { signal });
    addEventListener('keydown', (event) => this.#keyPressed(event), { signal });
    WIDE.addEventListener('change', () => this.#coverStage(), { signal });
    this.#showKeys();
    this.setChatOpen(WIDE.matches);
    this.refresh();
  }

  /** @returns {Quality} */
  get quality() {
    const value = this.#quality.querySelector('input:checked')?.getAttribute('value');
    return value === 'low' || value === 'audio' ? value : 'normal';
  }

  get isChatOpen() {
    return !this.#call.classList.contains('is-chat-closed');
  }

  /** @param {boolean} isOpen */
  setChatOpen(isOpen) {
    const hadFocus = byId('chat', HTMLElement).contains(document.activeElement);
    this.#call.classList.toggle('is-chat-closed', !isOpen);
    press(this.#chat, isOpen);
    if (isOpen) this.countUnread(0);
    this.#coverStage();
    if (!isOpen && hadFocus) this.#chat.focus();
  }

  #toggleChat() {
    this.setChatOpen(!this.isChatOpen);
    if (this.isChatOpen) byId('chat-input', HTMLInputElement).focus();
  }

  // On a narrow page the chat covers the tiles and the controls: focus must not go behind it.
  #coverStage() {
    const isCovered = this.isChatOpen && !WIDE.matches;
    for (const id of ['grid', 'controls']) byId(id, HTMLElement).inert = isCovered;
  }

  #switchKeys() {
    remember('shortcuts', this.#shortcuts.checked ? 'on' : 'off');
    this.#showKeys();
  }

  #showKeys() {
    for (const [key, button] of Object.entries(this.#keys)) {
      const name = this.#names[key] ?? '';
      button.title = this.#shortcuts.checked ? texts.controls.withKey(name, key.toUpperCase()) : name;
      if (this.#shortcuts.checked) button.setAttribute('aria-keyshortcuts', key.toUpperCase());
      else button.removeAttribute('aria-keyshortcuts');
    }
  }

  /** A message or a file has arrived in the chat. */
  news() {
    if (!this.isChatOpen) this.countUnread(this.#unreadCount + 1);
  }

  /** @param {number} count */
  countUnread(count) {
    this.#unreadCount = count;
    this.#unread.textContent = String(count);
    this.#unread.hidden = count === 0;
    if (count > 0) this.#chat.setAttribute('aria-label', texts.controls.chatWithUnread(count));
    else this.#chat.removeAttribute('aria-label');
  }

  refresh() {
    const isAudioOnly = this.quality === 'audio';
    const { camera, mic, isMuted } = this.media;
    const isSilent = isMuted || mic === null;
    press(this.#mute, isSilent);
    draw(this.#mute, isSilent ? 'i-muted' : 'i-mic');
    press(this.#camera, camera !== null);
    draw(this.#camera, camera ? 'i-camera' : 'i-camera-off');
    press(this.#screen, this.media.screen !== null);
    this.#camera.disabled = isAudioOnly;
    this.#screen.disabled = isAudioOnly;
    this.#screen.hidden = !this.media.canShareScreen;
  }

  close() {
    this.#ended.abort();
    this.#dialog.close();
  }

  /** @param {HTMLButtonElement} button @param {() => void} action */
  #on(button, action) {
    button.addEventListener('click', action, { signal: this.#ended.signal });
  }

  async #toggleMute() {
    if (this.media.mic) this.media.setMuted(!this.media.isMuted);
    else this.#unmuteNew();
  }

  async #unmuteNew() {
    this.media.setMuted(false);
    this.events.onProblem(await this.media.openMic());
  }

  async #toggleCamera() {
    if (this.media.camera) this.media.closeCamera();
    else this.events.onProblem(await this.media.openCamera());
  }

  async #toggleScreen() {
    if (this.media.screen) this.media.closeScreen();
    else this.events.onProblem(await this.media.openScreen());
  }

  /** @param {KeyboardEvent} event */
  #keyPressed(event) {
    if (event.key === 'Escape' && this.#closesChat(event.target)) this.setChatOpen(false);
    const isTyping = event.target instanceof Element && event.target.closest(TEXT_FIELDS) !== null;
    if (!this.#shortcuts.checked || isTyping || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const key = event.key.toLowerCase();
    if (!event.defaultPrevented && Object.hasOwn(this.#keys, key)) {
      event.preventDefault();
      this.#keys[key]?.click();
    }
  }

  /** Whether Escape closes the chat. @param {EventTarget | null} target  where it was pressed */
  #closesChat(target) {
    const isInChat = target instanceof Node && byId('chat', HTMLElement).contains(target);
    return !document.querySelector('dialog[open]') && (isInChat || !WIDE.matches);
  }
}
