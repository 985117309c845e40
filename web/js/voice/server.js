// @ts-check
// The requests to Switchboard, its URL, and texts for its errors.
//
// All requests are simple requests with parameters, so that a page of another origin needs no preflight.

import { NoAudioDevice } from './audio/no-audio-device.js';
import { UnsafeChallenge } from './keys.js';
import { texts } from './texts.js';

/** @typedef {Record<string, string>} Params */
/** @typedef {{identity: 'keys' | 'site', site: string | null}} Mode */

const TIMEOUT_MS = 10_000;
const WORDS_MAX = 200;

/** An error response of the server. */
export class Refused extends Error {
  /** @param {number} status @param {string} text */
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** Another connection of the same user has taken over. No reconnect follows, because it would take over again. */
export class Replaced extends Error {}

export class Server {
  /** @param {URL} base */
  constructor(base) {
    this.base = base;
  }

  /** @returns {Promise<Mode>} */
  async mode() {
    const response = await fetch(this.url('voice/mode', {}), { signal: AbortSignal.timeout(TIMEOUT_MS) });
    await mustBeGood(response);
    const mode = await response.json();
    return { identity: mode?.identity === 'site' ? 'site' : 'keys', site: siteOf(mode?.site) };
  }

  /** @param {string} path @param {Params} [params] @returns {Promise<string>} */
  async get(path, params = {}) {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(this.url(path, params), { signal, cache: 'no-store' });
    await mustBeGood(response);
    return (await response.text()).trim();
  }

  /** @param {string} path @param {Params} params @returns {Promise<string>} */
  async post(path, params) {
    const response = await this.stream(path, params, AbortSignal.timeout(TIMEOUT_MS));
    return (await response.text()).trim();
  }

  /** A request with all parameters in the URL and no body. @param {string} path @param {Params} params */
  async postEmpty(path, params) {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    await mustBeGood(await fetch(this.url(path, params), { method: 'POST', signal, cache: 'no-store' }));
  }

  /** Throws if a stream would be refused. Does not replace the connection that has the stream. @param {string} path @param {Params} params */
  async probe(path, params) {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    await mustBeGood(await fetch(this.url(path, params), { method: 'HEAD', signal, cache: 'no-store' }));
  }

  /** A POST request whose response may be endless. @param {string} path @param {Params} params @param {AbortSignal} signal */
  async stream(path, params, signal) {
    const body = new URLSearchParams(params);
    const response = await fetch(this.url(path, {}), { method: 'POST', body, signal, cache: 'no-store' });
    await mustBeGood(response);
    return response;
  }

  /** Sends a request that outlives the page, for its unload. @param {string} path @param {Params} params */
  postAtUnload(path, params) {
    navigator.sendBeacon?.(this.url(path, {}), new URLSearchParams(params));
  }

  /** @param {string} path @param {Params} params */
  url(path, params) {
    const url = new URL(path, this.base);
    url.search = new URLSearchParams(params).toString();
    return url.href;
  }

  /** @param {string} path @param {Params} params */
  socketUrl(path, params) {
    return this.url(path, params).replace(/^http/, 'ws');
  }
}

/** The URL in the page or in `?server=`, otherwise the folder of the page. */
export function serverBase() {
  const meta = document.querySelector('meta[name=switchboard]')?.getAttribute('content');
  const asked = new URLSearchParams(location.search).get('server');
  const place = meta || (asked && isNear(asked) ? asked : '.');
  const base = new URL(place, document.baseURI);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  base.search = base.hash = '';
  return base;
}

// A link must not be able to send this page, and the signatures of its user, to another server.
/** @param {string} address */
function isNear(address) {
  const url = URL.canParse(address) ? new URL(address) : null;
  const isHere = url?.hostname === location.hostname;
  const isLocal = url?.hostname === 'localhost' || url?.hostname === '127.0.0.1';
  return Boolean(url && /^https?:$/.test(url.protocol) && (isHere || isLocal));
}

/** @param {unknown} site */
function siteOf(site) {
  if (typeof site !== 'string' || !URL.canParse(site)) return null;
  return /^https?:$/.test(new URL(site).protocol) ? site : null;
}

/** @param {Response} response */
async function mustBeGood(response) {
  if (response.ok) return;
  const text = await response.text().catch(() => '');
  throw new Refused(response.status, text.trim().slice(0, WORDS_MAX));
}

/** @param {unknown} error */
export function isRefusal(error, status = 0) {
  return error instanceof Refused && (status === 0 || error.status === status);
}

/** @param {unknown} error @param {Record<number, string>} [special]  texts for statuses with a special meaning */
export function explain(error, special = {}) {
  const { server, sound } = texts;
  if (error instanceof UnsafeChallenge) return server.unsafe;
  if (error instanceof Replaced) return server.takenOver;
  if (error instanceof NoAudioDevice) return sound.noDevice;
  if (!(error instanceof Refused)) return server.away;
  const words = special[error.status] ?? server.status[error.status];
  if (words) return words;
  return error.message ? server.said(error.message) : server.failed(error.status);
}
