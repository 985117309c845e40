/** A voice user with a key and without a browser: it sends in real time and keeps the received audio in memory. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import elliptic from 'elliptic';
import { WebSocket } from 'ws';
import { RATE, bytesOf, sine } from './voice-sine.js';

const P256 = new elliptic.ec('p256');
const MESSAGE_SAMPLES = 1024;
const TICK_MS = 10;
/**
 * The lead of a talker over real time, so that a late timer leaves no gap: less than the 200 ms that the server buffers. The
 * server buffers them for listeners; audio from before the first listener is cut to its end.
 */
const AHEAD_MS = 150;
const ANSWER_WITHIN_MS = 30_000;

/** The audio that a user has received so far. */
export class Recording {
  /** @type {Uint8Array[]} */
  #pieces = [];
  #answered = performance.now();
  #latest = this.#answered;
  /** Resolves when the stream has ended or was aborted. */
  whole;

  /** @param {number} asked the time of the request @param {Response} response @param {AbortController} line ends the response */
  constructor(asked, response, line) {
    this.asked = asked;
    this.contentType = response.headers.get('content-type');
    this.line = line;
    this.whole = this.#take(/** @type {ReadableStream<Uint8Array>} */ (response.body));
  }

  get bytes() {
    return Buffer.concat(this.#pieces);
  }

  /** Seconds until the last byte. The first was sent between the request and the response. */
  get seconds() {
    return { min: (this.#latest - this.#answered) / 1000, max: (this.#latest - this.asked) / 1000 };
  }

  async cut() {
    this.line.abort();
    await this.whole;
  }

  /** @param {ReadableStream<Uint8Array>} stream */
  async #take(stream) {
    try {
      for await (const piece of stream) {
        this.#pieces.push(piece);
        this.#latest = performance.now();
      }
    } catch (error) {
      if (!this.line.signal.aborted) throw error;
    }
  }
}

export class VoiceUser {
  #keys = P256.genKeyPair();
  /** The signature of the server's latest ticket. It is made ahead: signing takes so long that it would delay the audio of all users. */
  #signature = '';

  /** A user that has signed a ticket of the server, and so can make its next request. @param {import('./server.js').Server} server */
  static async known(server) {
    const user = new VoiceUser(server);
    user.#takeTicket(await user.#ask('/getCallTicket', { headers: { PKey: user.address } }));
    return user;
  }

  /** @param {import('./server.js').Server} server */
  constructor(server) {
    this.server = server;
    this.address = this.#keys.getPublic(true, 'hex');
  }

  /** Calls and is accepted, as quickly as the protocol allows. @param {VoiceUser} callee */
  async calls(callee) {
    const events = await callee.#events();
    this.#takeTicket(await this.#ask('/newCall', this.#form({ Destination: callee.address, challenge: '1' })));
    await events.cancel();
    await this.#ask('/acceptCall', callee.#form({ From: this.address, Signature: callee.#sign('1') }));
  }

  /** @param {VoiceUser} other */
  async hangsUpOn(other) {
    await this.#ask('/hangupCall', this.#form({ otherID: other.address }));
  }

  /**
   * Sends a tone over a WebSocket, as browsers do, until the returned function is called.
   * @param {string} path @param {Record<string, string>} whom the parameters that name the room or the other user
   * @param {{ frequency: number, level: number }} tone
   */
  async talks(path, whom, { frequency, level }) {
    const query = new URLSearchParams({ ...whom, PKey: this.address, Signature: this.#signature });
    const socket = new WebSocket(`${this.server.socketOrigin}${path}?${query}`);
    await once(socket, 'open');
    // The server closes it too, when the call has ended.
    const closed = once(socket, 'close');
    const stopTone = inRealTime(frequency, level, (piece) => socket.send(piece));
    return async () => {
      stopTone();
      socket.close();
      await closed;
    };
  }

  /**
   * Sends a tone as the body of one request, until the returned function is called.
   * @param {string} path @param {Record<string, string>} whom @param {{ frequency: number, level: number }} tone
   */
  uploads(path, whom, { frequency, level }) {
    const query = new URLSearchParams({ ...whom, PKey: this.address, Signature: this.#signature });
    let stopTone = () => {};
    const body = new ReadableStream({
      start(controller) {
        const stop = inRealTime(frequency, level, (piece) => controller.enqueue(piece));
        stopTone = () => {
          stop();
          controller.close();
        };
      },
    });
    const request = /** @type {RequestInit} */ ({ method: 'POST', body, duplex: 'half' });
    const answered = fetch(`${this.server.origin}${path}?${query}`, request);
    return async () => {
      stopTone();
      const answer = await answered;
      assert.equal(answer.status, 200, await answer.text());
    };
  }

  /** @param {string} path @param {Record<string, string>} what */
  async listens(path, what) {
    const line = new AbortController();
    const asked = performance.now();
    const response = await fetch(this.server.origin + path, { ...this.#form(what), signal: line.signal });
    assert.equal(response.status, 200, `${path} ${JSON.stringify(what)}: ${response.status === 200 || (await response.text())}`);
    return new Recording(asked, response, line);
  }

  /** Opens the event stream of this user, and waits for its first event: the server then knows the stream. */
  async #events() {
    const response = await fetch(`${this.server.origin}/messages?PKey=${this.address}`);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
    await reader.read();
    return reader;
  }

  /** @param {Record<string, string>} fields */
  #form(fields) {
    const body = new FormData();
    for (const [name, value] of Object.entries({ Signature: this.#signature, ...fields })) body.set(name, value);
    return { method: 'POST', headers: { PKey: this.address }, body };
  }

  /** @param {string} path @param {RequestInit} request */
  async #ask(path, request) {
    const response = await fetch(this.server.origin + path, { ...request, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    const text = await response.text();
    assert.equal(response.status, 200, `${path}: ${text}`);
    return text;
  }

  /** @param {string} ticket */
  #takeTicket(ticket) {
    this.#signature = this.#sign(ticket);
  }

  /** @param {string} challenge */
  #sign(challenge) {
    return this.#keys.sign([...Buffer.from(challenge)]).toDER('hex');
  }
}

/** @param {number} frequency @param {number} level @param {(piece: Buffer) => void} send */
function inRealTime(frequency, level, send) {
  const second = sine(frequency, 1, level);
  const start = performance.now();
  let sent = 0;
  const go = () => {
    const due = ((performance.now() - start + AHEAD_MS) * RATE) / 1000;
    for (; sent < due; sent += MESSAGE_SAMPLES) {
      const piece = Int16Array.from({ length: MESSAGE_SAMPLES }, (_, at) => second[(sent + at) % second.length]);
      send(bytesOf(piece));
    }
  };
  go();
  const timer = setInterval(go, TICK_MS);
  return () => clearInterval(timer);
}
