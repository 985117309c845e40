// @ts-check
// The STUN and TURN servers: those that Switchboard offers, those in the link of the page, and those that the user
// typed. All are checked before a connection uses them, because a browser refuses a connection if one server is
// malformed.

import { texts } from './texts.js';

/** @typedef {{urls: string, username: string, credential: string}} Typed  addresses separated by spaces, and for TURN a user */
/** @typedef {{servers: RTCIceServer[], serverTime: number}} Offer  what the server offers, and its clock in ms since 1970 */

const URL_PATTERN = /^(?:stuns?:(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?|turns?:(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?(?:\?transport=(?:udp|tcp))?)$/i;
/** The scheme is case-insensitive, the query is not. */
const UPPER_CASE_QUERY = /\?.*[A-Z]/;
const SERVERS_MAX = 16;
const PORT_MAX = 65_535;
const FETCH_MS = 3_000;

/** @param {string} url */
function isServerUrl(url) {
  const port = Number(/:(\d+)(?:\?|$)/.exec(url)?.[1] ?? 1);
  return URL_PATTERN.test(url) && port >= 1 && port <= PORT_MAX && !UPPER_CASE_QUERY.test(url);
}

/** The error of each field; empty if it is valid. @param {Typed} typed @returns {Typed} */
export function mistakes({ urls, username, credential }) {
  const wrong = addresses(urls).find((url) => !isServerUrl(url));
  const isTurn = addresses(urls).some((url) => /^turns?:/i.test(url));
  return {
    urls: wrong ? texts.ice.notAnAddress(wrong) : '',
    username: isTurn && !username ? texts.ice.needsUser : '',
    credential: isTurn && !credential ? texts.ice.needsPassword : '',
  };
}

/** The valid ones of the typed servers. @param {Typed} typed @returns {RTCIceServer[]} */
export function typedServers({ urls, username, credential }) {
  const good = addresses(urls).filter(isServerUrl);
  const stun = good.filter((url) => /^stun/i.test(url)).map((url) => ({ urls: url }));
  const turn = good.filter((url) => /^turn/i.test(url)).map((url) => ({ urls: url, username, credential }));
  return [...stun, ...(username && credential ? turn : [])];
}

/** The servers that Switchboard offers; null if it does not answer. @returns {Promise<Offer | null>} */
export async function offeredServers() {
  try {
    const url = new URL('ice-servers', document.baseURI);
    const response = await fetch(url, { signal: AbortSignal.timeout(FETCH_MS), cache: 'no-store' });
    const isBusy = response.status >= 500 || response.status === 429;
    if (isBusy) return null;
    return { servers: response.ok ? checked(await response.json()) : [], serverTime: timeOf(response) };
  } catch {
    return null;
  }
}

/** @param {Response} response */
function timeOf(response) {
  return Date.parse(response.headers.get('date') ?? '') || Date.now();
}

/** @param {RTCIceServer[]} servers */
export function hasTurn(servers) {
  return servers.flatMap(({ urls }) => urls).some((url) => /^turns?:/i.test(url));
}

/** Makes a connection with the servers that the browser accepts. @param {RTCIceServer[]} iceServers */
export function newConnection(iceServers) {
  try {
    return new RTCPeerConnection({ iceServers });
  } catch (error) {
    console.info('ICE servers refused', error);
    return new RTCPeerConnection({ iceServers: iceServers.filter(isAccepted) });
  }
}

/** Gives a connection the servers that the browser accepts. @param {RTCPeerConnection} pc @param {RTCIceServer[]} iceServers */
export function configure(pc, iceServers) {
  const configuration = pc.getConfiguration();
  try {
    pc.setConfiguration({ ...configuration, iceServers });
  } catch (error) {
    console.info('ICE servers refused', error);
    pc.setConfiguration({ ...configuration, iceServers: iceServers.filter(isAccepted) });
  }
}

/** @param {RTCIceServer} server */
function isAccepted(server) {
  try {
    new RTCPeerConnection({ iceServers: [server] }).close();
    return true;
  } catch {
    return false;
  }
}

/** @param {unknown} json */
function checked(json) {
  const list = Array.isArray(json) ? json : /** @type {{iceServers?: unknown} | null} */ (json)?.iceServers;
  if (!Array.isArray(list)) return [];
  return list.slice(0, SERVERS_MAX).flatMap((server) => {
    const urls = [server?.urls].flat().filter((url) => typeof url === 'string' && isServerUrl(url));
    const { username, credential } = server ?? {};
    const hasUser = typeof username === 'string' && typeof credential === 'string';
    if (urls.length === 0 || (!hasUser && hasTurn([{ urls }]))) return [];
    return [hasUser ? { urls, username, credential } : { urls }];
  });
}

/** @param {string} text */
function addresses(text) {
  return text.split(/[\s,]+/).filter(Boolean);
}
