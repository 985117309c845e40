// @ts-check
// The dialog that shares the link of the room: as text, as a QR code, and by the share function of the device.

import { isOnlyHere } from '../links.js';
import { texts } from '../texts.js';
import { generate } from '../../vendor/lean-qr.js';
import { byId, label, say } from './dom.js';

const QUIET_ZONE = 4;

export class Invite {
  #dialog = byId('invite-dialog', HTMLDialogElement);
  #link = byId('invite-link', HTMLInputElement);
  #copy = byId('copy-link', HTMLButtonElement);
  #share = byId('share-link', HTMLButtonElement);
  #code = byId('invite-qr', HTMLCanvasElement);
  #status = byId('invite-status', HTMLElement);
  #warning = byId('invite-warning', HTMLElement);
  #ended = new AbortController();

  /** @param {() => string} linkOfRoom */
  constructor(linkOfRoom) {
    this.linkOfRoom = linkOfRoom;
    this.#name();
    const { signal } = this.#ended;
    for (const id of ['invite', 'invite-first']) byId(id, HTMLButtonElement).addEventListener('click', () => this.#open(), { signal });
    this.#copy.addEventListener('click', () => this.#copyLink(), { signal });
    this.#share.addEventListener('click', () => this.#shareLink(), { signal });
    this.#link.addEventListener('focus', () => this.#link.select(), { signal });
  }

  close() {
    this.#ended.abort();
    this.#dialog.close();
  }

  #name() {
    const words = texts.invite;
    label(byId('invite', HTMLButtonElement), words.button, words.title);
    byId('invite-first', HTMLElement).textContent = words.title;
    byId('invite-title', HTMLElement).textContent = words.title;
    byId('invite-close', HTMLElement).textContent = texts.dialog.close;
    label(this.#copy, words.copy);
    label(this.#share, words.share);
    this.#link.setAttribute('aria-label', words.link);
    this.#code.setAttribute('aria-label', words.code);
    this.#share.hidden = !navigator.share;
  }

  #open() {
    const link = this.linkOfRoom();
    this.#link.value = link;
    this.#status.textContent = '';
    say(this.#warning, isOnlyHere(new URL(link).hostname) ? texts.invite.onlyHere : '');
    this.#code.hidden = !this.#draw(link);
    this.#dialog.showModal();
  }

  /** @param {string} link @returns {boolean} whether a code can hold it */
  #draw(link) {
    try {
      generate(link).toCanvas(this.#code, { on: [0, 0, 0], off: [255, 255, 255], pad: QUIET_ZONE });
      return true;
    } catch (error) {
      console.info('QR code', error);
      return false;
    }
  }

  // A page over plain HTTP has no `navigator.clipboard`.
  async #copyLink() {
    const isCopied = await navigator.clipboard?.writeText(this.#link.value).then(() => true, () => false);
    this.#link.select();
    this.#status.textContent = isCopied || document.execCommand('copy') ? texts.invite.copied : texts.invite.notCopied;
  }

  #shareLink() {
    navigator.share({ title: document.title, url: this.#link.value }).catch((error) => console.info('share', error));
  }
}
