// @ts-check
// Files between two pages. The messages go over the page channel, and every accepted file has a data channel of its
// own, so that several files and the chat interleave:
//
//   sender                        receiver
//   FILE_OFFER {id, name, size, mime}
//                                 FILE_ACCEPT {id}, or FILE_REFUSE {id, reason} now or at any time later
//   a data channel with the label `switchboard-file` and the id as its protocol, and the bytes in it
//                                 FILE_DONE {id}: all have arrived; the sender closes the data channel
//   FILE_WITHDRAW {id} at any time

import { texts } from '../texts.js';
import { textOf } from '../untrusted.js';
import { isOpened, sendBytes } from './send-bytes.js';
import { ACTIVE_MAX, FILE_MAX_BYTES, IncomingTransfer, OutgoingTransfer, TRANSFERS_MAX, announcedSize, formatBytes } from './transfer.js';

export const FILE_LABEL = 'switchboard-file';
const ID_CHARS = 64;
const NAME_CHARS = 255;
const MIME_CHARS = 100;
/** Time to wait for the message with the reason after a data channel has closed: the close may arrive before it. */
const CLOSED_GRACE_MS = 1_000;

/** @typedef {import('../page-channel.js').Message} Message */
/** @typedef {'declined' | 'cancelled' | 'size' | 'count' | 'content'} Reason  why the receiver refuses a file */
/**
 * @typedef {object} Link  what connects the two pages
 * @property {(message: Message) => boolean} send  over the page channel; false if that is not open
 * @property {(label: string, init: RTCDataChannelInit) => RTCDataChannel} openChannel
 * @property {(transfer: IncomingTransfer) => void} onFile
 */

export class PageFiles {
  #link;
  /** In the order in which they are offered and sent. @type {Map<string, {transfer: OutgoingTransfer, channel: RTCDataChannel | null}>} */ #outgoing = new Map();
  /** @type {Map<string, {transfer: IncomingTransfer, channel: RTCDataChannel | null}>} */ #incoming = new Map();

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
  }

  /** @param {File} file */
  send(file) {
    const transfer = new OutgoingTransfer(file);
    if (file.size > FILE_MAX_BYTES) transfer.become('failed', texts.files.tooLarge(formatBytes(FILE_MAX_BYTES)));
    else this.#queue(transfer);
    return transfer;
  }

  /** The page channel is open: offers may be sent. */
  opened() {
    this.#advance();
  }

  /** @param {Message} message */
  receive(message) {
    const id = textOf(message['id']);
    if (message.type === 'FILE_OFFER') this.#offered(id, message);
    if (message.type === 'FILE_WITHDRAW') this.#endIncoming(id, 'cancelled', texts.files.cancelledBySender);
    if (message.type === 'FILE_ACCEPT') this.#accepted(id);
    if (message.type === 'FILE_REFUSE') this.#refused(id, textOf(message['reason']));
    if (message.type === 'FILE_DONE') this.#endOutgoing(id, 'done');
  }

  /** Refuses an offer without showing it to the user. @param {Message} offer */
  refuse(offer) {
    this.#link.send({ type: 'FILE_REFUSE', id: textOf(offer['id']), reason: 'count' });
  }

  /** The peer has opened a data channel for a file. Without a file that was accepted it is closed. @param {RTCDataChannel} channel */
  adopt(channel) {
    const entry = this.#incoming.get(channel.protocol);
    if (!entry || entry.channel || !entry.transfer.isAccepted) return channel.close();
    entry.channel = channel;
    entry.transfer.become('active');
    channel.binaryType = 'arraybuffer';
    channel.onmessage = ({ data }) => this.#received(channel.protocol, data);
    channel.onclose = () => setTimeout(() => this.#endIncoming(channel.protocol, 'failed', texts.files.endedEarly), CLOSED_GRACE_MS);
    this.#finishIfWhole(channel.protocol);
  }

  /** The connection with the peer has ended. */
  close() {
    for (const id of [...this.#outgoing.keys()]) this.#endOutgoing(id, 'failed', texts.files.connectionEnded);
    for (const id of [...this.#incoming.keys()]) this.#endIncoming(id, 'failed', texts.files.connectionEnded);
  }

  /** @param {OutgoingTransfer} transfer */
  #queue(transfer) {
    this.#outgoing.set(transfer.id, { transfer, channel: null });
    transfer.onStopped = () => {
      this.#link.send({ type: 'FILE_WITHDRAW', id: transfer.id });
      this.#endOutgoing(transfer.id, 'cancelled');
    };
    this.#advance();
  }

  /** Offers and sends as many files as the limits allow. */
  #advance() {
    const all = [...this.#outgoing.values()];
    const inState = (/** @type {string} */ state) => all.filter(({ transfer }) => transfer.state === state);
    const offers = TRANSFERS_MAX - (all.length - inState('queued').length);
    for (const { transfer } of inState('queued').slice(0, Math.max(0, offers))) this.#offer(transfer);
    const starts = ACTIVE_MAX - inState('active').length;
    for (const { transfer } of inState('accepted').slice(0, Math.max(0, starts))) this.#start(transfer);
  }

  /** @param {OutgoingTransfer} transfer */
  #offer({ id, name, size, file }) {
    const message = { type: 'FILE_OFFER', id, name: name.slice(-NAME_CHARS), size, mime: file.type.slice(0, MIME_CHARS) };
    if (this.#link.send(message)) this.#outgoing.get(id)?.transfer.become('offered');
  }

  /** @param {OutgoingTransfer} transfer */
  async #start(transfer) {
    const entry = this.#outgoing.get(transfer.id);
    if (!entry) return;
    transfer.become('active');
    try {
      entry.channel = this.#open(transfer.id);
      await isOpened(entry.channel);
      await sendBytes(entry.channel, transfer);
    } catch (error) {
      if (entry.channel?.readyState === 'open') this.#unreadable(transfer, error);
    }
  }

  /** @param {string} id */
  #open(id) {
    const channel = this.#link.openChannel(FILE_LABEL, { protocol: id });
    channel.onclose = () => setTimeout(() => this.#endOutgoing(id, 'failed', texts.files.endedByReceiver), CLOSED_GRACE_MS);
    return channel;
  }

  /** @param {OutgoingTransfer} transfer @param {unknown} error */
  #unreadable({ id }, error) {
    console.info('file', error);
    this.#link.send({ type: 'FILE_WITHDRAW', id });
    this.#endOutgoing(id, 'failed', texts.files.unreadable);
  }

  /** @param {string} id */
  #accepted(id) {
    const transfer = this.#outgoing.get(id)?.transfer;
    if (transfer?.state !== 'offered') return;
    transfer.become('accepted');
    this.#advance();
  }

  /** @param {string} id @param {string} reason */
  #refused(id, reason) {
    if (reason === 'declined') this.#endOutgoing(id, 'declined');
    else if (reason === 'cancelled') this.#endOutgoing(id, 'cancelled', texts.files.cancelledByReceiver);
    else this.#endOutgoing(id, 'failed', reason === 'count' ? texts.files.tooMany : texts.files.endedByReceiver);
  }

  /** @param {string} id @param {import('./transfer.js').TransferState} state @param {string} [problem] */
  #endOutgoing(id, state, problem) {
    const entry = this.#outgoing.get(id);
    if (!entry) return;
    this.#outgoing.delete(id);
    entry.transfer.become(state, problem);
    entry.channel?.close();
    this.#advance();
  }

  /** @param {string} id @param {Message} message */
  #offered(id, { name, size: announced, mime }) {
    if (id.length > ID_CHARS || this.#incoming.has(id)) return;
    const size = announcedSize(announced);
    const transfer = new IncomingTransfer(name, size ?? 0, mime);
    const reason = size === null || size > FILE_MAX_BYTES ? 'size' : this.#incoming.size >= TRANSFERS_MAX ? 'count' : null;
    if (reason) this.#refuseAtOnce(id, transfer, reason);
    else this.#await(id, transfer);
    this.#link.onFile(transfer);
  }

  /** @param {string} id @param {IncomingTransfer} transfer @param {'size' | 'count'} reason */
  #refuseAtOnce(id, transfer, reason) {
    transfer.become('failed', reason === 'size' ? texts.files.tooLarge(formatBytes(FILE_MAX_BYTES)) : texts.files.tooMany);
    this.#link.send({ type: 'FILE_REFUSE', id, reason });
  }

  /** @param {string} id @param {IncomingTransfer} transfer */
  #await(id, transfer) {
    this.#incoming.set(id, { transfer, channel: null });
    transfer.onAccepted = () => this.#link.send({ type: 'FILE_ACCEPT', id });
    transfer.onStopped = () => this.#refuse(id, transfer.state === 'declined' ? 'declined' : 'cancelled');
    transfer.become('offered');
  }

  /** @param {string} id @param {unknown} data */
  #received(id, data) {
    const transfer = this.#incoming.get(id)?.transfer;
    if (!transfer) return;
    if (!(data instanceof ArrayBuffer)) transfer.become('failed', texts.files.tooMuchArrived);
    else transfer.add(data);
    if (transfer.isOver) this.#refuse(id, 'content');
    else this.#finishIfWhole(id);
  }

  /** @param {string} id */
  #finishIfWhole(id) {
    const entry = this.#incoming.get(id);
    if (!entry?.transfer.isWhole) return;
    this.#incoming.delete(id);
    this.#link.send({ type: 'FILE_DONE', id });
    entry.transfer.become('done');
  }

  /** @param {string} id @param {Reason} reason */
  #refuse(id, reason) {
    this.#link.send({ type: 'FILE_REFUSE', id, reason });
    this.#endIncoming(id, 'cancelled');
  }

  /** @param {string} id @param {import('./transfer.js').TransferState} state @param {string} [problem] */
  #endIncoming(id, state, problem) {
    const entry = this.#incoming.get(id);
    if (!entry) return;
    this.#incoming.delete(id);
    entry.transfer.become(state, problem);
    entry.channel?.close();
  }
}
