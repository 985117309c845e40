// @ts-check
// The list of messages, files, joins and leaves. It keeps the latest few hundred entries, and releases received files
// together with their entry.

import { texts } from '../texts.js';
import { byId, make } from './dom.js';

const ENTRIES_MAX = 300;
/** The log scrolls to a new entry if its end was at most so far from the visible part. */
const END_DISTANCE_PX = 40;
/** Addresses of http and https, without a punctuation mark at the end. */
const WEB_ADDRESS = /(https?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]}])/i;

export class ChatLog {
  #list = byId('chat-log', HTMLOListElement);
  /** @type {Map<Element, import('./file-entry.js').FileEntry>} */ #files = new Map();

  /** @param {string} author @param {string} content @param {number} timestamp */
  addMessage(author, content, timestamp) {
    const header = make('header', {}, [make('b', { text: author }), clock(timestamp)]);
    const text = make('p', {}, linked(content));
    text.dir = 'auto';
    this.#add(make('li', { className: 'message', testid: 'chat-message' }, [header, text]));
  }

  /** @param {string} text */
  addEvent(text) {
    this.#add(make('li', { className: 'event', testid: 'event', text }));
  }

  /** @param {import('./file-entry.js').FileEntry} entry */
  addFile(entry) {
    this.#files.set(entry.element, entry);
    this.#add(entry.element);
  }

  clear() {
    while (this.#list.firstElementChild) this.#drop(this.#list.firstElementChild);
  }

  /** @param {HTMLElement} entry */
  #add(entry) {
    const { scrollTop, scrollHeight, clientHeight } = this.#list;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < END_DISTANCE_PX;
    this.#list.append(entry);
    const superfluous = this.#superfluous();
    if (superfluous) this.#drop(superfluous);
    if (isAtEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  // Entries of running transfers are kept longer than others, up to a bound.
  #superfluous() {
    const count = this.#list.childElementCount;
    if (count <= ENTRIES_MAX) return null;
    const first = count > 2 * ENTRIES_MAX ? undefined : [...this.#list.children].find((entry) => this.#files.get(entry)?.isOver !== false);
    return first ?? this.#list.firstElementChild;
  }

  /** @param {Element} entry */
  #drop(entry) {
    this.#files.get(entry)?.close();
    this.#files.delete(entry);
    entry.remove();
  }
}

/**
 * The text with its web addresses as links. A link sends no referrer.
 * @param {string} text @returns {Node[]}
 */
function linked(text) {
  return text.split(WEB_ADDRESS).map((part, index) => (index % 2 === 1 ? link(part) : document.createTextNode(part)));
}

/** @param {string} address */
function link(address) {
  const anchor = make('a', { text: address, testid: 'chat-link' });
  anchor.href = address;
  anchor.target = '_blank';
  anchor.rel = 'noopener noreferrer nofollow';
  return anchor;
}

/** @param {number} timestamp */
function clock(timestamp) {
  const date = new Date(timestamp);
  const time = make('time', { text: texts.units.clock(date) });
  time.dateTime = date.toISOString();
  return time;
}
