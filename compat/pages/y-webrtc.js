/** A page that shares a document by y-webrtc. `?path=` is the path of the server, `?password=` encrypts the signals. */
import { WebrtcProvider } from 'y-webrtc';
import * as Y from 'yjs';
import { describe } from './connection.js';
import { parameter, showPeers, state } from './page.js';

const doc = new Y.Doc();
const text = doc.getText('text');
const map = doc.getMap('map');
const provider = new WebrtcProvider(parameter('room'), doc, {
  signaling: [parameter('server') + parameter('path', '/')],
  password: parameter('password') || undefined,
  peerOpts: { config: { iceServers: [] } },
});

/** The connections, each of which is a simple-peer. @returns {[string, any][]} */
function connections() {
  return [...(provider.room?.webrtcConns ?? [])];
}

showPeers(() => Object.fromEntries(connections().map(([id, { peer }]) => [id, describe(peer._pc)])));

provider.on('synced', ({ synced }) => state.events.push(`synced ${synced}`));
provider.awareness.setLocalState({ name: parameter('name').split('.')[0] });
doc.on('update', () => (document.body.textContent = JSON.stringify(window.doc.read())));
state.myId = String(doc.clientID);
state.joined = true;

window.doc = {
  write: (words) => text.insert(text.length, words),
  put: (key, value) => map.set(key, value),
  read: () => ({ text: text.toString(), map: map.toJSON() }),
  names: () => [...provider.awareness.getStates().values()].map(({ name }) => name).sort(),
  neighbours: () => provider.room?.bcConns.size ?? 0,
  isSignalling: () => provider.signalingConns.some(({ connected }) => connected),
};
