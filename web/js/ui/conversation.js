// @ts-check
// Chat and files with all members, over their data channels. If no member has a data channel, a message is sent through
// the server. If only some members lack one, the page lists the members that were not reached.

import { texts } from '../texts.js';
import { byId } from './dom.js';
import { ChatLog } from './chat-log.js';
import { FileEntry } from './file-entry.js';

/** @typedef {import('../peer.js').Peer} Peer */
/**
 * @typedef {object} ConversationOptions
 * @property {() => Peer[]} peers
 * @property {(content: string) => boolean} sendThroughServer
 * @property {(words: string, isMessage: boolean) => void} onNews  the user should notice these words; isMessage: they
 *   count as unread
 */

export class Conversation {
  log = new ChatLog();
  #form = byId('chat-form', HTMLFormElement);
  #input = byId('chat-input', HTMLInputElement);
  #files = byId('file-input', HTMLInputElement);
  #panel = byId('chat', HTMLElement);
  #call = byId('call', HTMLElement);
  #ended = new AbortController();

  /** @param {ConversationOptions} options */
  constructor(options) {
    this.options = options;
    const { signal } = this.#ended;
    this.#form.addEventListener('submit', (event) => this.#submit(event), { signal });
    this.#files.addEventListener('change', () => this.#sendChosen(), { signal });
    // Otherwise the browser would leave the page to open a file that is dropped beside the panel, which ends the call.
    this.#call.addEventListener('dragover', (event) => this.#dragOver(event), { signal });
    this.#call.addEventListener('dragleave', () => this.#panel.classList.remove('is-dropping'), { signal });
    this.#call.addEventListener('drop', (event) => this.#drop(event), { signal });
    document.addEventListener('paste', (event) => this.#paste(event), { signal });
  }

  /** @param {string} username @param {string} content @param {number} timestamp */
  receive(username, content, timestamp) {
    this.log.addMessage(username, content, timestamp);
    this.options.onNews(texts.chat.news(username, content), true);
  }

  /** @param {Peer} peer @param {import('../files/transfer.js').IncomingTransfer} transfer */
  receiveFile(peer, transfer) {
    this.log.addFile(FileEntry.incoming(peer.username, transfer));
    if (!transfer.isOver) this.options.onNews(texts.files.offeredBy(peer.username, transfer.name), true);
  }

  /** @param {string} words */
  announce(words) {
    this.log.addEvent(words);
    this.options.onNews(words, false);
  }

  close() {
    this.#ended.abort();
    this.log.clear();
    this.#input.value = '';
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const content = this.#input.value.trim();
    if (!content) return;
    if (this.#send(content)) this.#input.value = '';
  }

  /** @param {string} content */
  #send(content) {
    const peers = this.options.peers();
    const timestamp = Date.now();
    const unreached = peers.filter((peer) => !peer.channel?.sendText(content, timestamp));
    const reached = peers.length - unreached.length;
    if (reached === 0 && !this.#sendThroughServer(peers, content)) return false;
    this.log.addMessage(texts.chat.you, content, timestamp);
    if (reached > 0 && unreached.length > 0) this.log.addEvent(texts.chat.notDelivered(names(unreached)));
    return true;
  }

  /** @param {Peer[]} peers @param {string} content */
  #sendThroughServer(peers, content) {
    if (peers.length === 0) return this.#notSent(texts.chat.nobodyHere);
    if (!this.options.sendThroughServer(content)) return this.#notSent(texts.chat.nobodyReached);
    this.log.addEvent(texts.chat.throughServer);
    return true;
  }

  /** @param {string} why */
  #notSent(why) {
    this.log.addEvent(why);
    return false;
  }

  #sendChosen() {
    this.#sendFiles([...(this.#files.files ?? [])]);
    this.#files.value = '';
  }

  /** @param {DragEvent} event */
  #dragOver(event) {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    this.#panel.classList.add('is-dropping');
  }

  /** @param {DragEvent} event */
  #drop(event) {
    event.preventDefault();
    this.#panel.classList.remove('is-dropping');
    this.#sendFiles([...(event.dataTransfer?.files ?? [])]);
  }

  // A copied part of a document may hold both text and a picture of it: a text field takes the text.
  /** @param {ClipboardEvent} event */
  #paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    const isText = event.target instanceof HTMLInputElement && event.clipboardData?.types.includes('text/plain');
    if (files.length === 0 || isText) return;
    event.preventDefault();
    this.#sendFiles(files);
  }

  /** @param {File[]} files */
  #sendFiles(files) {
    const peers = this.options.peers();
    const unreached = peers.filter((peer) => !peer.channel?.isOpen);
    if (unreached.length === peers.length) return this.log.addEvent(texts.files.noReceiver);
    if (unreached.length > 0) this.log.addEvent(texts.files.notOffered(names(unreached)));
    for (const file of files) this.#sendFile(file, peers.filter((peer) => !unreached.includes(peer)));
  }

  /** @param {File} file @param {Peer[]} peers */
  #sendFile(file, peers) {
    const sendings = peers.flatMap((peer) => {
      const transfer = peer.sendFile(file);
      return transfer ? [{ username: peer.username, transfer }] : [];
    });
    if (sendings.length === 0) return;
    this.log.addFile(FileEntry.outgoing(sendings));
    this.options.onNews(texts.files.offering(file.name, names(peers)), false);
  }
}

/** @param {Peer[]} peers */
function names(peers) {
  return peers.map(({ username }) => username).join(', ');
}
