/** A page made with Ayame's web SDK, for two. `?key=`, `?metadata=` and `?standalone=1` are options of the SDK. */
import { createConnection, defaultOptions } from '@open-ayame/ayame-web-sdk';
import { describe } from './connection.js';
import { parameter, showPeers, state } from './page.js';
import { camera, show, video } from './video.js';

/** The id of the other client, which has none in the SDK. */
const OTHER = 'other';

const metadata = parameter('metadata');

/** @type {import('@open-ayame/ayame-web-sdk').Connection | null} */
let connection = null;
/** @type {RTCDataChannel | null} */
let chat = null;

/** The SDK needs a new connection for each call: it would not show the picture of a second call. */
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
  // A private field of the SDK, which has the servers of `accept`.
  window.ayame.iceServers = /** @type {any} */ (connection).pcConfig.iceServers;
  // Only the second client creates a data channel, and the first offer must contain it: the SDK does not renegotiate.
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

// The reason was reported before.
enter().catch(() => {});
