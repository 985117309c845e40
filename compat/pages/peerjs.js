/**
 * A page made with PeerJS, of which `?version=` is the release. Without `?id=` the server assigns the id; `?key=` is the key;
 * `?retry=` is the time in ms after which it reconnects to the server. With `?ice=1` it uses the STUN
 * and TURN servers that the server offers.
 */
import { describe } from './connection.js';
import { complain, parameter, showPeers, state } from './page.js';
import { camera, show, video } from './video.js';

/** @typedef {import('peerjs').DataConnection} DataConnection */
/** @typedef {import('peerjs').MediaConnection} MediaConnection */

const { hostname, port } = new URL(parameter('server'));
const id = parameter('id');
const retryMs = Number(parameter('retry', '0'));
const iceServers = parameter('ice', '') ? await offeredServers() : [];
const options = { host: hostname, port: Number(port), path: '/', key: parameter('key', 'peerjs'), secure: false, config: { iceServers } };

await loadScript(`clients/peerjs-${parameter('version', '1.5.5')}.js`);
const peer = id ? new window.Peer(id, options) : new window.Peer(options);

/** @type {Set<DataConnection>} */
const conversations = new Set();
/** @type {Set<MediaConnection>} */
const calls = new Set();

async function offeredServers() {
  const { iceServers } = await (await fetch(`http://${hostname}:${port}/ice-servers`)).json();
  return iceServers;
}

/** @param {string} url of a classic script */
async function loadScript(url) {
  const script = Object.assign(document.createElement('script'), { src: url });
  document.head.append(script);
  await new Promise((resolve, reject) => Object.assign(script, { onload: resolve, onerror: reject }));
}

/** @param {any} connection of any version: those below 1.0 have it under another name @returns {RTCPeerConnection} */
function peerConnectionOf({ peerConnection, pc }) {
  return peerConnection ?? pc;
}

/** @param {DataConnection} connection */
function converse(connection) {
  connection.on('open', () => conversations.add(connection));
  connection.on('data', (content) => state.messages.push({ from: connection.peer, content: String(content) }));
  connection.on('close', () => {
    conversations.delete(connection);
    state.left.push(connection.peer);
  });
}

/** @param {MediaConnection} call */
function watch(call) {
  if ([...calls].some(({ peer }) => peer === call.peer)) complain('a second call with the same', call.peer);
  calls.add(call);
  call.on('stream', (stream) => show(call.peer, stream));
  call.on('close', () => {
    calls.delete(call);
    video.forget(call.peer);
    state.left.push(call.peer);
  });
}

showPeers(() => Object.fromEntries([
  ...[...conversations].map((connection) => [connection.peer, describe(peerConnectionOf(connection))]),
  ...[...calls].map((call) => [call.peer, describe(peerConnectionOf(call), video.watch(call.peer))]),
]));

peer.on('open', (myId) => {
  state.events.push('open');
  state.myId = myId;
  state.joined = true;
});
peer.on('connection', converse);
peer.on('call', (call) => {
  call.answer(camera);
  watch(call);
});
peer.on('disconnected', () => {
  state.events.push('disconnected');
  if (retryMs > 0) setTimeout(() => peer.reconnect(), retryMs);
});
peer.on('close', () => state.events.push('close'));
peer.on('error', ({ type }) => state.events.push(`error ${type}`));

window.peer = peer;
window.renew = async () => (peer.options.config.iceServers = await offeredServers());
window.dial = (other, options = { reliable: true }) => converse(peer.connect(other, options));
window.call = (other) => watch(peer.call(other, camera));
window.say = (content) => {
  for (const conversation of conversations) conversation.send(content);
};
