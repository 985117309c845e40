// @ts-check
// What the link asks for and what this browser remembers: name, room, devices, quality, STUN and TURN servers.

/** @typedef {'name' | 'camera' | 'mic' | 'speaker' | 'ice'} Remembered */

const PREFIX = 'switchboard.';
const query = new URLSearchParams(location.search);

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

/** @returns {string} the servers of the link, else the remembered ones */
export function iceText() {
  return query.getAll('ice').join(' ') || recall('ice');
}

/** @param {string} text @returns {RTCIceServer[]} */
export function iceServers(text) {
  const urls = text.split(/[\s,]+/).filter((url) => /^(stun|turn)s?:/.test(url));
  return urls.map((url) => (url.startsWith('turn') ? { urls: url, ...turnCredentials() } : { urls: url }));
}

function turnCredentials() {
  return { username: query.get('ice-user') ?? '', credential: query.get('ice-credential') ?? '' };
}

/** The link to hand on: this page and the room, nothing personal. @param {string} room */
export function roomLink(room) {
  const link = new URL(location.pathname, location.href);
  link.searchParams.set('room', room);
  for (const url of query.getAll('ice')) if (url.startsWith('stun')) link.searchParams.append('ice', url);
  return link.href;
}

/** Puts the room into the address, so that a reload or a copied address leads back. @param {string} room */
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
