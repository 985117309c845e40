import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

// The server takes every SWITCHBOARD_ variable for a setting.
const { SWITCHBOARD_BIN, ...ENV } = process.env;
const BINARY = SWITCHBOARD_BIN ?? fileURLToPath(new URL('../../target/release/switchboard', import.meta.url));
const READY_WITHIN_MS = 15_000;
const STOPPED_WITHIN_MS = 10_000;

export async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address());
  probe.close();
  await once(probe, 'close');
  return port;
}

/** @param {string} url */
async function answersOk(url) {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(1_000) })).status === 200;
  } catch {
    return false;
  }
}

/** The real binary, started on a free port of the loopback interface, with these settings in its environment. */
export class Server {
  /** @param {Record<string, string>} settings */
  static async start(settings = {}) {
    assert.ok(existsSync(BINARY), `no server at ${BINARY}: build it first (cargo build --release), or set SWITCHBOARD_BIN`);
    const server = new Server(await freePort(), settings);
    try {
      await server.#ready();
    } catch (error) {
      server.#kill();
      throw error;
    }
    return server;
  }

  /** @param {number} port @param {Record<string, string>} settings */
  constructor(port, settings) {
    this.log = '';
    this.origin = `http://127.0.0.1:${port}`;
    this.socketOrigin = `ws://127.0.0.1:${port}`;
    this.child = spawn(BINARY, ['--addr', '127.0.0.1', '--port', String(port)], { env: { ...ENV, ...settings }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.exit = once(this.child, 'exit');
    this.killWithUs = () => this.#kill();
    process.once('exit', this.killWithUs);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (this.log += text));
    }
  }

  async stop() {
    this.child.kill('SIGTERM');
    const late = setTimeout(() => this.#kill(), STOPPED_WITHIN_MS);
    const [code, signal] = await this.exit;
    clearTimeout(late);
    process.removeListener('exit', this.killWithUs);
    assert.equal(code, 0, `the server did not end well after SIGTERM (code ${code}, signal ${signal}). Its log:\n${this.log}`);
  }

  async #ready() {
    const deadline = Date.now() + READY_WITHIN_MS;
    while (!(await answersOk(`${this.origin}/healthz`))) {
      assert.equal(this.child.exitCode, null, `the server ended at once. Its log:\n${this.log}`);
      assert.ok(Date.now() < deadline, `the server is not healthy after ${READY_WITHIN_MS} ms. Its log:\n${this.log}`);
      await delay(50);
    }
  }

  #kill() {
    this.child.kill('SIGKILL');
  }
}
