// @ts-check
// Chat and files with everyone in the room, over the data channel of each. Where nobody has one, a message goes
// through the server instead; where only some lack one, the sender is told whom it did not reach.

import { byId } from './dom.js';
import { ChatLog } from './chat-log.js';

/** @typedef {import('../peer.js').Peer} Peer */
/**
 * @typedef {object} ConversationOptions
 * @property {() => Peer[]} peers
 * @property {(content: string) => boolean} sendThroughServer
 * @property {(words: string, isMessage: boolean) => void} onNews  something arrived or happened
 */

export class Conversation {
  log = new ChatLog();
  #form = byId('chat-form', HTMLFormElement);
  #input = byId('chat-input', HTMLInputElement);
  #files = byId('file-input', HTMLInputElement);
  #panel = byId('chat', HTMLElement);
  #ended = new AbortController();

  /** @param {ConversationOptions} options */
  constructor(options) {
    this.options = options;
    const { signal } = this.#ended;
    this.#form.addEventListener('submit', (event) => this.#submit(event), { signal });
    this.#files.addEventListener('change', () => this.#sendChosen(), { signal });
    this.#panel.addEventListener('dragover', (event) => this.#dragOver(event), { signal });
    this.#panel.addEventListener('dragleave', () => this.#panel.classList.remove('is-dropping'), { signal });
    this.#panel.addEventListener('drop', (event) => this.#drop(event), { signal });
  }

  /** @param {string} username @param {string} content @param {number} timestamp */
  receive(username, content, timestamp) {
    this.log.addMessage(username, content, timestamp);
    this.options.onNews(`${username}: ${content}`, true);
  }

  /** @param {Peer} peer @param {string} name @param {number} size @returns {import('../files.js').Receipt} */
  receiveFile(peer, name, size) {
    const entry = this.log.addFile('in', peer.username, name, size);
    this.options.onNews(`${peer.username} sends ${name}`, true);
    return {
      name,
      size,
      onProgress: (received) => entry.progress(received),
      onDone: (blob) => entry.offer(blob),
      onFail: (reason) => entry.fail(reason),
    };
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
    const missed = peers.filter((peer) => !peer.channel?.sendText(content, timestamp));
    const reached = peers.length - missed.length;
    if (reached === 0 && !this.#sendThroughServer(peers, content)) return false;
    this.log.addMessage('You', content, timestamp);
    if (reached > 0 && missed.length > 0) this.log.addEvent(`Not delivered to ${names(missed)}: no chat with them.`);
    return true;
  }

  /** @param {Peer[]} peers @param {string} content */
  #sendThroughServer(peers, content) {
    if (peers.length === 0) return this.#notSent('nobody is here to read it yet');
    if (!this.options.sendThroughServer(content)) return this.#notSent('nobody can be reached at the moment');
    this.log.addEvent('Sent through the server, because there is no direct chat yet:');
    return true;
  }

  /** @param {string} why */
  #notSent(why) {
    this.log.addEvent(`Not sent: ${why}.`);
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

  /** @param {File[]} files */
  #sendFiles(files) {
    const peers = this.options.peers().filter((peer) => peer.channel?.isOpen);
    if (peers.length === 0) this.log.addEvent('Nobody is here to receive files yet.');
    else for (const file of files) this.#sendFile(file, peers);
  }

  /** @param {File} file @param {Peer[]} peers */
  async #sendFile(file, peers) {
    const entry = this.log.addFile('out', `To ${names(peers)}`, file.name, file.size);
    const fileId = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    const sent = peers.map(() => 0);
    const sendings = peers.map((peer, index) =>
      peer.channel?.sendFile(file, fileId, (bytes) => {
        sent[index] = bytes;
        entry.progress(sent.reduce((sum, part) => sum + part, 0) / peers.length);
      }),
    );
    const results = await Promise.allSettled(sendings);
    const missed = peers.filter((_, index) => results[index]?.status === 'rejected');
    if (missed.length === 0) entry.done('Sent');
    else entry.fail(`it did not reach ${names(missed)}`);
  }
}

/** @param {Peer[]} peers */
function names(peers) {
  return peers.map(({ username }) => username).join(', ');
}
