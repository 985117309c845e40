// @ts-check
// The list of rooms and of the members of the current room, polled, because the events do not cover all changes.

import { givenRooms } from './directory.js';
import { texts } from './texts.js';

/** @typedef {import('./server.js').Server} Server */
/** @typedef {import('./identity.js').Identity} Identity */
/** @typedef {{id: string, name: string, about: string, count: number}} Room */
/** @typedef {{address: string, name: string, hasMic: boolean, hasHeadphones: boolean, level: number}} Member */

const LIST_MS = 5_000;
const MEMBERS_MS = 400;
/** The polls of a hidden page are so many times rarer. */
const HIDDEN_FACTOR = 10;
/** Delay of the poll after an event, so that several events cause one poll. */
const NEWS_MS = 250;
/** The texts that servers send for a room without a description. */
const NO_DESCRIPTION = /^no (desc|type)$/;

export class Rooms {
  /** @type {Room[]} */ list = [];
  /** @type {Member[]} */ members = [];
  #address = '';
  #listTimer = 0;
  #membersTimer = 0;

  /** @param {Server} server @param {Identity} identity @param {{onList: () => void, onMembers: () => void}} events */
  constructor(server, identity, events) {
    this.server = server;
    this.identity = identity;
    this.events = events;
    document.addEventListener('visibilitychange', () => document.hidden || this.news());
    this.#pollList();
  }

  /** Polls soon, after an event. */
  news() {
    clearTimeout(this.#listTimer);
    this.#listTimer = setTimeout(() => this.#pollList(), NEWS_MS);
  }

  /** @param {string} address  of the current room, if any */
  watch(address) {
    clearTimeout(this.#membersTimer);
    this.#address = address;
    this.members = [];
    this.news();
    if (address) this.#pollMembers(address);
  }

  /** The value that a join request names: the room's name, or on a site its number. @param {Room} room */
  addressOf(room) {
    return this.identity.kind === 'keys' ? room.name : room.id;
  }

  /** @param {string} address */
  titleOf(address) {
    return this.identity.kind === 'keys' ? address : (givenRooms.get(address) ?? texts.rooms.number(address));
  }

  async #pollList() {
    clearTimeout(this.#listTimer);
    const list = await this.#requestList('listRoom', {});
    if (list) this.list = withGiven(list.map(roomOf).filter((room) => room.id !== ''));
    this.events.onList();
    clearTimeout(this.#listTimer);
    this.#listTimer = setTimeout(() => this.#pollList(), LIST_MS * factor());
  }

  /** @param {string} address */
  async #pollMembers(address) {
    const room = this.list.find((one) => this.addressOf(one) === address);
    const members = room && room.count > 0 ? await this.#requestList('listMembers', { roomID: room.id }) : null;
    if (address !== this.#address) return;
    if (members) this.members = members.map(memberOf).filter((member) => this.identity.isAddress(member.address));
    this.events.onMembers();
    this.#membersTimer = setTimeout(() => this.#pollMembers(address), MEMBERS_MS * factor());
  }

  /** @param {string} path @param {import('./server.js').Params} params @returns {Promise<Record<string, unknown>[] | null>} */
  async #requestList(path, params) {
    try {
      const answer = JSON.parse(await this.server.get(path, params));
      return Array.isArray(answer) ? answer.filter((entry) => typeof entry === 'object' && entry !== null) : null;
    } catch {
      return null;
    }
  }
}

/** Adds the rooms of the website that are empty, which the server does not list. @param {Room[]} rooms */
function withGiven(rooms) {
  const empty = [...givenRooms].filter(([id]) => rooms.every((room) => room.id !== id));
  const all = [...rooms, ...empty.map(([id, name]) => ({ id, name, about: '', count: 0 }))];
  return givenRooms.size > 0 ? all.sort((one, other) => Number(one.id) - Number(other.id)) : all;
}

/** @param {Record<string, unknown>} entry @returns {Room} */
function roomOf(entry) {
  const about = String(entry['desc'] ?? '');
  return {
    id: String(entry['id'] ?? ''),
    name: String(entry['name'] ?? ''),
    about: NO_DESCRIPTION.test(about) ? '' : about,
    count: Number(entry['count']) || 0,
  };
}

/** @param {Record<string, unknown>} entry @returns {Member} */
function memberOf(entry) {
  const level = Number(entry['level']);
  return {
    address: String(entry['pubkey'] ?? entry['user'] ?? ''),
    name: typeof entry['name'] === 'string' ? entry['name'] : '',
    hasMic: Number(entry['mic']) === 1,
    hasHeadphones: Number(entry['hds']) === 1,
    level: Number.isFinite(level) ? Math.max(0, Math.min(1, level)) : 0,
  };
}

function factor() {
  return document.hidden ? HIDDEN_FACTOR : 1;
}
