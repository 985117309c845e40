// @ts-check
// The current call or room: its members, their levels, its duration, and the buttons to leave.

import { byId, make, press, put, say } from '../../ui/dom.js';
import { isDeviceMissing, isSoundBlocked } from '../audio/context.js';
import { fullAddress } from '../names.js';
import { explain } from '../server.js';
import { texts } from '../texts.js';
import { copy, linkTo } from './copy.js';
import { keepFocus } from './focus.js';
import { Meter } from './meter.js';

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
  #copyLink = byId('copy-room-link', HTMLButtonElement);
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
    this.#copyLink.addEventListener('click', () => copy(this.#copyLink, linkTo('room', this.#card.dataset['other'] ?? '')));
    this.#nameForm.addEventListener('submit', (event) => {
      event.preventDefault();
      const set = () => names.set(this.#card.dataset['other'] ?? '', this.#nameInput.value);
      keepFocus(this.#nameForm, set, () => this.#leave);
    });
  }

  /** @param {OutgoingCall} call */
  showCalling(call) {
    const name = this.names.of(call.to);
    this.#begin('calling', call.to);
    put(this.#title, texts.talk.calling(name));
    this.#showBadge(call.isVerified);
    const doubt = call.isDoubtful && !call.isVerified;
    const { rings, waiting, asking, doubtful, cancel } = texts.talk;
    put(this.#status, call.isVerified ? rings : call.isRinging ? waiting : asking);
    say(this.#problem, doubt ? doubtful : '');
    this.#duration.textContent = '';
    this.#showButtons({ talk: '', mute: false, leave: cancel, isRoom: false });
  }

  /** @param {Conversation} conversation @param {boolean} isOnline */
  show(conversation, isOnline) {
    const { kind, address, line } = conversation;
    this.#begin(kind, address);
    put(this.#title, kind === 'call' ? this.names.of(address) : conversation.title);
    this.#showBadge(conversation.isVerified);
    put(this.#status, isOnline ? statusOf(conversation) : texts.talk.unreachable);
    say(this.#problem, conversation.isReviving ? '' : problemOf(conversation));
    put(byId('heard-label', HTMLElement), kind === 'call' ? this.names.of(address) : texts.talk.others);
    this.#card.dataset['up'] = line.up;
    this.#card.dataset['down'] = line.down;
    this.#card.dataset['format'] = line.sound.format;
    press(this.#mute, line.isMuted);
    press(this.#talk, line.isTalking);
    const { talk, stopTalking, microphoneOn, leave, hangUp } = texts.talk;
    const isRoom = kind === 'room';
    const on = line.isTalking ? (isRoom ? stopTalking : '') : isRoom ? talk : microphoneOn;
    this.#showButtons({ talk: on, mute: line.isTalking, leave: isRoom ? leave : hangUp, isRoom });
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
    const rows = members.map((member) => ({ ...member, ...this.names.parts(member.address), speaks: member.hasMic && member.level > SPEAKING_LEVEL }));
    const shown = JSON.stringify(rows.map(({ level, ...rest }) => rest));
    if (shown === this.#shownMembers) return;
    this.#shownMembers = shown;
    this.#members.replaceChildren(...rows.map((row) => this.#member(row, row.address === me)));
  }

  hide() {
    const next = this.#card.dataset['kind'] === 'room' ? 'rooms-title' : 'call-title';
    keepFocus(this.#card, () => (this.#card.hidden = true), () => byId(next, HTMLElement));
    this.own.stop();
    this.heard.stop();
    this.showMembers([], '');
  }

  /** @param {'calling' | 'call' | 'room'} kind @param {string} other */
  #begin(kind, other) {
    const isNew = this.#card.hidden || this.#card.dataset['other'] !== other;
    const isTalking = kind !== 'calling';
    Object.assign(this.#card.dataset, { kind, other });
    say(this.#address, kind === 'room' ? '' : fullAddress(other));
    this.#card.hidden = false;
    this.#meters.hidden = !isTalking;
    this.#members.hidden = kind !== 'room';
    this.#nameForm.hidden = kind !== 'call' || this.names.has(other);
    if (isNew) this.#nameInput.value = '';
    if (isNew) this.#title.focus();
    if (isTalking) for (const meter of [this.own, this.heard]) meter.start();
  }

  /** @param {boolean} isVerified */
  #showBadge(isVerified) {
    say(this.#badge, isVerified ? texts.talk.verified : '');
    this.#badge.dataset['state'] = isVerified ? 'good' : '';
    this.#card.dataset['verified'] = String(isVerified);
  }

  /** @param {{talk: string, mute: boolean, leave: string, isRoom: boolean}} buttons */
  #showButtons({ talk, mute, leave, isRoom }) {
    label(this.#talk, talk);
    this.#mute.hidden = !mute;
    keepFocus(this.#talk, () => (this.#talk.hidden = talk === ''), () => (mute ? this.#mute : this.#leave));
    label(this.#leave, leave);
    this.#copyLink.hidden = !isRoom;
  }

  /** @param {Member & {speaks: boolean, key: string}} member @param {boolean} isMe */
  #member(member, isMe) {
    const { listens, speaks, withMicrophone, microphoneOnly } = texts.talk;
    const calm = member.hasMic ? (member.hasHeadphones ? withMicrophone : microphoneOnly) : listens;
    const row = make('li', { className: 'member', testid: 'member' }, [
      make('span', { className: 'dot' }),
      make('b', { testid: 'member-name', text: isMe ? texts.talk.you : member.name }),
      make('span', { className: 'key-short', testid: 'member-key', text: member.key }),
      make('span', { className: 'address state', text: member.speaks ? speaks : calm }),
    ]);
    row.title = member.address;
    const data = { address: member.address, mic: member.hasMic, headphones: member.hasHeadphones, speaking: member.speaks };
    for (const [key, value] of Object.entries(data)) row.dataset[key] = String(value);
    return row;
  }
}

/** @param {Conversation} conversation */
function statusOf({ kind, line, other, isReviving, isCaller }) {
  const { talk, sound } = texts;
  if (isReviving) return isCaller ? talk.revivingCaller : talk.revivingCallee;
  if (isDeviceMissing()) return sound.noDevice;
  if (isSoundBlocked()) return talk.blocked;
  if (line.down === 'failed') return talk.notConnected;
  if (line.down === 'connecting') return line.up === 'on' ? talk.reconnecting : talk.connecting;
  if (kind === 'room') return line.isTalking ? (line.isMuted ? talk.muted : talk.heard) : talk.listening;
  if (other && !other.mic && !other.headphones) return talk.otherAway;
  if (!line.isTalking) return talk.notHeard;
  if (line.isMuted) return talk.muted;
  return other && !other.mic ? talk.otherSilent : talk.connected;
}

/** @param {Conversation} conversation */
function problemOf({ kind, line }) {
  const special = kind === 'call' ? texts.server.callStatus : texts.server.roomStatus;
  const words = line.problem === null ? '' : explain(line.problem, special);
  return [words, line.micProblem].filter(Boolean).join(' ');
}

/** @param {HTMLButtonElement} button @param {string} words */
function label(button, words) {
  const span = button.querySelector('span');
  if (span && words) put(span, words);
}
