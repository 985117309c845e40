// @ts-check
// Buttons that copy a text, and links to this page.

import { texts } from '../texts.js';

const COPIED_MS = 2_000;

/** A link that opens this page with these parameters. @param {'call' | 'room'} kind @param {string} address */
export function linkTo(kind, address) {
  const link = new URL(location.href);
  link.hash = new URLSearchParams({ [kind]: address }).toString();
  return link.href;
}

/** @param {HTMLButtonElement} button @param {string} text */
export async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    showForAMoment(button, texts.page.copied);
  } catch {
    prompt(texts.page.copyByHand, text);
  }
}

// The button stays enabled: a disabled one would lose the focus.
/** @param {HTMLButtonElement} button @param {string} words */
export function showForAMoment(button, words) {
  const label = button.querySelector('span') ?? button;
  button.dataset['caption'] ??= label.textContent ?? '';
  label.textContent = words;
  setTimeout(() => (label.textContent = button.dataset['caption'] ?? ''), COPIED_MS);
}
