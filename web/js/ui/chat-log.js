// @ts-check
// The list of what was said, sent, and who came and went. It keeps the latest few hundred entries, and lets go of
// received files together with their entry.

import { formatBytes, isPicture } from '../files.js';
import { byId, make } from './dom.js';

const ENTRIES_MAX = 300;
/** Of http and https alone, without the mark that ends a sentence. */
const WEB_ADDRESS = /(https?:\/\/[^\s<>"]+[^\s<>"'.,;:!?)\]}])/i;

export class ChatLog {
  #list = byId('chat-log', HTMLOListElement);

  /** @param {string} author @param {string} content @param {number} timestamp */
  addMessage(author, content, timestamp) {
    const header = make('header', {}, [make('b', { text: author }), clock(timestamp)]);
    const text = make('p', {}, linked(content));
    this.#add(make('li', { className: 'message', testid: 'chat-message' }, [header, text]));
  }

  /** @param {string} text */
  addEvent(text) {
    this.#add(make('li', { className: 'event', testid: 'event', text }));
  }

  /** @param {'in' | 'out'} direction @param {string} who @param {string} name @param {number} size */
  addFile(direction, who, name, size) {
    const entry = new FileEntry(direction, who, name, size);
    this.#add(entry.element);
    return entry;
  }

  clear() {
    while (this.#list.firstElementChild) this.#drop(this.#list.firstElementChild);
  }

  /** @param {HTMLElement} entry */
  #add(entry) {
    const { scrollTop, scrollHeight, clientHeight } = this.#list;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < 40;
    this.#list.append(entry);
    const first = this.#list.firstElementChild;
    if (first && this.#list.childElementCount > ENTRIES_MAX) this.#drop(first);
    if (isAtEnd) this.#list.scrollTop = this.#list.scrollHeight;
  }

  /** @param {Element} entry */
  #drop(entry) {
    const url = entry.querySelector('a')?.href;
    if (url?.startsWith('blob:')) URL.revokeObjectURL(url);
    entry.remove();
  }
}

export class FileEntry {
  #progress = make('progress', { testid: 'file-progress' });
  #status = make('span', { className: 'hint' });

  /** @param {'in' | 'out'} direction @param {string} who @param {string} name @param {number} size */
  constructor(direction, who, name, size) {
    const title = make('span', { text: `${who}: ${name}` });
    this.element = make('li', { className: 'file', testid: 'file-item' }, [title, this.#progress, this.#status]);
    Object.assign(this.element.dataset, { direction, name, size: String(size), state: 'active' });
    this.name = name;
    this.size = size;
    this.#progress.max = Math.max(1, size);
    this.#progress.setAttribute('aria-label', `${direction === 'in' ? 'Receiving' : 'Sending'} ${name}`);
    this.progress(0);
  }

  /** @param {number} bytes */
  progress(bytes) {
    this.#progress.value = Math.min(bytes, this.size);
    this.#status.textContent = `${formatBytes(bytes)} of ${formatBytes(this.size)}`;
  }

  /** @param {string} words */
  done(words) {
    this.#end('done', words);
  }

  /** @param {string} reason */
  fail(reason) {
    this.#end('failed', `Failed: ${reason}.`);
  }

  /** @param {Blob} blob */
  offer(blob) {
    this.done(formatBytes(blob.size));
    const link = make('a', { text: `Save ${this.name}`, testid: 'file-link' });
    link.href = URL.createObjectURL(blob);
    link.download = this.name;
    if (isPicture(blob)) this.element.append(picture(link.href, this.name));
    this.element.append(link);
  }

  /** @param {'done' | 'failed'} state @param {string} words */
  #end(state, words) {
    this.element.dataset['state'] = state;
    if (state === 'done') this.#progress.value = this.#progress.max;
    this.#progress.hidden = state === 'failed';
    this.#status.textContent = words;
  }
}

/**
 * The text with its web addresses as links. A link says nothing of this page to where it leads.
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

/** @param {string} url @param {string} alt */
function picture(url, alt) {
  const image = make('img', { testid: 'file-image' });
  image.src = url;
  image.alt = alt;
  return image;
}

/** @param {number} timestamp */
function clock(timestamp) {
  const date = new Date(timestamp);
  const time = make('time', { text: date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }) });
  time.dateTime = date.toISOString();
  return time;
}
