/** A real coturn on loopback, for calls that use only its relay. */
import { spawn } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { likelyFreePort } from './program.js';
import { unlessCi } from './requirement.js';

const SECRET = 'north';
const READY_WITHIN_MS = 60_000;
const ANSWER_MS = 100;
/** A STUN binding request (RFC 8489, section 5). */
const BINDING_REQUEST = Buffer.from('000100002112a442' + '07'.repeat(12), 'hex');

/** The reason why the tests with coturn cannot run here, or false. */
export const coturnMissing = unlessCi(!isInstalled('turnserver') && 'NO COTURN: there is no turnserver (Debian: coturn)');

if (coturnMissing) console.error(`\n!!! ${coturnMissing}: every test of TURN is skipped !!!\n`);

/** @param {string} program */
function isInstalled(program) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** A TURN server that takes UDP on loopback and relays to loopback. It ends with the tests. */
export class Coturn {
  static async start() {
    const coturn = new Coturn(await freeUdpPort());
    await coturn.#launch();
    return coturn;
  }

  /** @param {number} port */
  constructor(port) {
    this.port = port;
    this.url = `turn:127.0.0.1:${port}?transport=udp`;
    this.log = '';
    this.database = join(tmpdir(), `switchboard-${randomUUID()}`);
    this.killWithUs = () => this.child?.kill('SIGKILL');
    process.once('exit', this.killWithUs);
  }

  /** The settings of a server that shares the secret. */
  get settings() {
    return { SWITCHBOARD_ICE_TURN_URLS: this.url, SWITCHBOARD_ICE_TURN_SECRET: SECRET, SWITCHBOARD_ICE_TURN_TTL: '60' };
  }

  /**
   * An entry of `iceServers` as the server makes it.
   * @param {number} seconds until it expires; negative if it has expired already
   */
  credentials(seconds) {
    const username = `${Math.floor(Date.now() / 1000) + seconds}:${randomUUID()}`;
    return { urls: [this.url], username, credential: createHmac('sha1', SECRET).update(username).digest('base64') };
  }

  /** Whether these credentials have opened a relay. @param {string} username */
  hasAllocated(username) {
    return this.log.includes(`user <${username}>: incoming packet ALLOCATE processed, success`);
  }

  /** Kills the process and starts it again on the same port: all relays are lost. */
  async restart() {
    await this.#end();
    await this.#launch();
  }

  async stop() {
    process.removeListener('exit', this.killWithUs);
    await this.#end();
    for (const file of [this.database, `${this.database}.pid`]) await rm(file, { force: true });
  }

  async #launch() {
    this.child = spawn('turnserver', [
      ...['-n', '--verbose', '--log-file=stdout', '--realm=example.org', '--listening-ip=127.0.0.1', '--relay-ip=127.0.0.1'],
      ...['--allow-loopback-peers', '--no-tcp', '--no-tls', '--no-dtls', '--no-cli', '--use-auth-secret', '--fingerprint'],
      ...[`--listening-port=${this.port}`, `--static-auth-secret=${SECRET}`],
      ...[`--userdb=${this.database}`, `--pidfile=${this.database}.pid`],
    ], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.child.stdout?.setEncoding('utf8').on('data', (text) => (this.log += text));
    await this.#answers();
  }

  async #end() {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGKILL');
    await once(this.child, 'exit');
  }

  async #answers() {
    const socket = createSocket('udp4');
    const answer = once(socket, 'message').then(() => true);
    try {
      for (const deadline = Date.now() + READY_WITHIN_MS; Date.now() < deadline; ) {
        socket.send(BINDING_REQUEST, this.port, '127.0.0.1');
        if (await Promise.race([answer, delay(ANSWER_MS, false)])) return;
      }
    } finally {
      socket.close();
    }
    throw new Error(`coturn is not ready after ${READY_WITHIN_MS} ms. Its log:\n${this.log}`);
  }
}

/** @returns {Promise<number>} */
async function freeUdpPort() {
  const port = likelyFreePort();
  const socket = createSocket('udp4').bind(port, '127.0.0.1');
  const isFree = await once(socket, 'listening').then(() => true, () => false);
  if (isFree) socket.close();
  return isFree ? port : freeUdpPort();
}

/**
 * Runs in every page before its own scripts: connections use only the relay of a TURN server. `window.relayed` lists
 * them, and `window.refusals` the error codes of their TURN servers.
 */
export function allowOnlyRelays() {
  window.relayed = [];
  window.refusals = [];
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super({ ...configuration, iceTransportPolicy: 'relay' });
      window.relayed.push(this);
      this.addEventListener('icecandidateerror', (event) => window.refusals.push(event.errorCode));
    }
  };
}

/**
 * Runs in the page: the kinds of the two candidates of each connection that is connected, as `relay relay`.
 * @returns {Promise<string[]>}
 */
export async function selectedCandidates() {
  const connected = window.relayed.filter(({ connectionState }) => connectionState === 'connected');
  const reports = await Promise.all(connected.map((connection) => connection.getStats()));
  return reports.map((report) => {
    const stats = [...report.values()];
    const transport = stats.find(({ type }) => type === 'transport');
    const pair = report.get(transport?.selectedCandidatePairId);
    return `${report.get(pair?.localCandidateId)?.candidateType} ${report.get(pair?.remoteCandidateId)?.candidateType}`;
  });
}
