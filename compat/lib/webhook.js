import { once } from 'node:events';
import { createServer } from 'node:http';

/** @typedef {Record<string, any>} Body */

/** A web service that authorizes clients and is notified when they have disconnected. */
export class Webhook {
  /** The bodies of the received requests, in order. @type {Body[]} */
  calls = [];
  /** Makes the response to a request. @type {(body: Body) => object} */
  answer = () => ({});

  static async start() {
    const hook = new Webhook();
    hook.http.listen(0, '127.0.0.1');
    await once(hook.http, 'listening');
    return hook;
  }

  constructor() {
    this.http = createServer(async (request, response) => {
      const body = /** @type {Body} */ (await new Response(/** @type {any} */ (request)).json());
      this.calls.push(body);
      this.http.emit('told');
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(this.answer(body)));
    });
  }

  get url() {
    const { port } = /** @type {import('node:net').AddressInfo} */ (this.http.address());
    return `http://127.0.0.1:${port}/hook`;
  }

  /** Waits for this number of requests about a room. @param {string} roomId @param {number} count @param {number} withinMs */
  async toldOf(roomId, count, withinMs) {
    const signal = AbortSignal.timeout(withinMs);
    const told = () => this.calls.filter((call) => call.roomId === roomId);
    while (told().length < count) await once(this.http, 'told', { signal });
    return told();
  }

  async stop() {
    this.http.closeAllConnections();
    this.http.close();
    await once(this.http, 'close');
  }
}
