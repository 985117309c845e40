// @ts-check
// The relay of a TURN server in one connection: its state, and whether media passes it.

/** @typedef {'none' | 'found' | 'refused' | 'full' | 'silent'} RelayState  none: the TURN server has not answered yet */

/** Error codes of RFC 8656, section 18. */
const UNAUTHORIZED = [401, 403];
const FULL = [486, 508];

export class Relay {
  /** The state after the latest gathering of candidates that had a result. @type {RelayState} */ state = 'none';
  #isNewGathering = true;
  #pc;

  /** @param {RTCPeerConnection} pc @param {() => void} onRefused  the TURN server does not accept the credentials */
  constructor(pc, onRefused) {
    this.#pc = pc;
    this.onRefused = onRefused;
    pc.addEventListener('icegatheringstatechange', () => {
      if (pc.iceGatheringState === 'gathering') this.#isNewGathering = true;
    });
    pc.addEventListener('icecandidate', ({ candidate }) => {
      if (candidate?.type === 'relay') this.#setState('found');
    });
    pc.addEventListener('icecandidateerror', (event) => this.#failed(/** @type {RTCPeerConnectionIceErrorEvent} */ (event)));
  }

  /** Whether media go through a relay of this side now. */
  async isUsed() {
    const stats = [...(await this.#pc.getStats()).values()];
    const selected = stats.map(({ type, selectedCandidatePairId }) => type === 'transport' && selectedCandidatePairId);
    const pairs = stats.filter(({ type, id, selected: isSelected }) => type === 'candidate-pair' && (isSelected || selected.includes(id)));
    return pairs.some(({ localCandidateId }) => stats.find(({ id }) => id === localCandidateId)?.candidateType === 'relay');
  }

  // A TURN server with several addresses may fail at some of them only: a relay that was found stays found, and a
  // refusal is worth more than silence.
  /** @param {RTCPeerConnectionIceErrorEvent} event */
  #failed({ url, errorCode }) {
    if (!/^turns?:/i.test(url)) return;
    const present = this.#isNewGathering ? 'none' : this.state;
    const isRefused = UNAUTHORIZED.includes(errorCode);
    if (present === 'none') this.#setState(isRefused ? 'refused' : FULL.includes(errorCode) ? 'full' : 'silent');
    else if (present === 'silent' && isRefused) this.#setState('refused');
  }

  /** @param {RelayState} state */
  #setState(state) {
    this.#isNewGathering = false;
    this.state = state;
    if (state === 'refused') this.onRefused();
  }
}
