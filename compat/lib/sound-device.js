import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const READY_WITHIN_MS = 60_000;
const READY = 'Daemon startup complete';

/** A sound device without hardware: a PulseAudio of its own, which ends with the tests and affects no other. */
export class SoundDevice {
  /** @param {import('node:child_process').ChildProcess} child @param {string} folder */
  constructor(child, folder) {
    this.child = child;
    this.folder = folder;
    this.killWithUs = () => child.kill('SIGKILL');
    process.once('exit', this.killWithUs);
  }

  static async start() {
    const folder = await mkdtemp(join(tmpdir(), 'switchboard-sound-'));
    const modules = ['module-null-sink', `module-native-protocol-unix socket=${socketIn(folder)} auth-anonymous=1`];
    const options = ['-n', '--daemonize=no', '--use-pid-file=no', '--exit-idle-time=-1', '--disable-shm=yes', '--log-level=info', '--log-target=stderr'];
    const env = { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder, XDG_CONFIG_HOME: folder, PULSE_RUNTIME_PATH: folder, DBUS_SESSION_BUS_ADDRESS: 'disabled:' };
    const child = spawn('pulseaudio', [...options, ...modules.flatMap((module) => ['-L', module])], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    const device = new SoundDevice(child, folder);
    await device.#ready();
    return device;
  }

  /** The environment of a program that is to use the device. */
  get env() {
    return { PULSE_SERVER: `unix:${socketIn(this.folder)}` };
  }

  async stop() {
    process.removeListener('exit', this.killWithUs);
    const isRunning = this.child.exitCode === null && this.child.signalCode === null;
    if (isRunning && this.child.kill('SIGTERM')) await once(this.child, 'exit');
    await rm(this.folder, { recursive: true, force: true });
  }

  async #ready() {
    const { stderr } = this.child;
    assert.ok(stderr);
    const late = setTimeout(() => this.child.kill('SIGKILL'), READY_WITHIN_MS);
    let log = '';
    // Reads on until the end, so that the pipe never fills up.
    const lines = createInterface(stderr);
    const isReady = await new Promise((resolve) => {
      lines.on('line', (line) => {
        log += `${line}\n`;
        if (line.includes(READY)) resolve(true);
      });
      lines.on('close', () => resolve(false));
    });
    clearTimeout(late);
    assert.ok(isReady, `PulseAudio did not start:\n${log}`);
  }
}

/** @param {string} folder */
function socketIn(folder) {
  return join(folder, 'native');
}
