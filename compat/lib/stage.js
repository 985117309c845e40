import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { browserMissing, launchBrowser, newContext } from './browser.js';
import { Guest } from './guest.js';
import { Server } from './server.js';
import { Site } from './site.js';
import { exposeSound, exposeTiles, Visitor } from './visitor.js';

const OUTPUT = new URL('../output/', import.meta.url);
const TEST_MS_MAX = 120_000;

/**
 * @typedef {{ origin: string, socketOrigin: string, log: string }} AnyServer Switchboard, or the original server of a dialect
 * @typedef {(() => Promise<unknown>)[]} Closers functions that end what a test has started; the first is called first
 * @typedef {import('playwright-core').Browser} Browser
 * @typedef {{ servers: AnyServer[], site: Site, browsers: Record<string, Browser> }} House what the tests of a file share
 */

/** The room and the guests of one test. */
export class Scene {
  /** @type {Guest[]} */
  guests = [];
  /** @type {Closers} */
  closers = [];
  /** Names of the browsers that the guests use in turn. If empty, all guests use the first browser of the stage. @type {string[]} */
  browserNames = [];

  /**
   * @param {House} house @param {import('playwright-core').BrowserContext} context @param {string} room
   * @param {(browser: Browser) => Promise<import('playwright-core').BrowserContext>} contextOfNext makes the context of the next guest
   */
  constructor({ servers, site, browsers }, context, room, contextOfNext = async () => context) {
    this.servers = servers;
    this.site = site;
    this.browsers = browsers;
    this.context = context;
    this.room = room;
    this.contextOfNext = () => contextOfNext(this.#browserOfNext);
  }

  get #browserOfNext() {
    const name = this.browserNames[this.guests.length % this.browserNames.length] ?? Object.keys(this.browsers)[0] ?? '';
    const browser = this.browsers[name];
    assert.ok(browser, `no browser is named "${name}"`);
    return browser;
  }

  /** The node of the next guest: the guests use the nodes in turn. */
  get server() {
    return this.servers[this.guests.length % this.servers.length];
  }

  /**
   * Opens a page of `pages/` and waits until it is in the room.
   * @param {string} dialect @param {Record<string, string>} [parameters]
   */
  async join(dialect, parameters = {}) {
    const guest = await this.open(dialect, parameters);
    await guest.until('in the room', () => window.state?.joined);
    return guest;
  }

  /**
   * Opens a page of `pages/`.
   * @param {string} dialect @param {Record<string, string>} [parameters]
   */
  async open(dialect, parameters = {}) {
    const page = await (await this.contextOfNext()).newPage();
    const guest = new Guest(`${dialect}-${this.guests.length + 1}`, page);
    const { socketOrigin } = this.server;
    this.guests.push(guest);
    const query = new URLSearchParams({ server: socketOrigin, room: this.room, name: `${guest.name}.${this.room}`, ...parameters });
    await page.goto(`${this.site.origin}/${dialect}.html?${query}`);
    return guest;
  }

  /**
   * Opens the page at `/` by a link to the room.
   * @param {string} name @param {() => void} [prepare] runs in the page before its own scripts
   * @param {(page: import('playwright-core').Page) => Promise<unknown>} [enter] joins by the controls of the page; without it, the link joins
   */
  async visit(name, prepare, enter) {
    const page = await (await this.contextOfNext()).newPage();
    if (prepare) await page.addInitScript(prepare);
    await page.addInitScript(exposeTiles);
    await page.addInitScript(exposeSound);
    const visitor = new Visitor(name, page);
    const { origin } = this.server;
    this.guests.push(visitor);
    const query = new URLSearchParams({ room: this.room, name, autojoin: enter ? '0' : '1' });
    await page.goto(`${origin}/?${query}`);
    await enter?.(page);
    await visitor.until('in the call', () => document.querySelector('[data-testid="connection"]')?.getAttribute('data-state') === 'joined');
    return visitor;
  }

  async report() {
    const guests = await Promise.all(this.guests.map((guest) => guest.report()));
    const logs = this.servers.map(({ log }) => `--- a server's log\n${log}`);
    return [...guests, ...logs].join('\n');
  }
}

/** A server with default settings, except these. @param {Closers} closers @param {Record<string, string>} [settings] */
export async function startOneNode(closers, settings) {
  const server = await Server.start(settings);
  closers.unshift(() => server.stop());
  return [server];
}

/**
 * Starts the servers (by default one), one site and one browser for all tests of a file. `absent` is the reason why they
 * cannot be started, and the tests are skipped. With `apart` every guest has a browser context of its own, so that pages
 * share only the network. `prepare` runs in every page before its own scripts. `flags` are additional flags of the browser.
 * `device` is the emulated device.
 * `launchers` start the browsers, by the name that a scene gives them; with more than one, the guests must be apart.
 * @param {{ open?: (closers: Closers) => Promise<AnyServer[]>, absent?: string | false, apart?: boolean, prepare?: () => void,
 *   flags?: string[], device?: import('playwright-core').BrowserContextOptions, launchers?: Record<string, () => Promise<Browser>> }} [options]
 * @returns {(title: string, play: (scene: Scene) => Promise<void>) => void} declares a test with a room of its own; `play` is its body
 */
export function stage({ open: openServers = startOneNode, absent = false, apart = false, prepare, flags, device, launchers = { chromium: () => launchBrowser(flags) } } = {}) {
  const skip = browserMissing || absent;
  if (skip) return (title) => void test(title, { skip });

  /** @type {House} */
  let house;
  /** @type {Closers} */
  const closers = [];
  let rooms = 0;

  const open = async () => {
    await mkdir(OUTPUT, { recursive: true });
    const servers = await openServers(closers);
    const site = await Site.start();
    closers.unshift(() => site.stop());
    /** @type {Record<string, Browser>} */
    const browsers = {};
    for (const [name, launch] of Object.entries(launchers)) {
      const browser = await launch();
      closers.unshift(() => browser.close());
      browsers[name] = browser;
    }
    house = { servers, site, browsers };
  };

  before(async () => {
    try {
      await open();
    } catch (error) {
      // An open server or browser would keep this process alive.
      await Promise.allSettled(closers.splice(0).map((close) => close()));
      throw error;
    }
  });

  after(async () => {
    for (const close of closers.splice(0)) await close();
  });

  return (title, play) =>
    void test(title, { timeout: TEST_MS_MAX }, async () => {
      const [browser] = Object.values(house.browsers);
      assert.ok(browser);
      const context = await newContext(browser, prepare, device);
      const another = apart ? (/** @type {Browser} */ browser) => newContext(browser, prepare, device) : undefined;
      const scene = new Scene(house, context, `room-${++rooms}`, another);
      try {
        await play(scene);
        for (const { name, complaints } of scene.guests) assert.deepEqual(complaints, [], `in the console of ${name}`);
      } catch (error) {
        throw new Error(`${error instanceof Error ? error.message : error}\n${await scene.report()}`, { cause: error });
      } finally {
        await context.close();
        for (const { page } of scene.guests) await page.context().close();
        for (const close of scene.closers) await close();
      }
    });
}

/** @param {string} name */
export function outputFile(name) {
  return fileURLToPath(new URL(name, OUTPUT));
}
