import { EventEmitter, once } from 'node:events';

const WAIT_MS_MAX = 30_000;
const POLL_MS = 100;
const FRAME_CHARS_SHOWN = 160;
const PROBLEMS = ['error', 'exception', 'warning'];

/** A member of a room: a name and a page. */
export class Guest {
  #news = new EventEmitter();
  #openSockets = 0;

  /** @param {string} name @param {import('playwright-core').Page} page */
  constructor(name, page) {
    this.name = name;
    this.page = page;
    /** @type {string[]} */
    this.log = [];
    /** @type {string[]} */
    this.problems = [];
    /** The console messages that the test causes. @type {RegExp[]} */
    this.excused = [];
    page.on('pageerror', (error) => this.#note('exception', error.message));
    page.on('console', (message) => this.#note(message.type(), `${message.text()} ${message.location().url}`.trim()));
    page.on('websocket', (socket) => {
      this.#openSockets += 1;
      socket.on('close', () => this.#socketCloses());
      socket.on('framesent', ({ payload }) => this.#frame('->', payload));
      socket.on('framereceived', ({ payload }) => this.#frame('<-', payload));
    });
  }

  /** @returns {Promise<import('../pages/state.js').PageState>} */
  state() {
    return this.page.evaluate(() => window.state);
  }

  /**
   * Waits until `wanted` returns true. It runs in the page, with its argument and the globals of the page only.
   * @template T
   * @param {string} what @param {(argument: T) => unknown} wanted @param {T} [argument]
   */
  async until(what, wanted, argument) {
    try {
      await this.page.waitForFunction(/** @type {any} */ (wanted), argument, { timeout: WAIT_MS_MAX, polling: POLL_MS });
    } catch (error) {
      throw new Error(`${this.name}: not "${what}": ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }

  /** Waits until a line is in the log. @param {string} line */
  async logs(line) {
    const signal = AbortSignal.timeout(WAIT_MS_MAX);
    while (!this.log.includes(line)) await once(this.#news, 'line', { signal });
  }

  /** Waits until the page has seen the close of each of its WebSockets. */
  async hasNoSocket() {
    const signal = AbortSignal.timeout(WAIT_MS_MAX);
    while (this.#openSockets > 0) await once(this.#news, 'socket closed', { signal });
  }

  /** Console messages that no test expects. */
  get complaints() {
    return this.problems.filter((problem) => !this.excused.some((pattern) => pattern.test(problem)));
  }

  async report() {
    const description = await this.describe().catch((error) => `(${error.message})`);
    return `--- ${this.name} ${this.page.url()}\n${description}\n${this.log.join('\n')}`;
  }

  async describe() {
    return JSON.stringify(await this.state(), null, 1);
  }

  /** @param {string} way @param {string | Buffer} payload a buffer has audio, which is not logged */
  #frame(way, payload) {
    if (typeof payload === 'string') this.#write(`${way} ${payload.slice(0, FRAME_CHARS_SHOWN)}`);
  }

  /** @param {string} type @param {string} text */
  #note(type, text) {
    this.#write(`${type}: ${text}`);
    if (PROBLEMS.includes(type)) this.problems.push(`${type}: ${text}`);
  }

  #socketCloses() {
    this.#openSockets -= 1;
    this.#news.emit('socket closed');
  }

  /** @param {string} line */
  #write(line) {
    this.log.push(line);
    this.#news.emit('line');
  }
}
