import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { freePort, Program } from './program.js';

// The server reads every SWITCHBOARD_ variable as a setting.
const { SWITCHBOARD_BIN, ...ENV } = process.env;
const BINARY = SWITCHBOARD_BIN ?? fileURLToPath(new URL('../../target/release/switchboard', import.meta.url));
const STOPPED_WITHIN_MS = 30_000;

/** The real binary, started on a free port of the loopback interface, with these settings in its environment. */
export class Server extends Program {
  /** @param {Record<string, string>} settings */
  static async start(settings = {}) {
    assert.ok(existsSync(BINARY), `no server at ${BINARY}: build it first (cargo build --release), or set SWITCHBOARD_BIN`);
    const port = await freePort();
    const server = new Server(port, BINARY, ['--addr', '127.0.0.1', '--port', String(port)], { ...ENV, SWITCHBOARD_INTERNAL_LISTEN: '', ...settings });
    if (settings.SWITCHBOARD_TLS_SELF_SIGNED === 'true') {
      server.origin = `https://127.0.0.1:${port}`;
      server.socketOrigin = `wss://127.0.0.1:${port}`;
    }
    await server.ready('/healthz');
    return server;
  }

  async stop() {
    this.child.kill('SIGTERM');
    const late = setTimeout(() => this.kill(), STOPPED_WITHIN_MS);
    const [code, signal] = await this.ended();
    clearTimeout(late);
    assert.equal(code, 0, `the server did not end well after SIGTERM (code ${code}, signal ${signal}). Its log:\n${this.log}`);
  }
}
