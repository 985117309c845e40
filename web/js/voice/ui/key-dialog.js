// @ts-check
// The dialog that saves the key to a file, or replaces it with one from a file.

import { byId, say } from '../../ui/dom.js';
import { readKeyFile, replaceKey, saveKeyFile } from '../key-file.js';
import { short } from '../names.js';
import { texts } from '../texts.js';

export class KeyDialog {
  #dialog = byId('key-dialog', HTMLDialogElement);
  #file = byId('key-import-file', HTMLInputElement);
  #import = byId('key-import', HTMLButtonElement);
  #found = byId('key-found', HTMLElement);
  #problem = byId('key-problem', HTMLElement);
  /** @type {import('../keys.js').KeyPair | null} */ #keys = null;

  /** @param {string} me  the key of this page @param {() => void} onReplaced */
  constructor(me, onReplaced) {
    this.me = me;
    this.onReplaced = onReplaced;
    byId('key-export', HTMLButtonElement).addEventListener('click', saveKeyFile);
    this.#file.addEventListener('change', () => this.#read());
    this.#import.addEventListener('click', () => this.#replace());
  }

  open() {
    this.#file.value = '';
    this.#offer(null, '', '');
    this.#dialog.showModal();
  }

  async #read() {
    const [file] = this.#file.files ?? [];
    const keys = file ? await readKeyFile(file) : null;
    const { found, invalid, isYours } = texts.keyFile;
    if (!file) this.#offer(null, '', '');
    else if (!keys) this.#offer(null, '', invalid);
    else if (keys.publicKey === this.me) this.#offer(null, isYours, '');
    else this.#offer(keys, found(short(keys.publicKey)), '');
  }

  /** @param {import('../keys.js').KeyPair | null} keys @param {string} found @param {string} problem */
  #offer(keys, found, problem) {
    this.#keys = keys;
    this.#import.disabled = keys === null;
    this.#found.textContent = found;
    say(this.#problem, problem);
  }

  #replace() {
    if (!this.#keys) return;
    if (replaceKey(this.#keys)) this.onReplaced();
    else this.#offer(this.#keys, '', texts.keyFile.notKept);
  }
}
