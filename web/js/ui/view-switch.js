// @ts-check
// The button that changes between the grid and the speaker view; the browser remembers the choice.

import { recall, remember } from '../settings.js';
import { texts } from '../texts.js';
import { byId, label, press } from './dom.js';

/** @typedef {import('./grid.js').View} View */

export class ViewSwitch {
  #button = byId('view', HTMLButtonElement);
  #ended = new AbortController();

  /** @param {(view: View) => void} onView  called at once with the view that is remembered */
  constructor(onView) {
    this.onView = onView;
    label(this.#button, texts.view.speaker, texts.view.speakerTitle);
    this.#button.addEventListener('click', () => this.#toggle(), { signal: this.#ended.signal });
    this.#show(recall('view') === 'speaker' ? 'speaker' : 'grid');
  }

  close() {
    this.#ended.abort();
  }

  #toggle() {
    const view = this.#button.getAttribute('aria-pressed') === 'true' ? 'grid' : 'speaker';
    remember('view', view);
    this.#show(view);
  }

  /** @param {View} view */
  #show(view) {
    press(this.#button, view === 'speaker');
    this.onView(view);
  }
}
