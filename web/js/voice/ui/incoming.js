// @ts-check
// The incoming calls, one card for each. With keys a call can be accepted only after the caller has proven its key.

import { byId, icon, make, put } from '../../ui/dom.js';
import { fullAddress } from '../names.js';
import { texts } from '../texts.js';
import { keepFocus } from './focus.js';

/** @typedef {import('../handshake.js').IncomingCall} IncomingCall */
/** @typedef {import('../names.js').Names} Names */
/** @typedef {{root: HTMLElement, title: HTMLElement, badge: HTMLElement, accept: HTMLButtonElement}} Card */

export class Incoming {
  #place = byId('incoming', HTMLElement);
  /** @type {Map<string, Card>} */ #cards = new Map();

  /** @param {Names} names @param {{onAccept: (from: string) => void, onDecline: (from: string) => void}} events */
  constructor(names, events) {
    this.names = names;
    this.events = events;
  }

  /** @param {Map<string, IncomingCall>} calls @param {boolean} isBusy */
  show(calls, isBusy) {
    for (const [from, card] of this.#cards) if (!calls.has(from)) this.#remove(from, card);
    for (const [from, call] of calls) this.#refresh(this.#cards.get(from) ?? this.#add(from), call, isBusy);
  }

  /** @param {string} from @returns {Card} */
  #add(from) {
    const badge = make('span', { className: 'badge', testid: 'incoming-badge' });
    const accept = make('button', { className: 'primary', testid: 'accept' }, [icon('i-call'), make('span', { text: texts.incoming.accept })]);
    const decline = make('button', { className: 'leave', testid: 'decline' }, [icon('i-hangup'), make('span', { text: texts.incoming.decline })]);
    accept.addEventListener('click', () => this.events.onAccept(from));
    decline.addEventListener('click', () => this.events.onDecline(from));
    for (const button of [accept, decline]) button.type = 'button';
    const title = make('h2');
    const root = make('article', { className: 'card ringing', testid: 'incoming-call' }, [
      make('div', { className: 'title' }, [title, badge]),
      make('p', { className: 'full-address', text: fullAddress(from) }),
      make('div', { className: 'actions' }, [accept, decline]),
    ]);
    root.dataset['from'] = from;
    const card = { root, title, badge, accept };
    this.#cards.set(from, card);
    this.#place.append(root);
    return card;
  }

  /** @param {Card} card @param {IncomingCall} call @param {boolean} isBusy */
  #refresh({ root, title, badge, accept }, call, isBusy) {
    const isCalling = texts.incoming.isCalling(this.names.of(call.from));
    put(title, isCalling);
    root.setAttribute('aria-label', isCalling);
    const isOpen = call.isVerified || !call.isChecked;
    const wasOpen = root.dataset['state'] === 'verified' || root.dataset['state'] === 'vouched';
    root.dataset['state'] = call.isVerified ? 'verified' : call.isChecked ? 'checking' : 'vouched';
    const { verified, checking, vouched } = texts.incoming;
    const words = call.isVerified ? verified : call.isChecked ? checking : vouched;
    put(badge, words);
    badge.dataset['state'] = isOpen ? 'good' : 'open';
    accept.disabled = !isOpen;
    const label = accept.querySelector('span');
    if (label) put(label, isBusy ? texts.incoming.leaveAndAccept : texts.incoming.accept);
    if (isOpen && !wasOpen && isIdle()) accept.focus();
  }

  /** @param {string} from @param {Card} card */
  #remove(from, card) {
    keepFocus(card.root, () => card.root.remove(), () => byId('call-title', HTMLElement));
    this.#cards.delete(from);
  }
}

// A key press that was meant for another element must not accept a call.
function isIdle() {
  return document.activeElement === document.body;
}
