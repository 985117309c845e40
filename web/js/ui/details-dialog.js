// @ts-check
// The dialog with the details of one connection, read once a second while it is open.

import { ConnectionDetails } from '../connection-details.js';
import { texts } from '../texts.js';
import { byId, make } from './dom.js';

/** @typedef {import('../peer.js').Peer} Peer */
/** @typedef {import('../connection-details.js').Details} Details */
/** @typedef {import('../connection-details.js').Flow} Flow */

const PERIOD_MS = 1_000;

export class DetailsDialog {
  #dialog = byId('details-dialog', HTMLDialogElement);
  #title = byId('details-title', HTMLElement);
  #list = byId('details-list', HTMLElement);
  /** @type {Peer | null} */ #peer = null;
  #details = new ConnectionDetails();
  /** @type {number | undefined} */ #timer;
  #ended = new AbortController();

  constructor() {
    const { signal } = this.#ended;
    byId('details-close', HTMLElement).textContent = texts.dialog.close;
    this.#dialog.addEventListener('close', () => this.#stop(), { signal });
  }

  /** @param {Peer} peer */
  open(peer) {
    this.#stop();
    this.#peer = peer;
    this.#details = new ConnectionDetails();
    this.#title.textContent = texts.details.title(peer.username);
    this.#list.replaceChildren();
    this.#dialog.showModal();
    this.#timer = setInterval(() => this.#read(peer), PERIOD_MS);
    this.#read(peer);
  }

  /** The connection with a peer has ended. @param {Peer} peer */
  forget(peer) {
    if (this.#peer === peer) this.#dialog.close();
  }

  close() {
    this.#dialog.close();
    this.#stop();
    this.#ended.abort();
  }

  #stop() {
    clearInterval(this.#timer);
    this.#peer = null;
  }

  /** @param {Peer} peer */
  async #read(peer) {
    const report = await peer.pc.getStats().catch(() => null);
    if (this.#peer !== peer || !report) return;
    const details = this.#details.read(/** @type {any} */ (report));
    this.#list.replaceChildren(...rows(peer, details).flatMap(([key, term, text]) => [make('dt', { text: term }), make('dd', { text, testid: `details-${key}` })]));
  }
}

/** @param {Peer} peer @param {Details} details @returns {[string, string, string][]} key, term, text */
function rows(peer, { route, roundTripMs, lossUp, lossDown, up, down }) {
  const words = texts.details;
  return [
    ['state', words.state, words.states[peer.state]],
    ['route', words.route, route ? words.routeOf(route) : words.unknown],
    ['round-trip', words.roundTrip, roundTripMs === null ? words.unknown : words.ms(roundTripMs)],
    ['loss-up', words.lossUp, lossUp === null ? words.unknown : words.percent(lossUp)],
    ['loss-down', words.lossDown, lossDown === null ? words.unknown : words.percent(lossDown)],
    ['audio-up', words.audioUp, flowText(up.audio)],
    ['audio-down', words.audioDown, flowText(down.audio)],
    ['video-up', words.videoUp, flowText(up.video)],
    ['video-down', words.videoDown, flowText(down.video)],
  ];
}

/** @param {Flow} flow */
function flowText({ kbits, codec, picture }) {
  return [kbits === null ? texts.details.unknown : texts.details.kbits(kbits), picture, codec].filter(Boolean).join(', ');
}
