import { EventEmitter, once } from 'node:events';
import { connect, createServer } from 'node:net';

/** @typedef {{ near: import('node:net').Socket, far: import('node:net').Socket, isWebSocket: boolean }} Line its page's end and its server's */

/** The network between a page and a server, which can be cut. Both ends of it are on this machine. */
export class Cable {
  /** @type {Set<Line>} */
  #lines = new Set();
  #isCut = false;
  #events = new EventEmitter();

  /** @param {import('./stage.js').AnyServer} server */
  static async to({ origin }) {
    const cable = new Cable(Number(new URL(origin).port));
    await once(cable.listener, 'listening');
    return cable;
  }

  /** @param {number} port of the server */
  constructor(port) {
    this.port = port;
    this.listener = createServer((near) => this.#plug(near)).listen(0, '127.0.0.1');
  }

  get socketOrigin() {
    const { port } = /** @type {import('node:net').AddressInfo} */ (this.listener.address());
    return `ws://127.0.0.1:${port}`;
  }

  /** Cuts the network. Both ends notice. */
  cut() {
    this.#isCut = true;
    for (const { near, far } of this.#lines) {
      near.resetAndDestroy();
      far.resetAndDestroy();
    }
  }

  /**
   * Breaks the connections so that only the page notices; data in transit is lost. The page may reconnect at once.
   * @param {number} withinMs
   * @returns whether the server answers on a new connection, and whether it closes the old WebSockets, in this time
   */
  cutUnnoticed(withinMs) {
    const signal = AbortSignal.timeout(withinMs);
    const lines = [...this.#lines];
    lines.forEach(leaveAlone);
    // Only WebSockets: the server keeps idle HTTP connections for longer.
    const ends = lines.filter(({ isWebSocket }) => isWebSocket).map(({ far }) => once(far, 'close', { signal }));
    return { answeredAnew: settled(once(this.#events, 'answer', { signal })), oldEndsClosed: settled(Promise.all(ends)) };
  }

  mend() {
    this.#isCut = false;
  }

  async stop() {
    this.cut();
    this.listener.close();
    await once(this.listener, 'close');
  }

  /** @param {import('node:net').Socket} near the page's end */
  #plug(near) {
    near.on('error', () => {});
    if (this.#isCut) return near.resetAndDestroy();
    const far = connect(this.port, '127.0.0.1');
    const line = { near, far, isWebSocket: false };
    this.#lines.add(line);
    near.pipe(far).pipe(near);
    near.on('close', () => far.destroy());
    far.once('data', (data) => {
      line.isWebSocket = data.subarray(9, 12).toString() === '101';
      this.#events.emit('answer');
    });
    far.on('error', () => near.destroy());
    far.on('close', () => {
      near.destroy();
      this.#lines.delete(line);
    });
  }
}

/** Keeps the far end open without any more data. @param {Line} line */
function leaveAlone({ near, far }) {
  near.unpipe(far);
  far.unpipe(near);
  far.resume();
  near.removeAllListeners('close');
  near.resetAndDestroy();
}

/** Whether the event happens. @param {Promise<unknown>} event */
function settled(event) {
  return event.then(
    () => true,
    () => false,
  );
}
