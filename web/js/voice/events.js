// @ts-check
// The event stream of the server, kept open. A browser gives up a refused stream, and would reconnect with an old
// signature. Therefore this module makes each new attempt, with a new signature.

import { fromHex } from './keys.js';

/** @typedef {import('./identity.js').Identity} Identity */
/** @typedef {import('./server.js').Server} Server */
/** @typedef {{kind: EventKind, from: string, challenge: string, answer: string, room: string, connection: string, name: string, mic: boolean, headphones: boolean}} VoiceEvent */
/** @typedef {'newCall' | 'answer' | 'answer2' | 'declineCall' | 'acceptedCall' | 'setAudioConf' | 'newRoom' | 'replaced'} EventKind */
/** @typedef {'connecting' | 'online' | 'waiting'} StreamState */
/**
 * @typedef {object} StreamEvents
 * @property {(state: StreamState, problem: unknown) => void} onState
 * @property {(event: VoiceEvent) => void} onEvent
 * @property {() => void} onServer  the server process is another than before: the server was restarted
 */

/** @type {EventKind[]} */
const KINDS = ['newCall', 'answer', 'answer2', 'declineCall', 'acceptedCall', 'setAudioConf', 'newRoom', 'replaced'];
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 15_000;

export class EventStream {
  /** @type {EventSource | null} */ #source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #attempts = 0;
  /** The number of the current attempt: the results of an earlier one are ignored. */
  #run = 0;
  /** The key of the server, which changes at each start. */
  serverKey = '';

  /** @param {Server} server @param {Identity} identity @param {StreamEvents} events */
  constructor(server, identity, events) {
    this.server = server;
    this.identity = identity;
    this.events = events;
    addEventListener('online', () => this.#connect());
    addEventListener('pagehide', () => this.#stop());
    addEventListener('pageshow', (event) => event.persisted && this.#connect());
    this.#connect();
  }

  get isOnline() {
    return this.#source?.readyState === EventSource.OPEN;
  }

  #stop() {
    this.#run += 1;
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  async #connect() {
    this.#stop();
    const run = this.#run;
    this.events.onState('connecting', null);
    try {
      await this.identity.prepare();
      const proof = await this.identity.eventsProof();
      if (run === this.#run) this.#open(proof);
    } catch (problem) {
      if (run === this.#run) this.#retry(problem);
    }
  }

  /** @param {import('./server.js').Params} proof */
  #open(proof) {
    const source = new EventSource(this.server.url('messages', proof));
    this.#source = source;
    source.onopen = () => {
      this.#attempts = 0;
      this.events.onState('online', null);
    };
    source.onerror = () => {
      if (source !== this.#source) return;
      this.identity.renew(proof);
      this.#retry(null);
    };
    source.addEventListener('pubkey', ({ data }) => {
      if (source !== this.#source || this.serverKey === data) return;
      this.serverKey = data;
      this.events.onServer();
    });
    for (const kind of KINDS) {
      source.addEventListener(kind, ({ data }) => {
        const event = parseEvent(kind, data);
        if (event && source === this.#source) this.events.onEvent(event);
      });
    }
  }

  /** @param {unknown} problem */
  #retry(problem) {
    this.#stop();
    const backoff = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#attempts);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#connect(), backoff * (0.75 + Math.random() * 0.5));
    this.events.onState('waiting', problem);
  }
}

/** @param {EventKind} kind @param {string} data  JSON, or as a JSON string the hex of JSON @returns {VoiceEvent | null} */
export function parseEvent(kind, data) {
  try {
    const outer = JSON.parse(data);
    const fields = typeof outer === 'string' ? JSON.parse(new TextDecoder().decode(fromHex(outer))) : outer;
    if (typeof fields !== 'object' || fields === null) return null;
    return {
      kind,
      from: text(fields.from),
      challenge: text(fields.challenge),
      answer: text(fields.answer),
      room: text(fields.roomid),
      connection: text(fields.connection),
      name: text(fields.name),
      mic: text(fields.in) === '1',
      headphones: text(fields.out) === '1',
    };
  } catch {
    return null;
  }
}

/** @param {unknown} value */
function text(value) {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}
