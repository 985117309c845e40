// @ts-check
// Where the page begins: the lobby, then calls, one after another.

import { Call } from './call.js';
import { Media } from './media.js';
import { asked } from './settings.js';
import { Devices } from './ui/devices.js';
import { Lobby } from './ui/lobby.js';
import { Status } from './ui/status.js';

/** @type {Call | null} */
let call = null;

const media = new Media(() => {
  lobby.refresh();
  devices.refresh();
  call?.mediaChanged();
});

const devices = new Devices(media, {
  onProblem: (problem) => new Status().problem(problem),
  onSpeaker: (speakerId) => call?.setSpeaker(speakerId),
});

const lobby = new Lobby(media, {
  onJoin: (name, room, ice) => join(name, room, ice),
  onCancel: () => call?.leave(),
});

/** @param {string} name @param {string} room @param {string} ice */
function join(name, room, ice) {
  call = new Call({ name, room, ice, media }, {
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
await lobby.openMedia();
if (asked.autojoin && asked.name && asked.room) lobby.submit();
