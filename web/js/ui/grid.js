// @ts-check
// Lays the tiles out on the stage (the area for tiles): all of one size, as large as possible; or one of them large,
// and the others in a strip below it. Shows a hint when no other member is there.

import { byId } from './dom.js';

/** @typedef {import('./tile.js').Tile} Tile */
/** @typedef {'grid' | 'speaker'} View */

/** Width by height of a tile. */
const ASPECT = 4 / 3;
const GAP = 10;
const WIDTH_MIN = 130;
const STRIP_WIDTH_MIN = 96;
const STRIP_WIDTH_MAX = 160;
/** The part of the height of the stage that the strip has; the large tile has the rest. */
const STRIP_HEIGHT_SHARE = 0.22;

export class Grid {
  #list = byId('grid', HTMLUListElement);
  #empty = byId('empty', HTMLElement);
  /** @type {Map<string, Tile>} */ tiles = new Map();
  /** Tiles with a shared screen, the latest one last. @type {Set<string>} */ #screens = new Set();
  /** The id of the pinned tile; empty without one. */
  #pinned = '';
  /** @type {View} */ #view = 'grid';
  /** The id of the member that talks; empty without one. */
  #speaker = '';
  #resizes = new ResizeObserver(() => this.#layOut());

  /** @param {string} self  the id of the own tile, which is large only when pinned */
  constructor(self) {
    this.self = self;
    this.#resizes.observe(this.#list);
  }

  /** @param {string} id @param {Tile} tile */
  add(id, tile) {
    this.tiles.set(id, tile);
    this.#list.append(tile.element);
    tile.onPin = () => this.#pin(this.#pinned === id ? '' : id);
    this.#changed();
  }

  /** @param {string} id */
  remove(id) {
    this.#removeElement(id);
    this.tiles.get(id)?.close();
    this.tiles.delete(id);
    this.#screens.delete(id);
    if (this.#pinned === id) this.#pinned = '';
    this.#changed();
  }

  // Moves the focus from a button of a removed tile: otherwise it would return to the top of the page.
  /** @param {string} id */
  #removeElement(id) {
    const element = this.tiles.get(id)?.element;
    const hadFocus = element?.contains(document.activeElement);
    element?.remove();
    if (hadFocus) this.#list.focus();
  }

  /** A shared screen is shown large, unless another tile is pinned. @param {string} id @param {boolean} isScreen @returns {boolean} whether it is new */
  setScreen(id, isScreen) {
    if (isScreen === this.#screens.has(id)) return false;
    if (isScreen) this.#screens.add(id);
    else this.#screens.delete(id);
    this.#changed();
    return isScreen;
  }

  /** @param {View} view */
  setView(view) {
    this.#view = view;
    this.#changed();
  }

  /** The tile that the speaker view shows large. @param {string} id  empty for any */
  setSpeaker(id) {
    this.#speaker = id;
    this.#changed();
  }

  /** @param {string} id */
  #pin(id) {
    this.#pinned = id;
    for (const [other, tile] of this.tiles) tile.setPinned(other === id);
    this.#changed();
  }

  close() {
    this.#resizes.disconnect();
    for (const id of [...this.tiles.keys()]) this.remove(id);
  }

  #changed() {
    this.#empty.hidden = this.tiles.size > 1;
    this.#layOut();
  }

  /** The id of the large tile; empty where all have one size. */
  get #large() {
    if (this.tiles.size < 2) return '';
    const pinnedOrScreen = this.#pinned || [...this.#screens].at(-1);
    if (pinnedOrScreen || this.#view === 'grid') return pinnedOrScreen ?? '';
    if (this.tiles.has(this.#speaker)) return this.#speaker;
    return [...this.tiles.keys()].find((id) => id !== this.self) ?? '';
  }

  #layOut() {
    const { clientWidth, clientHeight } = this.#list;
    const large = this.#large;
    for (const [id, tile] of this.tiles) tile.setLarge(id === large);
    this.#list.classList.toggle('has-large', large !== '');
    const all = Math.max(WIDTH_MIN, bestWidth(this.tiles.size, clientWidth, clientHeight));
    const strip = Math.min(STRIP_WIDTH_MAX, Math.max(STRIP_WIDTH_MIN, clientHeight * STRIP_HEIGHT_SHARE * ASPECT));
    this.#set('--tile-width', `${Math.floor(large ? strip : all)}px`);
    this.#set('--stage-width', `${clientWidth}px`);
    this.#set('--strip-count', String(this.tiles.size - 1));
  }

  /** @param {string} property @param {string} value */
  #set(property, value) {
    this.#list.style.setProperty(property, value);
  }
}

/** The width of the largest tiles of which `count` fit into the stage. @param {number} count @param {number} width @param {number} height */
function bestWidth(count, width, height) {
  let best = 0;
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const byWidth = (width - GAP * (columns - 1)) / columns;
    const byHeight = ((height - GAP * (rows - 1)) / rows) * ASPECT;
    best = Math.max(best, Math.min(byWidth, byHeight));
  }
  return best;
}
