// @ts-check
// Joins the event stream, the phone, the rooms, the sound and the screen, and holds none of their logic.

import { byId, say } from '../ui/dom.js';
import { Conversation } from './conversation.js';
import { EventStream } from './events.js';
import { explainIdentity, NotSignedIn } from './identity.js';
import { Names } from './names.js';
import { Phone } from './phone.js';
import { Rooms } from './rooms.js';
import { keepCall, keptCall } from './store.js';
import { Tabs } from './tabs.js';
import { Tone } from './tone.js';
import { Incoming } from './ui/incoming.js';
import { People } from './ui/people.js';
import { RoomsCard } from './ui/rooms-card.js';
import { SoundSettings } from './ui/sound-settings.js';
import { Talk } from './ui/talk.js';
import { You } from './ui/you.js';

/** @typedef {import('./server.js').Server} Server */
/** @typedef {import('./identity.js').Identity} Identity */
/** @typedef {import('./events.js').VoiceEvent} VoiceEvent */

const LINGER_MS = 30_000;
const TICK_MS = 1_000;
const NOTICE_MS = 6_000;
const TITLE = 'Switchboard voice';

export class App {
  /** @type {Conversation | null} */ #conversation = null;
  #isOnline = false;
  #names = new Names();
  #tone = new Tone();
  #notice = byId('notice', HTMLElement);
  #noticeTimer = 0;

  /** @param {Server} server @param {Identity} identity @param {SoundSettings} soundSettings */
  constructor(server, identity, soundSettings) {
    this.parts = { server, identity };
    this.soundSettings = soundSettings;
    soundSettings.onChange(() => this.#conversation?.line.setSound(soundSettings.sound));
    this.you = new You(identity);
    this.people = new People(identity, this.#names, (address) => this.call(address));
    this.roomsCard = new RoomsCard(identity, (address) => this.enter(address));
    this.talk = new Talk(this.#names, {
      onLeave: () => this.#leave(),
      onTalk: () => this.#toggleTalk(),
      onMute: () => this.#conversation?.line.setMuted(!this.#conversation.line.isMuted),
    });
    this.incoming = new Incoming(this.#names, {
      onAccept: (from) => this.#accept(from),
      onDecline: (from) => this.phone.decline(from),
    });
    const tabs = new Tabs(identity.me, (from) => this.phone.settledElsewhere(from));
    this.phone = this.#newPhone(tabs);
    this.rooms = new Rooms(server, identity, { onList: () => this.#showRooms(), onMembers: () => this.#showMembers() });
    this.stream = new EventStream(server, identity, {
      onState: (state, problem) => this.#streamState(state, problem),
      onEvent: (event) => this.#receive(event),
    });
    this.#names.onChange(() => this.#refresh());
    setInterval(() => this.#tick(), TICK_MS);
    byId('voice', HTMLElement).hidden = false;
    this.#offerRejoin();
    addEventListener('hashchange', () => this.#followLink());
    this.#followLink();
  }

  /** @param {string} address */
  call(address) {
    this.#end();
    this.phone.call(address);
  }

  /** @param {string} address */
  enter(address) {
    if (this.#conversation?.kind === 'room' && this.#conversation.address === address) return;
    this.phone.cancel();
    this.#begin({ kind: 'room', address, title: this.rooms.titleOf(address), isVerified: false, since: Date.now() });
    this.rooms.watch(address);
  }

  /** @param {Tabs} tabs */
  #newPhone(tabs) {
    return new Phone({ ...this.parts, tabs }, {
      onChange: () => this.#refresh(),
      onTalk: (other, isVerified) => this.#talkWith(other, isVerified, Date.now()),
      onHangUp: (other) => this.#hungUp(other),
      onFailure: (words, other) => this.#say(`${this.#names.of(other)}: ${words}`, true),
      onMissed: (from) => this.#say(`Missed call from ${this.#names.of(from)}`),
    });
  }

  /** @param {string} from */
  #accept(from) {
    this.#end();
    this.phone.cancel();
    this.phone.accept(from);
  }

  /** @param {string} other @param {boolean} isVerified @param {number} since */
  #talkWith(other, isVerified, since) {
    this.#begin({ kind: 'call', address: other, title: '', isVerified, since });
    this.#conversation?.line.talk();
  }

  /** @param {{kind: 'call' | 'room', address: string, title: string, isVerified: boolean, since: number}} facts */
  #begin(facts) {
    this.#end();
    this.people.clear();
    byId('rejoin', HTMLElement).hidden = true;
    const conversation = new Conversation(this.parts, facts, this.soundSettings.sound, {
      onChange: () => this.#refresh(),
      onOwnLevel: (level) => this.talk.own.show(level),
      onHeardLevel: (level) => this.talk.heard.show(level),
      onGone: () => this.#conversation === conversation && this.#hungUp(facts.address),
    });
    this.#conversation = conversation;
    conversation.line.listen();
    this.#keep();
    this.#refresh();
  }

  /** What one leaves on purpose; a call is hung up with it. */
  #end() {
    const conversation = this.#conversation;
    if (!conversation) return;
    this.#forget();
    if (conversation.kind === 'call') this.phone.hangUp(conversation.address);
  }

  #forget() {
    const conversation = this.#conversation;
    this.#conversation = null;
    conversation?.line.close();
    keepCall(null);
    this.rooms.watch('');
    this.#refresh();
  }

  #leave() {
    if (this.#conversation) this.#end();
    else this.phone.cancel();
  }

  /** @param {string} other */
  #hungUp(other) {
    const conversation = this.#conversation;
    if (conversation?.kind !== 'call' || conversation.address !== other) return;
    this.#forget();
    this.#say(`The call with ${this.#names.of(other)} is over.`);
  }

  #toggleTalk() {
    const line = this.#conversation?.line;
    if (line?.isTalking) line.stopTalking();
    else line?.talk();
  }

  /** @param {import('./events.js').StreamState} state @param {unknown} problem */
  #streamState(state, problem) {
    const isBack = state === 'online' && !this.#isOnline;
    this.#isOnline = state === 'online' || (state === 'connecting' && this.#isOnline);
    const connection = byId('connection', HTMLElement);
    connection.dataset['state'] = state;
    const words = { connecting: 'Connecting…', online: 'Reachable', waiting: 'Not reachable, trying again' };
    connection.textContent = words[state];
    const banner = byId('banner', HTMLElement);
    if (state === 'online') say(banner, '');
    else if (problem) say(banner, explainIdentity(problem));
    byId('sign-in', HTMLElement).hidden = !(problem instanceof NotSignedIn);
    if (isBack) this.rooms.news();
    this.you.refresh();
    this.#refresh();
  }

  /** @param {VoiceEvent} event */
  #receive(event) {
    if (event.kind === 'newRoom') return this.rooms.news();
    if (event.kind === 'replaced') return this.#conversation?.line.replaced(event.connection);
    if (event.kind !== 'setAudioConf') return this.phone.receive(event);
    const conversation = this.#conversation;
    if (event.room) return this.rooms.news();
    if (conversation?.kind !== 'call' || event.from !== conversation.address) return;
    conversation.other = { mic: event.mic, headphones: event.headphones };
    this.#refresh();
  }

  #refresh() {
    const { phone } = this;
    if (!phone) return;
    const conversation = this.#conversation;
    this.incoming.show(phone.incoming, conversation !== null);
    if (conversation) this.talk.show(conversation, this.#isOnline || conversation.line.down === 'on');
    else if (phone.outgoing) this.talk.showCalling(phone.outgoing);
    else this.talk.hide();
    const [caller] = phone.incoming.keys();
    document.title = caller ? `${this.#names.of(caller)} is calling` : TITLE;
    this.#tone.play(caller ? 'ring' : phone.outgoing?.isRinging ? 'ringback' : null);
    this.#showRooms();
  }

  #showRooms() {
    const { rooms } = this;
    const conversation = this.#conversation;
    if (rooms) this.roomsCard.show(rooms, conversation?.kind === 'room' ? conversation.address : '');
  }

  #showMembers() {
    if (this.#conversation?.kind === 'room') this.talk.showMembers(this.rooms.members, this.parts.identity.me);
  }

  #tick() {
    const conversation = this.#conversation;
    if (!conversation) return;
    this.#refresh();
    this.#keep();
  }

  #keep() {
    const conversation = this.#conversation;
    if (conversation?.kind !== 'call') return;
    const { address, isVerified, since } = conversation;
    keepCall({ other: address, isVerified, since, at: Date.now() });
  }

  #offerRejoin() {
    const kept = keptCall();
    const place = byId('rejoin', HTMLElement);
    if (!kept || Date.now() - kept.at > LINGER_MS || !this.parts.identity.isAddress(kept.other)) return keepCall(null);
    byId('rejoin-text', HTMLElement).textContent = `You were in a call with ${this.#names.of(kept.other)}.`;
    place.hidden = false;
    byId('rejoin-yes', HTMLButtonElement).onclick = () => this.#talkWith(kept.other, kept.isVerified, kept.since);
    byId('rejoin-no', HTMLButtonElement).onclick = () => {
      place.hidden = true;
      keepCall(null);
      this.phone.hangUp(kept.other);
    };
    setTimeout(() => (place.hidden = true), LINGER_MS);
  }

  #followLink() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const person = this.parts.identity.addressIn(asked.get('call') ?? '');
    const room = asked.get('room');
    if (person && person !== this.parts.identity.me) this.people.offer(person);
    else if (room) this.roomsCard.offer(room);
  }

  /** @param {string} words @param {boolean} [isProblem] */
  #say(words, isProblem = false) {
    if (isProblem) return this.people.problem(words);
    clearTimeout(this.#noticeTimer);
    this.#notice.textContent = words;
    this.#noticeTimer = setTimeout(() => (this.#notice.textContent = ''), NOTICE_MS);
  }
}
