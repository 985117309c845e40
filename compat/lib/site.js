import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { clientFile } from './clients.js';

const FOLDER = new URL('../pages/', import.meta.url);
/** @type {Record<string, string>} */
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
};
const CLIENTS = 'clients/';

/** @param {string} name */
async function fileOf(name) {
  if (name.startsWith(CLIENTS)) return clientFile(name.slice(CLIENTS.length));
  if (name.includes('/')) throw new Error('not a page');
  return readFile(new URL(name, FOLDER));
}

/**
 * @param {import('node:http').IncomingMessage} request
 * @param {import('node:http').ServerResponse} response
 */
async function serveFile(request, response) {
  const name = new URL(request.url ?? '/', 'http://site').pathname.slice(1);
  const type = TYPES[extname(name)];
  try {
    if (!type) throw new Error('not a page');
    const body = await fileOf(name);
    response.writeHead(200, { 'content-type': type }).end(body);
  } catch {
    response.writeHead(404).end();
  }
}

/** The web server of the pages in `pages/`. Its origin differs from that of Switchboard, as usual for an app. */
export class Site {
  static async start() {
    const http = createServer(serveFile).listen(0, '127.0.0.1');
    await once(http, 'listening');
    return new Site(http);
  }

  /** @param {import('node:http').Server} http */
  constructor(http) {
    const { port } = /** @type {import('node:net').AddressInfo} */ (http.address());
    this.http = http;
    this.origin = `http://127.0.0.1:${port}`;
  }

  async stop() {
    this.http.closeAllConnections();
    this.http.close();
    await once(this.http, 'close');
  }
}
