// @ts-check
// Starts the page: the lobby, then calls, one after another.

import { Call } from './call.js';
import { Media } from './media.js';
import { OfferedServers } from './offered-servers.js';
import { asked } from './settings.js';
import { language, texts } from './texts.js';
import { Devices } from './ui/devices.js';
import { fillTexts } from './ui/fill-texts.js';
import { IceFields } from './ui/ice-fields.js';
import { Lobby } from './ui/lobby.js';
import { Status } from './ui/status.js';

document.documentElement.lang = language;
document.title = texts.page.title;
fillTexts(document, texts);

/** @type {Call | null} */
let call = null;
let hasJoined = false;

const media = new Media(() => {
  lobby.refresh();
  devices.refresh();
  call?.mediaChanged();
}, (words) => (call ? new Status().problem(words) : lobby.explainMedia(words)));

const devices = new Devices(media, {
  onProblem: (problem) => new Status().problem(problem),
  onSpeaker: (speakerId) => call?.setSpeaker(speakerId),
});

const iceFields = new IceFields(() => call?.updateServers());

/** Fetched before the call, so that the first connection has them. */
const offered = new OfferedServers(() => call?.updateServers());
const offering = offered.refresh();

const lobby = new Lobby(media, {
  onJoin: (name, room) => join(name, room),
  onCancel: () => call?.leave(),
});

/** @param {string} name @param {string} room */
function join(name, room) {
  hasJoined = true;
  call = new Call({ name, room, media, typedServers: () => iceFields.typed, offered }, {
    onJoined: () => lobby.hide(),
    onDelay: (words) => lobby.explainDelay(words),
    onRefused: (message, isName) => {
      call = null;
      lobby.refuse(message, isName);
    },
    onLeft: () => {
      call = null;
      lobby.show();
    },
  });
}

addEventListener('pagehide', () => call?.leave());

lobby.show();
await Promise.all([lobby.openMedia(), offering.then(() => call?.updateServers())]);
if (asked.autojoin && asked.name && asked.room && !hasJoined) lobby.submit();
