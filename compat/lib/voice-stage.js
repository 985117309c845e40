import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { browserMissing, launchBrowser, newContext } from './browser.js';
import { Server } from './server.js';
import { exposeSound } from './voice-ear.js';
import { Person } from './voice-person.js';
import { sine, wavFile } from './voice-sine.js';

const TEST_MS_MAX = 120_000;
const SPEAKING_DB = -12;

/** @typedef {import('playwright-core').Browser} Browser */
/** @typedef {{ server: Server, openPage: (person: Person, hash?: string) => Promise<unknown> }} House what the tests of a file share */

/** The browsers, one for each sound of a fake microphone, which is fixed when a browser starts. */
class Browsers {
  /** @type {Map<number | string, Promise<Browser>>} */
  #browsers = new Map();

  /** @param {string} folder @param {boolean} hasInterface */
  constructor(folder, hasInterface) {
    this.folder = folder;
    this.hasInterface = hasInterface;
  }

  /** The browser whose microphone has this sound. @param {number | string} sound  a tone in Hz, or a WAV file */
  withMicrophone(sound) {
    const browser = this.#browsers.get(sound) ?? this.#launch(sound);
    this.#browsers.set(sound, browser);
    return browser;
  }

  async close() {
    for (const browser of this.#browsers.values()) await (await browser).close();
  }

  /** @param {number | string} sound */
  async #launch(sound) {
    const file = typeof sound === 'string' ? sound : await this.#toneFile(sound);
    return launchBrowser([`--use-file-for-fake-audio-capture=${file}`], this.hasInterface);
  }

  /** @param {number} tone */
  async #toneFile(tone) {
    const file = join(this.folder, `${tone}.wav`);
    await writeFile(file, wavFile(sine(tone, 10, SPEAKING_DB)));
    return file;
  }
}

/** The users of one test. */
export class VoiceScene {
  /** @type {Person[]} */
  people = [];

  /** @param {House} house @param {Browsers} browsers @param {string} room */
  constructor(house, browsers, room) {
    this.house = house;
    this.browsers = browsers;
    this.room = room;
  }

  /**
   * Opens the page in a browser whose microphone has this sound.
   * @param {string} name @param {number | string} sound  a tone in Hz, or a WAV file
   * @param {{ prepare?: () => void, hash?: string }} [options]  `prepare` runs in the page before its own scripts
   */
  async comes(name, sound, { prepare, hash } = {}) {
    const context = await newContext(await this.browsers.withMicrophone(sound));
    await context.addInitScript(exposeSound);
    if (prepare) await context.addInitScript(prepare);
    return this.opens(name, typeof sound === 'number' ? sound : 0, context, hash);
  }

  /** Opens another tab of a user. @param {Person} person */
  async again(person) {
    return this.opens(`${person.name} again`, person.tone, person.page.context());
  }

  /** @param {string} name @param {number} tone @param {import('playwright-core').BrowserContext} context @param {string} [hash] */
  async opens(name, tone, context, hash = '') {
    const person = new Person(name, tone, await context.newPage());
    this.people.push(person);
    await this.house.openPage(person, hash);
    await person.arrives();
    return person;
  }

  async close() {
    await Promise.all(this.people.map(({ page }) => page.context().close()));
  }

  async report() {
    const people = await Promise.all(this.people.map((person) => person.report()));
    return `${people.join('\n')}\n--- the server's log\n${this.house.server.log}`;
  }
}

/**
 * Starts one server and its browsers for all tests of a file. `open` adds functions that end what it has started; the first
 * is called first. `absent` is the reason why the tests are skipped.
 * @param {{ open?: (closers: (() => Promise<unknown>)[]) => Promise<House>, absent?: string | false, hasInterface?: boolean }} [options]
 * @returns {(title: string, play: (scene: VoiceScene) => Promise<void>) => void} declares a test with a room of its own; `play` is its body
 */
export function voiceStage({ open = openHouse, absent = false, hasInterface = false } = {}) {
  const skip = browserMissing || absent;
  if (skip) return (title) => void test(title, { skip });

  /** @type {House} */
  let house;
  /** @type {Browsers} */
  let browsers;
  /** @type {(() => Promise<unknown>)[]} */
  const closers = [];
  let rooms = 0;

  const closeAll = async () => {
    for (const close of closers.splice(0)) await close();
  };

  before(async () => {
    try {
      const folder = await mkdtemp(join(tmpdir(), 'switchboard-voice-'));
      closers.unshift(() => rm(folder, { recursive: true }));
      house = await open(closers);
      browsers = new Browsers(folder, hasInterface);
      closers.unshift(() => browsers.close());
    } catch (error) {
      // An open server or browser would keep this process alive.
      await closeAll();
      throw error;
    }
  });

  after(closeAll);

  return (title, play) =>
    void test(title, { timeout: TEST_MS_MAX }, async () => {
      const scene = new VoiceScene(house, browsers, `room ${++rooms}`);
      try {
        await play(scene);
        for (const { name, complaints } of scene.people) assert.deepEqual(complaints, [], `in the console of ${name}`);
      } catch (error) {
        throw new Error(`${error instanceof Error ? error.message : error}\n${await scene.report()}`, { cause: error });
      } finally {
        await scene.close();
      }
    });
}

/** A server with default settings: users are keys, and it serves the page. @param {(() => Promise<unknown>)[]} closers */
async function openHouse(closers) {
  const server = await Server.start();
  closers.unshift(() => server.stop());
  return { server, openPage: (/** @type {Person} */ { page }, hash = '') => page.goto(`${server.origin}/voice${hash}`) };
}
