// @ts-check
// The key as a file: 64 hexadecimal digits, as `switchboard voice key --key FILE` keeps it.

import { KeyPair } from './keys.js';
import { recall, remember } from './store.js';

const FILE_NAME = 'switchboard-voice.key';
const BYTES_MAX = 1_000;

/** Gives the browser the key of this page as a download. */
export function saveKeyFile() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([`${recall('key')}\n`], { type: 'text/plain' }));
  link.download = FILE_NAME;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 0);
}

/** @param {Blob} file @returns {Promise<KeyPair | null>} null if it holds no key or cannot be read */
export async function readKeyFile(file) {
  if (file.size > BYTES_MAX) return null;
  const text = await file.text().catch(() => '');
  return KeyPair.restore(text.trim().toLowerCase());
}

/** @param {KeyPair} keys @returns {boolean} whether the browser keeps it */
export function replaceKey(keys) {
  return remember('key', keys.secretHex) && recall('key') === keys.secretHex;
}
