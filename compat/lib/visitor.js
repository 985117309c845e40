import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Guest } from './guest.js';

const MOVING_FRAMES = 10;
const READINGS_IN_A_ROW = 4;
const READINGS_WITHIN_MS = 60_000;

/** Somebody on the call page that the server itself has at `/`. */
export class Visitor extends Guest {
  /** @returns {Promise<import('./window.js').Tile[]>} */
  others() {
    return this.page.evaluate(() => window.tiles());
  }

  /**
   * Waits until exactly these others are connected, and chat with them is open.
   * @param {string[]} names
   */
  async meets(...names) {
    await this.until(`connected with exactly ${names}`, (wanted) => {
      const tiles = window.tiles();
      const met = tiles.filter(({ state, chat }) => state === 'connected' && chat === 'open').map(({ username }) => username);
      return tiles.length === wanted.length && wanted.every((name) => met.includes(name));
    }, names);
  }

  /**
   * Waits until exactly these others are connected and their pictures move.
   * @param {string[]} names
   */
  async sees(...names) {
    await this.meets(...names);
    await this.seesMoving(names.length);
  }

  /** Waits until so many others are connected, and their pictures move. @param {number} count */
  async seesMoving(count) {
    await this.until(`connected with exactly ${count}`, (wanted) => {
      const tiles = window.tiles();
      return tiles.length === wanted && tiles.every(({ state }) => state === 'connected');
    }, count);
    const goals = Object.fromEntries((await this.others()).map(({ username, frames }) => [username, frames + MOVING_FRAMES]));
    await this.until('every picture moving', (wanted) => {
      return window.tiles().every(({ username, width, frames }) => width > 0 && frames >= wanted[username]);
    }, goals);
  }

  /** @param {string} text */
  async writes(text) {
    await this.page.getByTestId('chat-input').fill(text);
    await this.page.getByTestId('chat-send').click();
  }

  /** @param {string} author @param {string} text */
  async reads(author, text) {
    await this.#untilListed('chat-message', [author, text]);
  }

  /** @param {string} name */
  async isToldOf(name) {
    await this.#untilListed('event', [name]);
  }

  /** @param {string} name @param {Buffer} bytes */
  async sends(name, bytes) {
    await this.page.getByTestId('file-input').setInputFiles({ name, mimeType: 'application/octet-stream', buffer: bytes });
  }

  /** Waits for a file and saves it. @param {string} name @returns {Promise<string>} its SHA-256 */
  async receives(name) {
    const link = this.page.locator(`[data-direction="in"][data-state="done"][data-name="${name}"]`).getByTestId('file-link');
    const [download] = await Promise.all([this.page.waitForEvent('download'), link.click({ timeout: 30_000 })]);
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(await download.path())) hash.update(chunk);
    return hash.digest('hex');
  }

  /**
   * Waits until a figure on the page keeps within its limits for some seconds.
   * @param {string} testid @param {string} attribute @param {{ min?: number, max?: number }} limits
   */
  async keeps(testid, attribute, { min = 0, max = Number.MAX_VALUE }) {
    const wanted = { selector: `[data-testid="${testid}"]`, attribute, min, max, count: READINGS_IN_A_ROW, timeout: READINGS_WITHIN_MS };
    await this.page.evaluate(readingsWithin, wanted);
  }

  /** @param {string} testid @param {string[]} words */
  async #untilListed(testid, words) {
    await this.until(`${testid} with "${words.join('" and "')}"`, ({ testid, words }) => {
      const entries = [...document.querySelectorAll(`[data-testid="${testid}"]`)];
      return entries.some(({ textContent }) => words.every((word) => textContent?.includes(word)));
    }, { testid, words });
  }

  /** @override */
  async describe() {
    return JSON.stringify(await this.others(), null, 1);
  }
}

/** Runs in the page before its own scripts: `window.tiles()` reads the tiles of the others. */
export function exposeTiles() {
  window.tiles = () => {
    const tiles = [...document.querySelectorAll('[data-testid="tile"]:not([data-peer="self"])')];
    return tiles.map((tile) => {
      const { username = '', state = '', chat = '' } = /** @type {HTMLElement} */ (tile).dataset;
      const video = tile.querySelector('video');
      const frames = video?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
      return { username, state, chat, width: video?.videoWidth ?? 0, frames };
    });
  };
}

/**
 * Runs in the page.
 * @param {{ selector: string, attribute: string, min: number, max: number, count: number, timeout: number }} wanted
 * @returns {Promise<void>}
 */
function readingsWithin({ selector, attribute, min, max, count, timeout }) {
  const figure = document.querySelector(selector);
  if (!figure) throw new Error(`no ${selector}`);
  /** @type {number[]} */
  const readings = [];
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${selector} ${attribute} is not within ${min} and ${max}: ${readings}`)), timeout);
    const observer = new MutationObserver(() => {
      readings.push(Number(figure.getAttribute(attribute)));
      const latest = readings.slice(-count);
      if (latest.length < count || latest.some((reading) => reading < min || reading > max)) return;
      observer.disconnect();
      resolve();
    });
    observer.observe(figure, { attributeFilter: [attribute] });
  });
}
