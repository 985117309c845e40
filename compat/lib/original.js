/** The original servers of dialects, from their registries: their clients expect their behaviour. */
import { fileURLToPath } from 'node:url';
import { freePort, Program } from './program.js';

/** Whether the long tests run: comparisons, and further combinations. */
export const LONG = Boolean(process.env['SWITCHBOARD_LONG']);

/** @typedef {(() => Promise<unknown>)[]} Closers the first is closed first */

/**
 * Why the tests against an original server are skipped, if they are: each repeats the same test against ours.
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

  /** However it has ended, or ends now. */
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
