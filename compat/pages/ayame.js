/** A page made with Ayame's web SDK, for two. `?key=`, `?metadata=` and `?standalone=1` are what the SDK lets one say. */
import { createConnection, defaultOptions } from '@open-ayame/ayame-web-sdk';
import { describe } from './connection.js';
import { parameter, showPeers, state } from './page.js';
import { camera, show, video } from './video.js';

/** The SDK knows no name for the one other. */
const OTHER = 'other';

const metadata = parameter('metadata');

/** @type {import('@open-ayame/ayame-web-sdk').Connection | null} */
let connection = null;
/** @type {RTCDataChannel | null} */
let chat = null;

/** A connection of the SDK is good for one call: of a second one it would not show the picture. */
function newConnection() {
  const options = { clientId: parameter('name'), signalingKey: parameter('key') || undefined, standalone: parameter('standalone') === '1' };
  return createConnection(parameter('server') + parameter('path', '/signaling'), parameter('room'), { ...defaultOptions, ...options });
}

async function enter() {
  connection = newConnection();
  connection.on('open', opened);
  connection.on('datachannel', adopt);
  connection.on('connect', () => state.events.push('connect'));
  connection.on('addstream', (/** @type {{ stream: MediaStream }} */ { stream }) => show(OTHER, stream));
  connection.on('bye', () => {
    state.events.push('bye');
    state.left.push(OTHER);
  });
  connection.on('disconnect', (/** @type {{ reason: string }} */ { reason }) => {
    video.forget(OTHER);
    state.events.push(`disconnect ${reason}`);
  });
  await connection.connect(camera, metadata ? { authnMetadata: JSON.parse(metadata) } : null);
}

/** @param {{ authzMetadata: unknown }} event */
async function opened({ authzMetadata }) {
  state.events.push('open');
  state.joined = true;
  window.ayame.authzMetadata = authzMetadata;
  // Not of its public face, but where it keeps what the server told it to use.
  window.ayame.iceServers = /** @type {any} */ (connection).pcConfig.iceServers;
  // Only the second to come makes one, and the first offer must have it: the SDK does not negotiate again.
  const channel = await connection?.createDataChannel('chat', undefined);
  if (channel) adopt(channel);
}

/** @param {RTCDataChannel} channel */
function adopt(channel) {
  chat = channel;
  channel.addEventListener('message', ({ data }) => state.messages.push({ from: OTHER, content: data }));
}

showPeers(() => {
  const pc = connection?.peerConnection;
  /** @type {Record<string, import('./state.js').PeerState>} */
  const peers = pc?.remoteDescription ? { [OTHER]: describe(pc, video.watch(OTHER)) } : {};
  return peers;
});

window.say = (content) => chat?.send(content);
window.ayame = {
  authzMetadata: undefined,
  iceServers: [],
  enter,
  leave: async () => connection?.disconnect(),
  chatState: () => chat?.readyState,
  hasSocket: () => connection?.webSocket != null,
};

// Why not, it has said by then.
enter().catch(() => {});
