/** The original servers of dialects, from npm. Tests against them show that the clients behave there as with Switchboard. */
import { fileURLToPath } from 'node:url';
import { freePort, Program } from './program.js';

/** Whether the long tests run: comparisons, and further combinations. */
export const LONG = Boolean(process.env['SWITCHBOARD_LONG']);

/** @typedef {(() => Promise<unknown>)[]} Closers functions that end what a test has started; the first is called first */

/**
 * The reason why the tests against original servers are skipped, or false. Each of them repeats a test of Switchboard.
 * @type {string | false}
 */
export const ORIGINAL_ABSENT = LONG ? false : 'a comparison with the original server; it needs SWITCHBOARD_LONG=1 (cargo xtask test --long)';

class Original extends Program {
  /**
   * @param {string} script of a package @param {number} port
   * @param {{ options?: string[], env?: Record<string, string> }} how the port is passed
   */
  static async start(script, port, { options = [], env = {} }) {
    const path = fileURLToPath(new URL(`../node_modules/${script}`, import.meta.url));
    const original = new Original(port, process.execPath, [path, ...options], { ...process.env, ...env });
    await original.ready('/');
    return original;
  }

  /** Ends the server, which may have ended already. */
  async stop() {
    this.kill();
    await this.ended();
  }
}

/** npm `peer`, as its command line starts it. @param {Closers} closers */
export async function startPeerServer(closers) {
  const port = await freePort();
  const server = await Original.start('peer/dist/bin/peerjs.js', port, { options: ['--host', '127.0.0.1', '--port', String(port)] });
  closers.unshift(() => server.stop());
  return [server];
}

/** The server that is in npm `y-webrtc`. @param {Closers} closers */
export async function startYWebrtcServer(closers) {
  const port = await freePort();
  const server = await Original.start('y-webrtc/bin/server.js', port, { env: { PORT: String(port) } });
  closers.unshift(() => server.stop());
  return [server];
}
