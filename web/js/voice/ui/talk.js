// @ts-check
// The call or room that one is in: with whom, how loud, since when, and the ways out.

import { byId, make, press } from '../../ui/dom.js';
import { isSoundBlocked } from '../audio/context.js';
import { fullAddress } from '../names.js';
import { explain } from '../server.js';
import { Meter } from './meter.js';
import { put, putOrHide } from './words.js';

/** @typedef {import('../conversation.js').Conversation} Conversation */
/** @typedef {import('../handshake.js').OutgoingCall} OutgoingCall */
/** @typedef {import('../names.js').Names} Names */
/** @typedef {import('../rooms.js').Member} Member */
/**
 * @typedef {object} TalkEvents
 * @property {() => void} onLeave  hang up, leave or cancel
 * @property {() => void} onTalk  microphone on or off
 * @property {() => void} onMute
 */

const SPEAKING_LEVEL = 0.02;

/** @type {Record<number, string>} */
const CALL_WORDS = { 404: 'This call is over.', 403: 'The server did not let you into this call.' };
/** @type {Record<number, string>} */
const ROOM_WORDS = { 404: 'There is no such room.', 403: 'You may not do this in this room.', 400: 'The server does not take this as a room.' };

export class Talk {
  #card = byId('talk', HTMLElement);
  #title = byId('talk-title', HTMLElement);
  #address = byId('talk-address', HTMLElement);
  #badge = byId('talk-badge', HTMLElement);
  #duration = byId('duration', HTMLElement);
  #status = byId('talk-status', HTMLElement);
  #problem = byId('talk-problem', HTMLElement);
  #meters = byId('meters', HTMLElement);
  #members = byId('members', HTMLUListElement);
  #talk = byId('talk-toggle', HTMLButtonElement);
  #mute = byId('mute', HTMLButtonElement);
  #leave = byId('hang-up', HTMLButtonElement);
  #nameForm = byId('name-form', HTMLFormElement);
  #nameInput = byId('name-input', HTMLInputElement);
  own = new Meter(byId('own-level', HTMLCanvasElement));
  heard = new Meter(byId('heard-level', HTMLCanvasElement));
  #shownMembers = '';

  /** @param {Names} names @param {TalkEvents} events */
  constructor(names, events) {
    this.names = names;
    this.#leave.addEventListener('click', () => events.onLeave());
    this.#talk.addEventListener('click', () => events.onTalk());
    this.#mute.addEventListener('click', () => events.onMute());
    this.#nameForm.addEventListener('submit', (event) => {
      event.preventDefault();
      names.set(this.#card.dataset['other'] ?? '', this.#nameInput.value);
    });
  }

  /** @param {OutgoingCall} call */
  showCalling(call) {
    const name = this.names.of(call.to);
    this.#begin('calling', call.to);
    put(this.#title, `Calling ${name}`);
    this.#showBadge(call.isVerified ? 'Verified' : '');
    const doubt = call.isDoubtful && !call.isVerified;
    put(this.#status, call.isVerified ? 'It rings there.' : call.isRinging ? 'Waiting for an answer…' : 'Asking the server…');
    putOrHide(this.#problem, doubt ? 'Something answered that does not hold this key. Still waiting for the one that does.' : '');
    this.#duration.textContent = '';
    this.#showButtons({ talk: '', mute: false, leave: 'Cancel' });
  }

  /** @param {Conversation} conversation @param {boolean} isOnline */
  show(conversation, isOnline) {
    const { kind, address, line } = conversation;
    this.#begin(kind, address);
    put(this.#title, kind === 'call' ? this.names.of(address) : conversation.title);
    this.#showBadge(conversation.isVerified ? 'Verified' : '');
    put(this.#status, isOnline ? statusOf(conversation) : 'The server cannot be reached. Trying again…');
    putOrHide(this.#problem, problemOf(conversation));
    put(byId('heard-label', HTMLElement), kind === 'call' ? this.names.of(address) : 'The others');
    this.#card.dataset['up'] = line.up;
    this.#card.dataset['down'] = line.down;
    this.#card.dataset['format'] = line.sound.format;
    press(this.#mute, line.isMuted);
    press(this.#talk, line.isTalking);
    const off = kind === 'room' ? 'Talk' : 'Microphone on';
    this.#showButtons({
      talk: line.isTalking ? (kind === 'room' ? 'Stop talking' : '') : off,
      mute: line.isTalking,
      leave: kind === 'room' ? 'Leave' : 'Hang up',
    });
    this.tick(conversation);
  }

  /** @param {Conversation} conversation */
  tick(conversation) {
    const seconds = Math.max(0, Math.floor((Date.now() - conversation.since) / 1_000));
    const parts = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
    const shown = parts[0] === 0 ? parts.slice(1) : parts;
    this.#duration.textContent = shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
    this.#card.dataset['underruns'] = String(conversation.line.underruns);
  }

  /** @param {Member[]} members @param {string} me */
  showMembers(members, me) {
    const rows = members.map((member) => ({ ...member, speaks: member.hasMic && member.level > SPEAKING_LEVEL }));
    const shown = JSON.stringify(rows.map(({ level, ...rest }) => rest));
    if (shown === this.#shownMembers) return;
    this.#shownMembers = shown;
    this.#members.replaceChildren(...rows.map((row) => this.#member(row, row.address === me)));
  }

  hide() {
    this.#card.hidden = true;
    this.own.stop();
    this.heard.stop();
    this.showMembers([], '');
  }

  /** @param {'calling' | 'call' | 'room'} kind @param {string} other */
  #begin(kind, other) {
    const isNew = this.#card.hidden || this.#card.dataset['other'] !== other;
    const isTalking = kind !== 'calling';
    Object.assign(this.#card.dataset, { kind, other });
    putOrHide(this.#address, kind === 'room' ? '' : fullAddress(other));
    this.#card.hidden = false;
    this.#meters.hidden = !isTalking;
    this.#members.hidden = kind !== 'room';
    this.#nameForm.hidden = kind !== 'call' || this.names.has(other);
    if (isNew) this.#nameInput.value = '';
    if (isNew) this.#title.focus();
    if (isTalking) for (const meter of [this.own, this.heard]) meter.start();
  }

  /** @param {string} words */
  #showBadge(words) {
    putOrHide(this.#badge, words);
    this.#badge.dataset['state'] = words ? 'good' : '';
    this.#card.dataset['verified'] = String(words !== '');
  }

  /** @param {{talk: string, mute: boolean, leave: string}} buttons */
  #showButtons({ talk, mute, leave }) {
    label(this.#talk, talk);
    this.#talk.hidden = talk === '';
    this.#mute.hidden = !mute;
    label(this.#leave, leave);
  }

  /** @param {Member & {speaks: boolean}} member @param {boolean} isMe */
  #member(member, isMe) {
    const name = isMe ? 'You' : this.names.of(member.address);
    const calm = member.hasMic ? (member.hasHeadphones ? 'microphone on' : 'microphone only') : 'listens';
    const words = member.speaks ? 'speaks' : calm;
    const row = make('li', { className: 'member', testid: 'member' }, [
      make('span', { className: 'dot' }),
      make('b', { text: name }),
      make('span', { className: 'address', text: words }),
    ]);
    row.title = member.address;
    const data = { address: member.address, mic: member.hasMic, headphones: member.hasHeadphones, speaking: member.speaks };
    for (const [key, value] of Object.entries(data)) row.dataset[key] = String(value);
    return row;
  }
}

/** @param {Conversation} conversation */
function statusOf({ kind, line, other }) {
  if (isSoundBlocked()) return 'The browser holds the sound back until you touch the page or press a key.';
  if (line.down === 'failed') return 'You are not connected.';
  if (line.down === 'connecting' && line.up !== 'on') return 'Connecting…';
  if (line.down === 'connecting') return 'The sound was lost. Connecting again…';
  if (kind === 'room') return line.isTalking ? (line.isMuted ? 'You are muted.' : 'The others hear you.') : 'You listen. Nobody hears you.';
  if (other && !other.mic && !other.headphones) return 'The other side is not connected just now. The line stays open for a while.';
  if (!line.isTalking) return 'You are not heard.';
  if (line.isMuted) return 'You are muted.';
  return other && !other.mic ? 'Connected. The other side has no microphone on.' : 'Connected.';
}

/** @param {Conversation} conversation */
function problemOf({ kind, line }) {
  const words = line.problem === null ? '' : explain(line.problem, kind === 'call' ? CALL_WORDS : ROOM_WORDS);
  return [words, line.micProblem].filter(Boolean).join(' ');
}

/** @param {HTMLButtonElement} button @param {string} words */
function label(button, words) {
  const span = button.querySelector('span');
  if (span && words) put(span, words);
}
