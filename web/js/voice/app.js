// @ts-check
// Connects the event stream, the phone, the rooms, the sound and the user interface, without logic of its own.

import { byId, say } from '../ui/dom.js';
import { Conversation } from './conversation.js';
import { DisplayName } from './display-name.js';
import { EventStream } from './events.js';
import { explainIdentity, NotSignedIn } from './identity.js';
import { Names } from './names.js';
import { Phone } from './phone.js';
import { Revival } from './revival.js';
import { Rooms } from './rooms.js';
import { keepCall, keptCall, onChangedElsewhere } from './store.js';
import { Tabs } from './tabs.js';
import { texts } from './texts.js';
import { Tone } from './tone.js';
import { keepFocus } from './ui/focus.js';
import { Incoming } from './ui/incoming.js';
import { Invitation } from './ui/invitation.js';
import { People } from './ui/people.js';
import { RoomsCard } from './ui/rooms-card.js';
import { SoundSettings } from './ui/sound-settings.js';
import { Talk } from './ui/talk.js';
import { You } from './ui/you.js';

/** @typedef {import('./server.js').Server} Server */
/** @typedef {import('./identity.js').Identity} Identity */
/** @typedef {import('./events.js').VoiceEvent} VoiceEvent */

/** A call can be continued for so long after the page was reloaded. */
const REJOIN_MS = 30_000;
const TICK_MS = 1_000;
const NOTICE_MS = 6_000;

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
    this.displayName = new DisplayName(server, identity);
    this.you = new You(identity, this.displayName, () => this.#keyReplaced());
    this.invitation = new Invitation((address) => this.enter(address));
    this.revival = new Revival({ onChange: () => this.#refresh(), onEnd: (lost) => this.#lost(lost.address, texts.phone.lost) });
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
      onServer: () => this.#serverRestarted(),
    });
    this.#names.onChange(() => this.#refresh());
    setInterval(() => this.#tick(), TICK_MS);
    onChangedElsewhere('key', () => say(byId('banner', HTMLElement), texts.keyFile.changedElsewhere));
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
    const title = this.rooms.titleOf(address);
    this.#begin({ kind: 'room', address, title, isVerified: false, since: Date.now(), isCaller: false, serverKey: '' });
    this.rooms.watch(address);
  }

  /** @param {Tabs} tabs */
  #newPhone(tabs) {
    return new Phone({ ...this.parts, tabs }, {
      onChange: () => this.#refresh(),
      onTalk: (other, isVerified, isCaller) => this.#callConnected(other, isVerified, isCaller),
      onHangUp: (other) => this.#lost(other, texts.phone.over),
      onFailure: (words, other) => this.#failed(words, other),
      onMissed: (from) => this.#say(texts.phone.missed(this.#names.of(from))),
    });
  }

  /** @param {string} from */
  #accept(from) {
    this.#end();
    this.phone.cancel();
    this.phone.accept(from);
  }

  // A call that was restored after a restart of the server keeps its begin, and stays muted.
  /** @param {string} other @param {boolean} isVerified @param {boolean} isCaller */
  #callConnected(other, isVerified, isCaller) {
    const isRestored = this.revival.other === other;
    const lost = isRestored ? this.revival.stop() : null;
    const isMuted = lost?.line.isMuted ?? false;
    if (isRestored) this.#forget();
    this.#talkWith({ other, isVerified, isCaller, since: lost?.since ?? Date.now() });
    if (isMuted) this.#conversation?.line.setMuted(true);
  }

  /** @param {{other: string, isVerified: boolean, isCaller: boolean, since: number}} call */
  #talkWith({ other, ...rest }) {
    this.#begin({ kind: 'call', address: other, title: '', ...rest, serverKey: this.stream.serverKey });
    this.#conversation?.line.talk();
  }

  /** @param {import('./conversation.js').Facts} facts */
  #begin(facts) {
    this.#end();
    this.people.clear();
    this.invitation.hide();
    byId('rejoin', HTMLElement).hidden = true;
    const conversation = new Conversation(this.parts, facts, this.soundSettings.sound, {
      onChange: () => this.#refresh(),
      onOwnLevel: (level) => this.talk.own.show(level),
      onHeardLevel: (level) => this.talk.heard.show(level),
      onMicrophone: () => this.soundSettings.devices.refresh(),
      onGone: () => this.#gone(conversation),
    });
    this.#conversation = conversation;
    conversation.line.listen();
    this.#keep();
    this.#refresh();
  }

  /** Leaves the room, or hangs up the call. */
  #end() {
    const conversation = this.#conversation;
    if (!conversation) return;
    this.revival.stop();
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
    this.phone.cancel();
    this.#end();
  }

  /** The server does not know the call: the other side has ended it, or the server was restarted. @param {Conversation} conversation */
  #gone(conversation) {
    if (this.#conversation !== conversation || conversation.isReviving) return;
    const isSameServer = this.#isOnline && this.stream.serverKey === conversation.serverKey;
    const isProven = conversation.isVerified || this.parts.identity.kind === 'site';
    if (isSameServer || !isProven) return this.#lost(conversation.address, texts.phone.over);
    this.revival.begin(conversation);
    if (this.#isOnline) this.revival.serverIsBack(this.phone);
  }

  #serverRestarted() {
    this.revival.serverIsBack(this.phone);
  }

  /** @param {string} other @param {(name: string) => string} words */
  #lost(other, words) {
    const conversation = this.#conversation;
    if (conversation?.kind !== 'call' || conversation.address !== other) return;
    this.revival.stop();
    if (this.phone.outgoing?.to === other) this.phone.cancel();
    this.#forget();
    this.#say(words(this.#names.of(other)));
  }

  /** @param {string} words @param {string} other */
  #failed(words, other) {
    if (words === texts.phone.declined && this.revival.other === other) this.revival.end();
    else if (!this.revival.failed(this.phone, other)) this.#say(texts.phone.failed(this.#names.of(other), words), true);
  }

  #keyReplaced() {
    this.#end();
    location.reload();
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
    connection.textContent = texts.connection[state];
    const banner = byId('banner', HTMLElement);
    if (state === 'online') say(banner, '');
    else if (problem) say(banner, explainIdentity(problem));
    byId('sign-in', HTMLElement).hidden = !(problem instanceof NotSignedIn);
    if (state === 'online') this.displayName.streamOpened();
    if (isBack) this.rooms.news();
    this.you.refresh();
    this.#refresh();
  }

  /** @param {VoiceEvent} event */
  #receive(event) {
    if (event.kind === 'newRoom') return this.rooms.news();
    if (event.kind === 'replaced') return this.#conversation?.line.replaced(event.connection);
    if (event.from) this.#names.setDisplayName(event.from, event.name);
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
    this.revival.accept(phone, (from) => phone.accept(from));
    const incoming = new Map([...phone.incoming].filter(([from]) => from !== this.revival.other));
    this.incoming.show(incoming, conversation !== null);
    if (conversation) this.talk.show(conversation, this.#isOnline || conversation.line.down === 'on');
    else if (phone.outgoing) this.talk.showCalling(phone.outgoing);
    else this.talk.hide();
    const [caller] = incoming.keys();
    document.title = caller ? texts.page.callingTitle(this.#names.of(caller)) : texts.page.title;
    const isRinging = phone.outgoing?.isRinging && phone.outgoing.to !== this.revival.other;
    this.#tone.play(caller ? 'ring' : isRinging ? 'ringback' : null);
    this.#showRooms();
  }

  #showRooms() {
    const { rooms } = this;
    const conversation = this.#conversation;
    if (rooms) this.roomsCard.show(rooms, conversation?.kind === 'room' ? conversation.address : '');
  }

  #showMembers() {
    if (this.#conversation?.kind !== 'room') return;
    for (const { address, name } of this.rooms.members) this.#names.setDisplayName(address, name);
    this.talk.showMembers(this.rooms.members, this.parts.identity.me);
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
    const { address, isVerified, isCaller, since } = conversation;
    keepCall({ other: address, isVerified, isCaller, since, at: Date.now() });
  }

  #offerRejoin() {
    const kept = keptCall();
    const place = byId('rejoin', HTMLElement);
    if (!kept || Date.now() - kept.at > REJOIN_MS || !this.parts.identity.isAddress(kept.other)) return keepCall(null);
    byId('rejoin-text', HTMLElement).textContent = texts.rejoin.text(this.#names.of(kept.other));
    place.hidden = false;
    byId('rejoin-yes', HTMLButtonElement).onclick = () => this.#talkWith(kept);
    byId('rejoin-no', HTMLButtonElement).onclick = () => {
      keepFocus(place, () => (place.hidden = true), () => byId('call-title', HTMLElement));
      keepCall(null);
      this.phone.hangUp(kept.other);
    };
    setTimeout(() => (place.hidden = true), REJOIN_MS);
  }

  #followLink() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const person = this.parts.identity.addressIn(asked.get('call') ?? '');
    const room = asked.get('room');
    if (person && person !== this.parts.identity.me) this.people.offer(person);
    else if (room && this.#conversation?.address !== room) this.invitation.offer(room, this.rooms.titleOf(room));
  }

  /** @param {string} words @param {boolean} [isProblem] */
  #say(words, isProblem = false) {
    if (isProblem) return this.people.problem(words);
    clearTimeout(this.#noticeTimer);
    this.#notice.textContent = words;
    this.#noticeTimer = setTimeout(() => (this.#notice.textContent = ''), NOTICE_MS);
  }
}
