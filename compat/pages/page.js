/** The parts that the pages of all dialects share: parameters, a JSON WebSocket, and `window.state`, which the tests read. */

const query = new URLSearchParams(location.search);

/** @param {string} name @param {string} [otherwise] */
export function parameter(name, otherwise = '') {
  return query.get(name) ?? otherwise;
}

/** @type {import('./state.js').PageState} */
const state = { myId: '', joined: false, peers: {}, left: [], errors: [], messages: [], files: [], events: [] };

/** @type {() => Record<string, import('./state.js').PeerState>} */
let describePeers = () => ({});

Object.defineProperty(window, 'state', { get: () => ({ ...state, peers: describePeers() }) });

/** @param {typeof describePeers} describe */
export function showPeers(describe) {
  describePeers = describe;
}

export { state };

/** @param {string} what @param {unknown} detail */
export function complain(what, detail) {
  state.errors.push(`${what}: ${detail instanceof Error ? detail.message : JSON.stringify(detail)}`);
}

window.addEventListener('error', (event) => complain('script', event.message));
window.addEventListener('unhandledrejection', (event) => complain('script', event.reason));

/**
 * @param {string} path
 * @param {{ opened?: () => void, frame: (frame: any) => void }} on
 */
export function openSocket(path, on) {
  const socket = new WebSocket(parameter('server') + path);
  socket.onopen = () => on.opened?.();
  socket.onmessage = ({ data }) => on.frame(JSON.parse(data));
  socket.onclose = ({ code, reason }) => complain('the server closed', `${code} ${reason}`);
  window.addEventListener('pagehide', () => (socket.onclose = null));
  return { send: (/** @type {object | string} */ frame) => socket.send(JSON.stringify(frame)) };
}
