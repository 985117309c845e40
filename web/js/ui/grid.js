// @ts-check
// Lays the tiles out as large as the stage allows, whatever its shape, and says what to do when one is alone.

import { byId } from './dom.js';

/** @typedef {import('./tile.js').Tile} Tile */

const ASPECT = 4 / 3;
const GAP = 10;
const WIDTH_MIN = 130;
const STRIP_WIDTH = 160;

export class Grid {
  #list = byId('grid', HTMLUListElement);
  #empty = byId('empty', HTMLElement);
  /** @type {Map<string, Tile>} */ tiles = new Map();
  /** Tiles with a shared screen, the latest one last. @type {Set<string>} */ #screens = new Set();
  #pinned = '';

  constructor() {
    new ResizeObserver(() => this.#layOut()).observe(this.#list);
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
    this.tiles.get(id)?.element.remove();
    this.tiles.delete(id);
    this.#screens.delete(id);
    if (this.#pinned === id) this.#pinned = '';
    this.#changed();
  }

  /** A shared screen is shown large, unless another tile is pinned. @param {string} id @param {boolean} isScreen */
  setScreen(id, isScreen) {
    if (isScreen === this.#screens.has(id)) return;
    if (isScreen) this.#screens.add(id);
    else this.#screens.delete(id);
    this.#changed();
  }

  /** @param {string} id */
  #pin(id) {
    this.#pinned = id;
    for (const [other, tile] of this.tiles) tile.setPinned(other === id);
    this.#changed();
  }

  clear() {
    for (const id of [...this.tiles.keys()]) this.remove(id);
  }

  #changed() {
    this.#empty.hidden = this.tiles.size > 1;
    this.#layOut();
  }

  #layOut() {
    const { clientWidth, clientHeight } = this.#list;
    const large = this.#pinned || ([...this.#screens].at(-1) ?? '');
    for (const [id, tile] of this.tiles) tile.setLarge(id === large);
    const strip = this.tiles.size > 1 ? STRIP_WIDTH / ASPECT + GAP : 0;
    this.#list.style.setProperty('--large-height', `${Math.max(STRIP_WIDTH, clientHeight - strip)}px`);
    const width = large ? STRIP_WIDTH : Math.max(WIDTH_MIN, bestWidth(this.tiles.size, clientWidth, clientHeight));
    this.#list.style.setProperty('--tile-width', `${Math.floor(width)}px`);
  }
}

/** @param {number} count @param {number} width @param {number} height */
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
