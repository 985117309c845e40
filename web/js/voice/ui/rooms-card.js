// @ts-check
// The list of rooms, and the field to enter another room.

import { byId, make, say } from '../../ui/dom.js';
import { texts } from '../texts.js';

/** @typedef {import('../rooms.js').Rooms} Rooms */
/** @typedef {import('../identity.js').Identity} Identity */

const NAME_MIN = 3;

export class RoomsCard {
  #list = byId('rooms', HTMLUListElement);
  #empty = byId('rooms-empty', HTMLElement);
  #input = byId('room-name', HTMLInputElement);
  #error = byId('room-error', HTMLElement);
  #shown = '';

  /** @param {Identity} identity @param {(address: string) => void} onJoin */
  constructor(identity, onJoin) {
    this.identity = identity;
    this.onJoin = onJoin;
    const isKeys = identity.kind === 'keys';
    byId('room-label', HTMLElement).textContent = isKeys ? texts.rooms.label : texts.rooms.labelNumber;
    if (!isKeys) this.#input.inputMode = 'numeric';
    byId('room-form', HTMLFormElement).addEventListener('submit', (event) => this.#submit(event));
    this.#input.addEventListener('input', () => say(this.#error, ''));
  }

  /** @param {string} words */
  problem(words) {
    say(this.#error, words);
  }

  /** @param {Rooms} rooms @param {string} current  the current room */
  show(rooms, current) {
    const isSame = JSON.stringify([rooms.list, current]);
    if (isSame === this.#shown) return;
    this.#shown = isSame;
    this.#empty.hidden = rooms.list.length > 0;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset['room'] : undefined;
    this.#list.replaceChildren(...rooms.list.map((room) => this.#row(room, rooms, current)));
    if (focused) [...this.#list.querySelectorAll('button')].find(({ dataset }) => dataset['room'] === focused)?.focus();
  }

  /** @param {import('../rooms.js').Room} room @param {Rooms} rooms @param {string} current */
  #row(room, rooms, current) {
    const address = rooms.addressOf(room);
    const name = rooms.titleOf(address);
    const isHere = address === current;
    const join = make('button', { className: 'small', testid: 'room-join', text: isHere ? texts.rooms.here : texts.rooms.listen });
    join.type = 'button';
    join.disabled = isHere;
    join.dataset['room'] = address;
    join.setAttribute('aria-label', isHere ? texts.rooms.hereIn(name) : texts.rooms.listenTo(name));
    join.addEventListener('click', () => this.onJoin(address));
    const count = countOf(room);
    const words = [make('b', { text: name }), make('span', { className: 'address', text: room.about ? `${count} · ${room.about}` : count })];
    const row = make('li', { className: 'room-row', testid: 'room' }, [make('div', { className: 'who' }, words), join]);
    Object.assign(row.dataset, { room: address, id: room.id, count: String(room.count) });
    return row;
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    event.preventDefault();
    const typed = this.#input.value.trim();
    const isNumber = /^[1-9][0-9]{0,17}$/.test(typed);
    if (this.identity.kind === 'site' && !isNumber) return this.problem(texts.rooms.needsNumber);
    if (this.identity.kind === 'keys' && [...typed].length < NAME_MIN) return this.problem(texts.rooms.tooShort);
    this.#input.value = '';
    this.problem('');
    this.onJoin(typed);
  }
}

/** @param {import('../rooms.js').Room} room */
function countOf({ count }) {
  if (count === 0) return texts.rooms.empty;
  return count === 1 ? texts.rooms.onePerson : texts.rooms.people(count);
}
