// @ts-check
// The card of this person: the key, the display name beside it, and the buttons that copy them.

import { byId, say } from '../../ui/dom.js';
import { givenPeople } from '../directory.js';
import { short } from '../names.js';
import { explain } from '../server.js';
import { texts } from '../texts.js';
import { copy, linkTo, showForAMoment } from './copy.js';
import { KeyDialog } from './key-dialog.js';

/** @typedef {import('../display-name.js').DisplayName} DisplayName */
/** @typedef {import('../identity.js').Identity} Identity */

export class You {
  #card = byId('you', HTMLElement);
  #short = byId('my-address', HTMLElement);
  #copyKey = byId('copy-key', HTMLButtonElement);
  #copyLink = byId('copy-call-link', HTMLButtonElement);
  #keyFile = byId('key-file', HTMLButtonElement);
  #name = byId('my-name', HTMLInputElement);
  #problem = byId('my-name-problem', HTMLElement);

  /** @param {Identity} identity @param {DisplayName} displayName @param {() => void} onKeyReplaced */
  constructor(identity, displayName, onKeyReplaced) {
    this.identity = identity;
    this.displayName = displayName;
    this.#copyKey.addEventListener('click', () => copy(this.#copyKey, identity.me));
    this.#copyLink.addEventListener('click', () => copy(this.#copyLink, linkTo('call', identity.me)));
    const dialog = new KeyDialog(identity.me, onKeyReplaced);
    this.#keyFile.addEventListener('click', () => dialog.open());
    const nameForm = byId('my-name-form', HTMLFormElement);
    nameForm.addEventListener('submit', (event) => this.#saveName(event));
    this.#name.value = displayName.text;
    const isKeys = identity.kind === 'keys';
    for (const id of ['you-keys', 'my-name-hint']) byId(id, HTMLElement).hidden = !isKeys;
    byId('you-site', HTMLElement).hidden = isKeys;
    for (const control of [this.#copyKey, this.#keyFile]) control.hidden = !isKeys;
    nameForm.hidden = !displayName.isOwn;
    this.refresh();
  }

  refresh() {
    const { me } = this.identity;
    this.#card.hidden = me === '';
    this.#short.textContent = me ? (givenPeople.get(me) ?? short(me)) : '';
    this.#short.title = me;
    this.#card.dataset['address'] = me;
  }

  /** @param {SubmitEvent} event */
  async #saveName(event) {
    event.preventDefault();
    say(this.#problem, '');
    try {
      await this.displayName.set(this.#name.value);
      this.#name.value = this.displayName.text;
      showForAMoment(byId('my-name-save', HTMLButtonElement), texts.you.nameSaved);
    } catch (error) {
      say(this.#problem, explain(error));
    }
  }
}
