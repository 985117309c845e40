/** A cluster of several nodes, with a Redis of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { freePort } from './program.js';
import { Server } from './server.js';

const LISTENS_WITHIN_MS = 60_000;

/** @typedef {(() => Promise<unknown>)[]} Closers functions that end what a test has started; the first is called first */

/** @param {number} port */
async function answers(port) {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Starts a Redis without persistence. @param {Closers} closers @returns {Promise<string>} its address */
async function startRedis(closers) {
  const folder = await mkdtemp(join(tmpdir(), 'switchboard-redis-'));
  closers.unshift(() => rm(folder, { recursive: true }));
  const port = await freePort();
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder], { stdio: 'ignore' });
  const killWithUs = () => child.kill('SIGKILL');
  process.once('exit', killWithUs);
  closers.unshift(async () => {
    process.removeListener('exit', killWithUs);
    child.kill('SIGKILL');
    if (child.exitCode === null) await once(child, 'exit');
  });
  const deadline = Date.now() + LISTENS_WITHIN_MS;
  while (!(await answers(port))) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`redis-server does not listen on ${port}`);
    await delay(20);
  }
  return `redis://127.0.0.1:${port}`;
}

/** @param {Closers} closers */
export async function startTwoNodes(closers) {
  const engine = await startRedis(closers);
  const servers = [];
  for (let node = 0; node < 2; node++) {
    const server = await Server.start({ SWITCHBOARD_ENGINE_URL: engine });
    closers.unshift(() => server.stop());
    servers.push(server);
  }
  return servers;
}
