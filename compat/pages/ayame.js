/** A page made with Ayame's web SDK, for two. `?key=`, `?metadata=` and `?standalone=1` are what the SDK lets one say. */
import { createConnection, defaultOptions } from '@open-ayame/ayame-web-sdk';
import { describe } from './connection.js';
import { parameter, showPeers, state } from './page.js';
import { camera, show, video } from './video.js';

/** The SDK knows no name for the one other. */
const OTHER = 'other';

const connection = createConnection(parameter('server') + parameter('path', '/signaling'), parameter('room'), {
  ...defaultOptions,
  clientId: parameter('name'),
  signalingKey: parameter('key') || undefined,
  standalone: parameter('standalone') === '1',
});

/** @type {RTCDataChannel | null} */
let chat = null;

/** @param {RTCDataChannel} channel */
function adopt(channel) {
  chat = channel;
  channel.addEventListener('message', ({ data }) => state.messages.push({ from: OTHER, content: data }));
}

showPeers(() => {
  const pc = connection.peerConnection;
  /** @type {Record<string, import('./state.js').PeerState>} */
  const peers = pc?.remoteDescription ? { [OTHER]: describe(pc, video.watch(OTHER)) } : {};
  return peers;
});

connection.on('open', async (/** @type {{ authzMetadata: unknown }} */ { authzMetadata }) => {
  window.ayame.authzMetadata = authzMetadata;
  // Not of its public face, but where it keeps what the server told it to use.
  window.ayame.iceServers = /** @type {any} */ (connection).pcConfig.iceServers;
  state.events.push('open');
  state.joined = true;
  // Only the second to come makes one, and the first offer must have it: the SDK does not negotiate again.
  const channel = await connection.createDataChannel('chat', undefined);
  if (channel) adopt(channel);
});
connection.on('datachannel', adopt);
connection.on('connect', () => state.events.push('connect'));
connection.on('addstream', (/** @type {{ stream: MediaStream }} */ { stream }) => show(OTHER, stream));
connection.on('bye', () => state.events.push('bye'));
connection.on('disconnect', (/** @type {{ reason: string }} */ { reason }) => {
  video.forget(OTHER);
  state.events.push(`disconnect ${reason}`);
});

const metadata = parameter('metadata');

window.say = (content) => chat?.send(content);
window.ayame = {
  authzMetadata: undefined,
  iceServers: [],
  enter: () => connection.connect(camera, metadata ? { authnMetadata: JSON.parse(metadata) } : null),
  leave: () => connection.disconnect(),
  hasSocket: () => connection.webSocket !== null,
};

// Why not, it has said by then.
window.ayame.enter().catch(() => {});
