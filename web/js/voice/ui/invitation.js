// @ts-check
// The card that a link to a room shows. The link alone does not join the room.

import { byId } from '../../ui/dom.js';
import { texts } from '../texts.js';
import { keepFocus } from './focus.js';

export class Invitation {
  #card = byId('invitation', HTMLElement);
  #text = byId('invitation-text', HTMLElement);
  #yes = byId('invitation-yes', HTMLButtonElement);

  /** @param {(room: string) => void} onJoin */
  constructor(onJoin) {
    this.#yes.addEventListener('click', () => {
      const room = this.#card.dataset['room'] ?? '';
      this.hide();
      onJoin(room);
    });
    byId('invitation-no', HTMLButtonElement).addEventListener('click', () => this.hide());
  }

  /** @param {string} room  as it is joined @param {string} title  as it is shown */
  offer(room, title) {
    this.#card.dataset['room'] = room;
    this.#card.hidden = false;
    this.#text.textContent = texts.invitation.text(title);
    this.#yes.focus();
  }

  hide() {
    keepFocus(this.#card, () => (this.#card.hidden = true), () => byId('rooms-title', HTMLElement));
  }
}
