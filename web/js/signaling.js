// @ts-check
// The connection to the server. It sends the name and the room of this page, so that the name has to be unique in this
// room only, passes all other frames on, and reconnects. Calls run between peers, so a lost connection only delays
// joins, leaves and renegotiations.

import { texts } from './texts.js';

/** @typedef {{type: string, [key: string]: unknown}} Frame */
/** @typedef {'connecting' | 'joined' | 'waiting' | 'closed'} SignalingState */
/**
 * @typedef {object} SignalingEvents
 * @property {(state: SignalingState, retryInMs: number) => void} onState
 * @property {(peerId: string) => void} onSession  a new session has entered the room, under this id; peers known so far
 *   are of an older one
 * @property {(frame: Frame) => void} onFrame
 * @property {(name: string) => void} onName  the wanted name is taken, and this one was claimed instead
 * @property {(message: string, isName: boolean) => void} onRefused  the server has refused the name (`isName`) or the
 *   room; no retry follows
 */

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 15_000;
/** Shortest delay after the server has announced its restart. */
const RESTART_MS = 300;
/** Shortest delay after the server has closed the connection because it exceeded a limit. */
const POLICY_RETRY_MIN_MS = 10_000;
/** Attempts to get back the own name after a lost connection. */
const NAME_RETRIES = 5;
const NAME_RETRY_MS = 700;
const SUFFIX_MAX = 20;
const CLOSE_POLICY = 1008;
const CLOSE_RESTART = 1012;

export class Signaling {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #attempts = 0;
  #nameRefusals = 0;
  /** The number behind the name, from 2 on, if another member of the room has the name without a number. */
  #suffix = 1;
  #wanted = true;
  #joined = false;
  #everJoined = false;
  #peerId = '';

  /**
   * @param {{url: string, name: string, room: string}} session
   * @param {SignalingEvents} events
   */
  constructor(session, events) {
    this.session = session;
    this.events = events;
    this.onOnline = () => this.#reconnectNow();
    addEventListener('online', this.onOnline);
    this.#connect();
  }

  get isJoined() {
    return this.#joined;
  }

  /** @param {Frame} frame */
  send(frame) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  close() {
    this.#wanted = false;
    removeEventListener('online', this.onOnline);
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.events.onState('closed', 0);
  }

  #connect() {
    this.events.onState('connecting', 0);
    const socket = new WebSocket(this.session.url);
    this.#socket = socket;
    socket.onopen = () => this.send({ type: 'IDENTIFY', username: this.#name, roomId: this.session.room });
    socket.onmessage = ({ data }) => this.#receive(socket, data);
    socket.onclose = ({ code }) => this.#closed(socket, code);
  }

  /** @param {WebSocket} socket @param {unknown} data */
  #receive(socket, data) {
    if (socket !== this.#socket || !this.#wanted) return;
    const frame = parseFrame(data);
    if (!frame) return;
    if (frame.type === 'AUTH_ERROR') this.#refused(frame);
    else if (frame.type === 'AUTH_SUCCESS') this.#accepted(frame);
    else if (frame.type === 'ERROR' && !this.#joined) this.#joinFailed(frame);
    else this.#deliver(frame);
  }

  /** @param {Frame} frame */
  #deliver(frame) {
    if (frame.type === 'ROOM_MEMBERS' && !this.#joined) this.#enter();
    this.events.onFrame(frame);
  }

  /** @param {Frame} frame */
  #accepted(frame) {
    this.#peerId = String(frame['peerId'] ?? '');
    if (this.#suffix > 1 && !this.#everJoined) this.events.onName(this.#name);
    this.send({ type: 'JOIN_ROOM', roomId: this.session.room });
  }

  #enter() {
    this.#joined = true;
    this.#everJoined = true;
    this.#attempts = 0;
    this.#nameRefusals = 0;
    this.events.onSession(this.#peerId);
    this.events.onState('joined', 0);
  }

  // After a lost connection the old session of this page may hold the name until the server has noticed that it is
  // dead: the page then tries again. A name that another member has gets a number behind it.
  /** @param {Frame} frame */
  #refused(frame) {
    const message = String(frame['message'] ?? texts.lobby.nameRefused);
    this.#nameRefusals += 1;
    if (this.#everJoined && this.#nameRefusals <= NAME_RETRIES) return this.#socket?.close();
    if (!this.#everJoined && message.includes('taken') && this.#suffix < SUFFIX_MAX) return this.#claimNext();
    this.close();
    this.events.onRefused(message, !/\broom(Id)?\b/.test(message));
  }

  #claimNext() {
    this.#suffix += 1;
    const refused = this.#socket;
    this.#socket = null;
    refused?.close();
    this.#connect();
  }

  get #name() {
    return this.#suffix > 1 ? `${this.session.name} (${this.#suffix})` : this.session.name;
  }

  /** @param {Frame} frame */
  #joinFailed(frame) {
    if (frame['code'] === 'unavailable') {
      this.#socket?.close();
      return;
    }
    this.close();
    this.events.onRefused(String(frame['message'] ?? texts.lobby.roomRefused), false);
  }

  /** @param {WebSocket} socket @param {number} code */
  #closed(socket, code) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.#joined = false;
    if (!this.#wanted) return;
    const delay = this.#nameRefusals > 0 ? jitter(NAME_RETRY_MS) : retryDelay(code, this.#attempts);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.events.onState('waiting', delay);
  }

  // A socket from before a change of the network may seem open for minutes, so it is closed and replaced.
  #reconnectNow() {
    clearTimeout(this.#timer);
    const stale = this.#socket;
    this.#socket = null;
    this.#joined = false;
    stale?.close();
    this.#connect();
  }
}

/** @param {number} code @param {number} attempts */
function retryDelay(code, attempts) {
  if (code === CLOSE_RESTART && attempts === 0) return RESTART_MS + Math.random() * 1_000;
  const backoff = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** attempts);
  return jitter(code === CLOSE_POLICY ? Math.max(POLICY_RETRY_MIN_MS, backoff) : backoff);
}

/** @param {number} ms */
function jitter(ms) {
  return ms * (0.75 + Math.random() * 0.5);
}

/** @param {unknown} data @returns {Frame | null} */
function parseFrame(data) {
  try {
    const frame = JSON.parse(String(data));
    return typeof frame?.type === 'string' ? frame : null;
  } catch {
    return null;
  }
}
