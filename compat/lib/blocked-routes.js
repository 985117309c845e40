/** The time after which the page at `/` gives up a connection that is not established. */
export const GIVE_UP_MS = 30_000;

/** Runs in a page before its own scripts: no candidate of the peer is used while `window.isBlocked`. */
export function blockRoutes() {
  window.isBlocked = true;
  const prototype = /** @type {any} */ (RTCPeerConnection.prototype);
  const { addIceCandidate, setRemoteDescription } = prototype;
  prototype.addIceCandidate = async function (/** @type {any} */ candidate) {
    if (!window.isBlocked) await addIceCandidate.call(this, candidate);
  };
  prototype.setRemoteDescription = function (/** @type {any} */ { type, sdp }) {
    const kept = window.isBlocked ? sdp.replace(/^a=candidate:.*\r\n/gm, '') : sdp;
    return setRemoteDescription.call(this, { type, sdp: kept });
  };
}
