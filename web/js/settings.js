// @ts-check
// The settings of the link and of this browser: name, room, devices, quality, STUN and TURN servers.

import { typedServers } from './ice.js';

/** @typedef {'name' | 'camera' | 'mic' | 'speaker' | 'ice' | 'shortcuts' | 'view' | 'ice-user' | 'ice-credential'} Remembered */

const PREFIX = 'switchboard.';
const query = new URLSearchParams(location.search);

/** The values of the link. */
export const asked = {
  name: query.get('name') ?? '',
  room: query.get('room') ?? '',
  autojoin: query.get('autojoin') === '1',
};

/** @param {Remembered} key */
export function recall(key) {
  try {
    return localStorage.getItem(PREFIX + key) ?? '';
  } catch {
    return '';
  }
}

/** @param {Remembered} key @param {string} value */
export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    // Private windows may forbid storage; the page works without.
  }
}

/** The STUN and TURN servers of the link, else the remembered ones. @returns {import('./ice.js').Typed} */
export function askedServers() {
  const urls = query.getAll('ice').join(' ');
  if (urls) return { urls, username: query.get('ice-user') ?? '', credential: query.get('ice-credential') ?? '' };
  return { urls: recall('ice'), username: recall('ice-user'), credential: recall('ice-credential') };
}

/** The link to share: this page, the room, and the servers that were typed. @param {string} room @param {import('./ice.js').Typed} typed */
export function roomLink(room, typed) {
  const link = new URL(location.pathname, location.href);
  link.searchParams.set('room', room);
  const urls = typedServers(typed).map((server) => String(server.urls));
  for (const url of urls) link.searchParams.append('ice', url);
  if (!urls.some((url) => /^turn/i.test(url))) return link.href;
  link.searchParams.set('ice-user', typed.username);
  link.searchParams.set('ice-credential', typed.credential);
  return link.href;
}

/** Puts the room into the address, so that a reload or a copied address opens the same room. @param {string} room */
export function showRoomInAddress(room) {
  const address = new URL(location.href);
  address.searchParams.set('room', room);
  history.replaceState(null, '', address);
}

export function newRoomName() {
  const letters = 'abcdefghjkmnpqrstuvwxyz';
  const random = crypto.getRandomValues(new Uint8Array(9));
  const word = [...random].map((byte) => letters[byte % letters.length]).join('');
  return `${word.slice(0, 3)}-${word.slice(3, 6)}-${word.slice(6)}`;
}

export function signalingUrl() {
  const url = new URL('ws?dialect=p2p', document.baseURI);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}
