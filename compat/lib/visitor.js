import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Guest } from './guest.js';

/** A picture moves if it has shown so many more frames. */
const MOVING_FRAMES = 10;
/** `keeps` waits for so many readings within the limits. */
const READINGS_IN_A_ROW = 4;
const READINGS_WITHIN_MS = 60_000;
const HEARD_WITHIN_MS = 30_000;
const READ_EVERY_MS = 100;
/** The time limit of a file that others are sent beside. */
const ARRIVED_WITHIN_MS = 90_000;

/** A member that uses the call page at `/`. */
export class Visitor extends Guest {
  /** @returns {Promise<import('./window.js').Tile[]>} */
  others() {
    return this.page.evaluate(() => window.tiles());
  }

  /**
   * Waits until exactly these other members are connected, and chat with them is open.
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

  /**
   * Waits until the sound of each of these others is played, and its energy grows.
   * @param {string[]} names
   */
  async hears(...names) {
    for (const name of names) await this.#hearsOne(name);
  }

  /** @param {string} name */
  async #hearsOne(name) {
    const read = () => this.page.evaluate((name) => window.heard(name), name);
    const before = await read();
    const end = Date.now() + HEARD_WITHIN_MS;
    for (let now = before; Date.now() < end; now = await read()) {
      if (now.energy > before.energy && now.played > 0 && now.played > before.played) return;
      await delay(READ_EVERY_MS);
    }
    throw new Error(`${this.name} does not hear ${name}: ${JSON.stringify(await read())}, before ${JSON.stringify(before)}`);
  }

  /** Waits until the page has updated the rates of another member this many times. @param {string} name @param {number} times */
  async measures(name, times) {
    const tile = this.page.locator(`[data-testid="tile"][data-username="${name}"]`);
    await tile.evaluate((tile, times) => new Promise((resolve) => {
      let seen = 0;
      new MutationObserver(() => (seen += 1) >= times && resolve(null)).observe(tile, { attributeFilter: ['data-up'] });
    }), times);
  }

  /** Waits until an attribute of the tile of another member has this value. @param {string} name @param {string} attribute @param {string} value */
  async shows(name, attribute, value) {
    await this.page.locator(`[data-testid="tile"][data-username="${name}"][data-${attribute}="${value}"]`).waitFor({ timeout: 30_000 });
  }

  /**
   * Keeps a screenshot, once the pictures of so many others move. Chromium paints no page in the background.
   * @param {string} file @param {number} moving
   */
  async photographs(file, moving = 0) {
    await this.page.bringToFront();
    if (moving > 0) await this.seesMoving(moving);
    // Tiles move to their new places when the page comes to the front: without animations they are there at once.
    await this.page.screenshot({ path: file, animations: 'disabled' });
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

  /** Waits until an event in the log of the page names this member. @param {string} name */
  async isToldOf(name) {
    await this.#untilListed('event', [name]);
  }

  /** @param {string} name @param {Buffer} bytes */
  async sends(name, bytes) {
    await this.page.getByTestId('file-input').setInputFiles({ name, mimeType: 'application/octet-stream', buffer: bytes });
  }

  /** Offers a file of so many zeros, which need not go through the test. @param {string} name @param {number} bytes */
  async sendsZeros(name, bytes) {
    await this.page.evaluate(({ name, bytes }) => {
      const input = /** @type {HTMLInputElement} */ (document.querySelector('[data-testid="file-input"]'));
      const transfer = new DataTransfer();
      transfer.items.add(new File([new Uint8Array(bytes)], name));
      input.files = transfer.files;
      input.dispatchEvent(new Event('change'));
    }, { name, bytes });
  }

  /** Waits until a part of a file has arrived, or was sent. @param {string} name */
  async hasPart(name) {
    await this.until(`a part of ${name}`, (name) => {
      const progress = document.querySelector(`[data-testid="file-item"][data-name="${name}"] progress`);
      return /** @type {HTMLProgressElement | null} */ (progress)?.value;
    }, name);
  }

  /** The latest entry of a file in the log, in this state. @param {'in' | 'out'} direction @param {string} name @param {string} [state] */
  file(direction, name, state) {
    const ofState = state ? `[data-state="${state}"]` : '';
    return this.page.locator(`[data-testid="file-item"][data-direction="${direction}"][data-name="${name}"]${ofState}`).last();
  }

  /** Waits for the offer of a file and accepts it. @param {string} name */
  async accepts(name) {
    await this.file('in', name).getByTestId('file-accept').click({ timeout: 30_000 });
  }

  /** Accepts a file and saves it. @param {string} name @returns {Promise<string>} its SHA-256 */
  async receives(name) {
    await this.accepts(name);
    return this.saves(name);
  }

  /** Waits until a file has arrived and saves it. @param {string} name @returns {Promise<string>} its SHA-256 */
  async saves(name) {
    const link = this.file('in', name, 'done').getByTestId('file-link');
    await link.waitFor({ timeout: ARRIVED_WITHIN_MS });
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

/** Switches the camera off in the lobby, and joins. @param {import('playwright-core').Page} page */
export async function joinWithCameraOff(page) {
  const camera = page.getByTestId('prejoin-camera');
  await page.locator('[data-testid="prejoin-camera"][aria-pressed="true"]').waitFor();
  await camera.click();
  await page.locator('[data-testid="prejoin-camera"][aria-pressed="false"]').waitFor();
  await page.getByTestId('join').click();
}

/** Runs in the page before its own scripts: `window.tiles()` reads the tiles of the other members. */
export function exposeTiles() {
  /** Firefox does not count the frames of a stream in the playback quality. @type {WeakMap<HTMLVideoElement, number>} */
  const presented = new WeakMap();

  /** @param {HTMLVideoElement} video */
  function countPresented(video) {
    video.requestVideoFrameCallback(() => {
      presented.set(video, (presented.get(video) ?? 0) + 1);
      countPresented(video);
    });
  }

  /** @param {HTMLVideoElement | null | undefined} video */
  function framesOf(video) {
    if (!video) return 0;
    if (!presented.has(video)) countPresented(video);
    presented.set(video, presented.get(video) ?? 0);
    return video.getVideoPlaybackQuality().totalVideoFrames || (presented.get(video) ?? 0);
  }

  window.tiles = () => {
    const tiles = [...document.querySelectorAll('[data-testid="tile"]:not([data-peer="self"])')];
    return tiles.map((tile) => {
      const { username = '', state = '', chat = '' } = /** @type {HTMLElement} */ (tile).dataset;
      const video = tile.querySelector('video');
      return { username, state, chat, width: video?.videoWidth ?? 0, frames: framesOf(video) };
    });
  };
}

/** Runs in the page before its own scripts: `window.heard(username)` returns the played sound of another member. */
export function exposeSound() {
  /** @type {RTCPeerConnection[]} */
  const connections = [];
  window.connections = connections;
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super(configuration);
      connections.push(this);
    }
  };

  /** @param {MediaStreamTrack} track */
  async function energyOf(track) {
    const reports = await Promise.all(connections.map((connection) => connection.getStats()));
    const stats = reports.flatMap((report) => [...report.values()]);
    return stats.find(({ type, trackIdentifier }) => type === 'inbound-rtp' && trackIdentifier === track.id)?.totalAudioEnergy ?? 0;
  }

  window.heard = async (username) => {
    const tile = [...document.querySelectorAll('[data-testid="tile"]')].find((tile) => tile.getAttribute('data-username') === username);
    const element = tile?.querySelector('audio') ?? tile?.querySelector('video');
    const [track] = /** @type {MediaStream | undefined} */ (element?.srcObject)?.getAudioTracks() ?? [];
    if (!element || !track) return { energy: 0, played: -1 };
    const isAudible = !element.muted && element.volume > 0 && !element.paused && track.enabled;
    return { energy: await energyOf(track), played: isAudible ? element.currentTime : -1 };
  };
}

/**
 * Runs in the page: waits until `count` readings of an attribute in a row are within the limits.
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
