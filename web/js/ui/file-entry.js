// @ts-check
// A file in the chat log with its buttons: an offered file, or a file that is sent to one or several members.

import { formatBytes, isPicture } from '../files/transfer.js';
import { texts } from '../texts.js';
import { byId, make } from './dom.js';

/** @typedef {import('../files/transfer.js').Transfer} Transfer */
/** @typedef {import('../files/transfer.js').IncomingTransfer} IncomingTransfer */
/** @typedef {import('../files/transfer.js').TransferState} TransferState */
/** @typedef {{username: string, transfer: Transfer}} Part  the transfer of the file from or to one member */

/** The state of a file that is sent to several members is the first of these states that any of its transfers has. */
const PRECEDENCE = /** @type {const} */ (['active', 'accepted', 'offered', 'queued', 'failed', 'done', 'declined', 'cancelled']);
/** States that are shown as another one. */
const SHOWN_STATE = { queued: 'offered', accepted: 'active' };

export class FileEntry {
  #parts;
  #title;
  #progress = make('progress', { testid: 'file-progress' });
  #amount = make('span', { className: 'hint' });
  #status = make('span', { className: 'hint', testid: 'file-status' });
  #buttons = make('div', { className: 'file-buttons' });
  #url = '';
  /** The kind of the shown buttons: answer, cancel or none. */
  #shownButtons = '';

  /** @param {string} username @param {IncomingTransfer} transfer */
  static incoming(username, transfer) {
    return new FileEntry('in', username, [{ username, transfer }], transfer);
  }

  /** @param {Part[]} parts  at least one */
  static outgoing(parts) {
    return new FileEntry('out', texts.files.to(names(parts)), parts, null);
  }

  /** @param {'in' | 'out'} direction @param {string} title @param {Part[]} parts @param {IncomingTransfer | null} incoming */
  constructor(direction, title, parts, incoming) {
    const { name, size } = /** @type {Part} */ (parts[0]).transfer;
    this.#parts = parts;
    this.incoming = incoming;
    this.name = name;
    this.size = size;
    this.#title = make('span', { text: `${title}: ${name}` });
    this.element = make('li', { className: 'file', testid: 'file-item' }, [this.#title, this.#progress, this.#amount, this.#status, this.#buttons]);
    Object.assign(this.element.dataset, { direction, name, size: String(size) });
    this.#progress.max = Math.max(1, size);
    this.#progress.setAttribute('aria-label', direction === 'in' ? texts.files.receiving(name) : texts.files.sending(name));
    // The log is a live region, so the progress is not part of it.
    this.#amount.setAttribute('aria-live', 'off');
    for (const { transfer } of parts) transfer.onChange = () => this.#show();
    this.#show();
  }

  get isOver() {
    return this.#parts.every(({ transfer }) => transfer.isOver);
  }

  /** Ends the transfer and releases the content. */
  close() {
    for (const { transfer } of this.#parts) transfer.onChange = () => {};
    this.#cancel();
    this.incoming?.drop();
    if (this.#url) URL.revokeObjectURL(this.#url);
  }

  #cancel() {
    for (const { transfer } of this.#parts) transfer.cancel();
  }

  /** @returns {TransferState} */
  get #state() {
    return PRECEDENCE.find((state) => this.#parts.some(({ transfer }) => transfer.state === state)) ?? 'failed';
  }

  #show() {
    const state = this.#state;
    this.element.dataset['state'] = SHOWN_STATE[/** @type {'queued'} */ (state)] ?? state;
    this.#showAmount(state);
    const words = this.incoming ? this.#incomingWords(this.incoming) : outgoingWords(this.#parts);
    if (this.#status.textContent !== words) this.#status.textContent = words;
    this.#status.hidden = words === '';
    this.#showButtons(state);
    if (state === 'done' && this.incoming && !this.#url) this.#offerToSave(this.incoming);
  }

  /** @param {TransferState} state */
  #showAmount(state) {
    const counted = this.#parts.filter(({ transfer }) => !transfer.isOver || transfer.state === 'done');
    const bytes = counted.reduce((sum, { transfer }) => sum + (transfer.state === 'done' ? this.size : transfer.bytes), 0) / Math.max(1, counted.length);
    this.#progress.value = bytes;
    this.#progress.hidden = state !== 'active';
    this.#amount.textContent = state === 'active' ? texts.files.progress(formatBytes(bytes), formatBytes(this.size)) : formatBytes(this.size);
  }

  /** @param {IncomingTransfer} transfer */
  #incomingWords({ state, problem, isWhole }) {
    if (state === 'offered') return isWhole ? texts.files.arrivedUnasked : texts.files.accepting;
    if (state === 'accepted') return texts.files.starting;
    if (state === 'declined') return texts.files.declinedByYou;
    if (state === 'cancelled') return problem || texts.files.cancelledByYou;
    return state === 'failed' ? texts.files.failed(problem) : '';
  }

  /** @param {TransferState} state */
  #showButtons(state) {
    const kind = this.isOver ? 'none' : this.incoming && state === 'offered' ? 'answer' : 'cancel';
    if (kind === this.#shownButtons) return;
    this.#shownButtons = kind;
    const hadFocus = this.#buttons.contains(document.activeElement);
    this.#buttons.replaceChildren(...this.#buttonsFor(kind));
    this.#buttons.hidden = kind === 'none';
    if (hadFocus) (this.#buttons.querySelector('button') ?? byId('chat-log', HTMLElement)).focus();
  }

  /** @param {'answer' | 'cancel' | 'none'} kind */
  #buttonsFor(kind) {
    if (kind === 'none') return [];
    if (kind === 'cancel') return [this.#button('file-cancel', texts.files.cancel, () => this.#cancel())];
    return [
      this.#button('file-accept', texts.files.accept, () => this.incoming?.accept()),
      this.#button('file-decline', texts.files.decline, () => this.incoming?.decline()),
    ];
  }

  /** @param {string} testid @param {string} text @param {() => void} act */
  #button(testid, text, act) {
    const button = make('button', { className: 'small', testid, text });
    button.type = 'button';
    button.setAttribute('aria-label', `${text}: ${this.name}`);
    button.addEventListener('click', act);
    return button;
  }

  /** @param {IncomingTransfer} transfer */
  #offerToSave(transfer) {
    const blob = transfer.blob();
    transfer.drop();
    this.#url = URL.createObjectURL(blob);
    const link = make('a', { text: texts.files.save(this.name), testid: 'file-link' });
    link.href = this.#url;
    link.download = this.name;
    if (isPicture(blob)) this.element.append(picture(this.#url, this.name));
    this.element.append(link);
  }
}

/** The status text of a sent file, from the transfer to each member. @param {Part[]} parts */
function outgoingWords(parts) {
  const inStates = (/** @type {TransferState[]} */ ...states) => parts.filter(({ transfer }) => states.includes(transfer.state));
  const sentences = [
    ...sentence(inStates('queued', 'offered'), texts.files.waitingFor),
    ...sentence(inStates('accepted'), texts.files.waitingForOthers),
    ...sentence(inStates('done'), texts.files.sentTo),
    ...sentence(inStates('declined'), texts.files.declinedBy),
    ...inStates('failed').map(({ username, transfer }) => texts.files.notSentTo(username, transfer.problem)),
    ...inStates('cancelled').map(({ username, transfer }) => (transfer.problem ? texts.files.cancelledBy(username) : texts.files.cancelledByYou)),
  ];
  return [...new Set(sentences)].join(' ');
}

/** @param {Part[]} parts @param {(names: string) => string} words */
function sentence(parts, words) {
  return parts.length > 0 ? [words(names(parts))] : [];
}

/** @param {Part[]} parts */
function names(parts) {
  return parts.map(({ username }) => username).join(', ');
}

/** @param {string} url @param {string} alt */
function picture(url, alt) {
  const image = make('img', { testid: 'file-image' });
  image.src = url;
  image.alt = alt;
  return image;
}
