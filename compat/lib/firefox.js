/**
 * Firefox, driven by Puppeteer over WebDriver BiDi, with those methods of Playwright's browser that `Scene`, `Guest` and
 * `Visitor` use. So a test is written once for both browsers.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { launch } from 'puppeteer-core';
import { unlessCi } from './requirement.js';

const EXECUTABLE = process.env.FIREFOX ?? ['/usr/bin/firefox-esr', '/usr/bin/firefox'].find(existsSync) ?? '/usr/bin/firefox-esr';
const LAUNCH_MS_MAX = 60_000;
const WAIT_MS_MAX = 30_000;
const POLL_MS = 50;

/** Requests to all addresses except loopback go to a proxy that does not exist, so no request leaves the machine. */
const NO_PROXY_THERE = Object.fromEntries(['http', 'ssl'].flatMap((kind) => [[`network.proxy.${kind}`, '127.0.0.1'], [`network.proxy.${kind}_port`, 9]]));

const PREFERENCES = {
  ...NO_PROXY_THERE,
  'network.proxy.type': 1,
  'network.proxy.failover_direct': false,
  // No name is resolved by a DNS server.
  'network.dns.forceResolve': '127.0.0.1',
  'network.trr.mode': 5,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'media.navigator.permission.disabled': true,
  'media.navigator.streams.fake': true,
  // Without the permission only the address of the default route is gathered.
  'permissions.default.camera': 1,
  'permissions.default.microphone': 1,
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  'media.gmp-manager.url': '',
  'browser.region.update.enabled': false,
  'toolkit.telemetry.enabled': false,
  'dom.push.connection.enabled': false,
};

/** The reason why tests with Firefox cannot run here, or false. */
export const firefoxMissing = unlessCi(!existsSync(EXECUTABLE) && `NO FIREFOX: there is no Firefox at ${EXECUTABLE} (set FIREFOX to its path)`);

if (firefoxMissing) console.error(`\n!!! ${firefoxMissing}: every test with Firefox is skipped !!!\n`);

/**
 * @param {{ preferences?: Record<string, unknown>, env?: Record<string, string> }} [options] additional preferences and variables
 * @returns {Promise<import('playwright-core').Browser>} the part of it that the tests use
 */
export async function launchFirefox({ preferences = {}, env = {} } = {}) {
  // Firefox refuses to start as root with the home of another user.
  const home = await mkdtemp(join(tmpdir(), 'switchboard-firefox-'));
  const browser = await launch({
    browser: 'firefox',
    executablePath: EXECUTABLE,
    headless: true,
    timeout: LAUNCH_MS_MAX,
    env: { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_CACHE_HOME: home, ...env },
    extraPrefsFirefox: { ...PREFERENCES, ...preferences },
  });
  return /** @type {any} */ (new FirefoxBrowser(browser, home));
}

class FirefoxBrowser {
  #browser;
  #home;
  #contexts = 0;

  /** @param {import('puppeteer-core').Browser} browser @param {string} home  a folder that is removed at the end */
  constructor(browser, home) {
    this.#browser = browser;
    this.#home = home;
  }

  /** @param {{ viewport: { width: number, height: number } }} options */
  async newContext({ viewport }) {
    const folder = join(this.#home, `context-${(this.#contexts += 1)}`);
    const context = await this.#browser.createBrowserContext({ downloadBehavior: { policy: 'allow', downloadPath: `${folder}-downloads` } });
    return new FirefoxContext(context, folder, viewport);
  }

  async close() {
    await this.#browser.close();
    await rm(this.#home, { recursive: true, force: true });
  }
}

class FirefoxContext {
  #context;
  #viewport;
  #isClosed = false;
  /** @type {(() => void)[]} */ #initScripts = [];

  /** @param {import('puppeteer-core').BrowserContext} context @param {string} folder @param {{ width: number, height: number }} viewport */
  constructor(context, folder, viewport) {
    this.#context = context;
    this.folder = folder;
    this.#viewport = viewport;
  }

  /** @param {() => void} script */
  async addInitScript(script) {
    this.#initScripts.push(script);
  }

  /** Each page has a window of its own: the pictures of a background tab stand still. */
  async newPage() {
    const page = new FirefoxPage(await this.#context.newPage({ type: 'window' }), this);
    await page.setViewportSize(this.#viewport);
    for (const script of this.#initScripts) await page.addInitScript(script);
    return page;
  }

  async close() {
    if (!this.#isClosed) await this.#context.close();
    this.#isClosed = true;
  }
}

class FirefoxPage {
  #page;
  #context;

  /** @param {import('puppeteer-core').Page} page @param {FirefoxContext} context */
  constructor(page, context) {
    this.#page = page;
    this.#context = context;
    this.keyboard = page.keyboard;
  }

  /** Frames of WebSockets are not reported. @param {string} event @param {(news: any) => void} listener */
  on(event, listener) {
    if (event === 'pageerror') this.#page.on('pageerror', listener);
    if (event === 'console') this.#page.on('console', (message) => listener(inWordsOfPlaywright(message)));
  }

  context() {
    return this.#context;
  }

  url() {
    return this.#page.url();
  }

  /** @param {() => void} script */
  async addInitScript(script) {
    await this.#page.evaluateOnNewDocument(script);
  }

  /** @param {string} url */
  async goto(url) {
    await this.#page.goto(url);
  }

  async reload() {
    await this.#page.reload();
  }

  async close() {
    await this.#page.close();
  }

  /** @param {{ width: number, height: number }} size */
  async setViewportSize(size) {
    await this.#page.setViewport(size);
  }

  /** @param {{ path: string }} options */
  async screenshot({ path }) {
    await this.#page.screenshot({ path: /** @type {`${string}.png`} */ (path) });
  }

  /** @param {(argument: any) => any} script @param {unknown} [argument] */
  evaluate(script, argument) {
    return this.#page.evaluate(script, argument);
  }

  /** @param {(argument: any) => any} condition @param {unknown} argument @param {{ timeout?: number, polling?: number }} options */
  async waitForFunction(condition, argument, options) {
    await this.#page.waitForFunction(condition, options, argument);
  }

  /** @param {string} selector  of CSS only */
  locator(selector) {
    return new FirefoxLocator(this.#page, this.#context.folder, selector);
  }

  /** @param {string} testid */
  getByTestId(testid) {
    return this.locator(ofTestId(testid));
  }

  /** Waits for the next file in the folder of downloads. */
  async waitForEvent() {
    const folder = `${this.#context.folder}-downloads`;
    const before = await namesIn(folder);
    const end = Date.now() + WAIT_MS_MAX;
    while (Date.now() < end) {
      const names = await namesIn(folder);
      const name = names.find((name) => !before.includes(name));
      const isComplete = name && !names.some((name) => name.endsWith('.part'));
      if (isComplete && (await stat(join(folder, name))).size > 0) return { path: async () => join(folder, name) };
      await delay(POLL_MS);
    }
    throw new Error(`no download in ${folder} within ${WAIT_MS_MAX} ms`);
  }
}

class FirefoxLocator {
  #page;
  #folder;
  #selector;
  #text;

  /** @param {import('puppeteer-core').Page} page @param {string} folder  for files that are sent @param {string} selector @param {string} text  in it */
  constructor(page, folder, selector, text = '') {
    this.#page = page;
    this.#folder = folder;
    this.#selector = selector;
    this.#text = text;
  }

  /** Respected by `waitFor` only. @param {{ hasText: string }} options */
  filter({ hasText }) {
    return new FirefoxLocator(this.#page, this.#folder, this.#selector, hasText);
  }

  /** @param {string} selector  within this one */
  locator(selector) {
    return new FirefoxLocator(this.#page, this.#folder, `${this.#selector} ${selector}`);
  }

  /** @param {string} testid */
  getByTestId(testid) {
    return this.locator(ofTestId(testid));
  }

  first() {
    return this;
  }

  /** Only one element may match: every method acts on the first. */
  last() {
    return this;
  }

  /** @param {{ timeout?: number }} [options] */
  async click({ timeout = WAIT_MS_MAX } = {}) {
    await this.#page.locator(this.#selector).setTimeout(timeout).click();
  }

  /** @param {string} text */
  async fill(text) {
    await this.#page.locator(this.#selector).setTimeout(WAIT_MS_MAX).fill(text);
  }

  async check() {
    if (!(await this.evaluate((/** @type {HTMLInputElement} */ input) => input.checked))) await this.click();
  }

  /** @param {string} value */
  async selectOption(value) {
    await this.#page.select(this.#selector, value);
  }

  /** @returns {Promise<string>} */
  innerText() {
    return this.evaluate((element) => element.innerText);
  }

  async count() {
    return (await this.#page.$$(this.#selector)).length;
  }

  async isVisible() {
    return (await (await this.#page.$(this.#selector))?.isVisible()) ?? false;
  }

  /** @param {string} name @returns {Promise<string | null>} */
  getAttribute(name) {
    return this.evaluate((element, name) => element.getAttribute(name), name);
  }

  /** @param {{ timeout?: number, state?: 'visible' | 'attached' | 'hidden' }} [options] */
  async waitFor({ timeout = WAIT_MS_MAX, state = 'visible' } = {}) {
    if (state !== 'visible') return void (await this.#page.waitForSelector(this.#selector, { timeout, hidden: state === 'hidden' }));
    await this.#page.waitForFunction((selector, text) => {
      const elements = [...document.querySelectorAll(selector)];
      return elements.some((element) => element.checkVisibility() && element.textContent?.includes(text));
    }, { timeout, polling: POLL_MS }, this.#selector, this.#text);
  }

  /** @param {(element: any, argument: any) => any} script @param {unknown} [argument] */
  async evaluate(script, argument) {
    await this.waitFor({ state: 'attached' });
    return this.#page.$eval(this.#selector, script, argument);
  }

  /** @param {{ name: string, buffer: Buffer } | { name: string, buffer: Buffer }[]} files */
  async setInputFiles(files) {
    const folder = await mkdtemp(`${this.#folder}-files-`);
    const paths = [files].flat().map(({ name, buffer }) => ({ path: join(folder, name), buffer }));
    for (const { path, buffer } of paths) await writeFile(path, buffer);
    const input = /** @type {import('puppeteer-core').ElementHandle<HTMLInputElement> | null} */ (await this.#page.$(this.#selector));
    await input?.uploadFile(...paths.map(({ path }) => path));
  }
}

/** @param {string} testid */
function ofTestId(testid) {
  return `[data-testid="${testid}"]`;
}

/** @param {string} folder @returns {Promise<string[]>} */
async function namesIn(folder) {
  return readdir(folder).catch(() => []);
}

/** @param {import('puppeteer-core').ConsoleMessage} message */
function inWordsOfPlaywright(message) {
  const type = message.type() === 'warn' ? 'warning' : message.type();
  const { url = '' } = message.location();
  return { type: () => type, text: () => message.text(), location: () => ({ url }) };
}
