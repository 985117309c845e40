/** The state of a connection, as a page reports it to the tests. */

/**
 * The state of a connection that a library made. Offers are counted by its two descriptions.
 * @param {RTCPeerConnection} pc @param {{ videoWidth: number, frames: number }} [picture]
 * @returns {import('./state.js').PeerState}
 */
export function describe(pc, picture = { videoWidth: 0, frames: 0 }) {
  const { connectionState, localDescription, remoteDescription } = pc;
  return {
    connectionState,
    localSession: sessionOf(localDescription),
    remoteSession: sessionOf(remoteDescription),
    offersMade: localDescription?.type === 'offer' ? 1 : 0,
    offersGot: remoteDescription?.type === 'offer' ? 1 : 0,
    ...picture,
  };
}

/** @param {RTCSessionDescription | null} description */
export function sessionOf(description) {
  return description?.sdp.match(/^o=\S+ (\d+)/m)?.[1] ?? '';
}
