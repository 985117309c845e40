import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { get } from 'node:https';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const READY_WITHIN_MS = 60_000;
/** Below the ports of outgoing connections (Linux: from 32768), one of which could take a free port before its program does. */
const PORTS = { min: 15_000, max: 32_000 };
const PORTS_TRIED_MAX = 100;

export async function freePort() {
  for (let tried = 0; tried < PORTS_TRIED_MAX; tried += 1) {
    const port = likelyFreePort();
    const probe = createServer().listen(port, '127.0.0.1');
    const isFree = await once(probe, 'listening').then(() => true, () => false);
    if (!isFree) continue;
    probe.close();
    await once(probe, 'close');
    return port;
  }
  throw new Error(`no port from ${PORTS.min} to ${PORTS.max} is free`);
}

/** A port that no outgoing connection takes. */
export function likelyFreePort() {
  return randomInt(PORTS.min, PORTS.max);
}

/** @param {string} url */
async function answersOk(url) {
  const signal = AbortSignal.timeout(5_000);
  try {
    if (!url.startsWith('https:')) return (await fetch(url, { signal })).status === 200;
    const [response] = await once(get(url, { signal, agent: false, rejectUnauthorized: false }), 'response');
    response.resume();
    return response.statusCode === 200;
  } catch {
    return false;
  }
}

/** A program that serves HTTP on a port of this machine. It ends with the tests. */
export class Program {
  /** @param {number} port @param {string} command @param {string[]} options @param {NodeJS.ProcessEnv} env */
  constructor(port, command, options, env) {
    this.log = '';
    this.port = port;
    this.origin = `http://127.0.0.1:${port}`;
    this.socketOrigin = `ws://127.0.0.1:${port}`;
    this.launch = () => spawn(command, options, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = this.launch();
    this.exit = once(this.child, 'exit');
    this.killWithUs = () => this.kill();
    process.once('exit', this.killWithUs);
    this.#keepLog();
  }

  /** Kills the program, starts it again on the same port, and waits until it answers at the path. @param {string} path */
  async crash(path) {
    this.kill();
    await this.exit;
    this.child = this.launch();
    this.exit = once(this.child, 'exit');
    this.#keepLog();
    await this.ready(path);
  }

  #keepLog() {
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (this.log += text));
    }
  }

  /** Waits until the program answers at the path. Kills it if it does not. @param {string} path */
  async ready(path) {
    try {
      await this.#answers(this.origin + path);
    } catch (error) {
      this.kill();
      throw error;
    }
  }

  kill() {
    this.child.kill('SIGKILL');
  }

  /** @returns {Promise<[number | null, string | null]>} how it ended */
  async ended() {
    const [code, signal] = await this.exit;
    process.removeListener('exit', this.killWithUs);
    return [code, signal];
  }

  /** @param {string} url */
  async #answers(url) {
    const deadline = Date.now() + READY_WITHIN_MS;
    while (!(await answersOk(url))) {
      assert.equal(this.child.exitCode, null, `the server ended at once. Its log:\n${this.log}`);
      assert.ok(Date.now() < deadline, `the server is not ready after ${READY_WITHIN_MS} ms. Its log:\n${this.log}`);
      await delay(50);
    }
  }
}
