/**
 * Runs in every page before its own scripts: no media leaves the machine. Only candidates with loopback addresses
 * are signalled and used, and only STUN and TURN servers on loopback.
 */
export function keepMediaOnLoopback() {
  const LOOPBACK = ['127.0.0.1', '::1'];
  const Native = window.RTCPeerConnection;

  /** @param {string} candidate */
  function isLoopback(candidate) {
    const address = candidate.split(' ')[4];
    return address === undefined || LOOPBACK.includes(address);
  }

  /** @param {string} sdp */
  function withoutOtherCandidates(sdp) {
    return sdp
      .split(/(?<=\n)/)
      .filter((line) => !line.startsWith('a=candidate:') || isLoopback(line))
      .join('');
  }

  /** @param {RTCSessionDescription | null} description */
  function onLoopback(description) {
    return description && new RTCSessionDescription({ type: description.type, sdp: withoutOtherCandidates(description.sdp) });
  }

  /** @param {Event} event */
  function hideOtherCandidates(event) {
    const { candidate } = /** @type {RTCPeerConnectionIceEvent} */ (event);
    if (candidate && !isLoopback(candidate.candidate)) event.stopImmediatePropagation();
  }

  /** @param {RTCConfiguration} [configuration] */
  function withoutOtherServers({ iceServers = [], ...others } = {}) {
    const isNear = (/** @type {string} */ url) => /^(?:stun|turn)s?:(?:127\.0\.0\.1|\[::1\])(?::|\?|$)/.test(url);
    return { ...others, iceServers: iceServers.filter(({ urls }) => [urls].flat().every(isNear)) };
  }

  window.RTCPeerConnection = class LoopbackPeerConnection extends Native {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super(withoutOtherServers(configuration));
      this.addEventListener('icecandidate', hideOtherCandidates);
    }

    /** @param {RTCConfiguration} configuration */
    setConfiguration(configuration) {
      super.setConfiguration(withoutOtherServers(configuration));
    }

    get localDescription() {
      return onLoopback(super.localDescription);
    }

    get pendingLocalDescription() {
      return onLoopback(super.pendingLocalDescription);
    }

    get currentLocalDescription() {
      return onLoopback(super.currentLocalDescription);
    }

    /** @param {any} candidate @param {any[]} callbacks that old clients pass, because they do not use the promise */
    async addIceCandidate(candidate, ...callbacks) {
      if (candidate?.candidate && !isLoopback(candidate.candidate)) return;
      await /** @type {any} */ (super.addIceCandidate).call(this, candidate, ...callbacks);
    }

    /** @param {any} description @param {any[]} callbacks that old clients pass, because they do not use the promise */
    async setRemoteDescription(description, ...callbacks) {
      const wanted = { type: description.type, sdp: withoutOtherCandidates(description.sdp) };
      await /** @type {any} */ (super.setRemoteDescription).call(this, wanted, ...callbacks);
    }
  };
}
