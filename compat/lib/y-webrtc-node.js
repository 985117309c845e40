/** npm `y-webrtc` in Node: many clients in one process, without real WebRTC. */
import { WebSocket } from 'ws';
import { clientFile } from './clients.js';

/** A short session description, of about 250 bytes. */
const SDP = `v=0\r\no=- 0 2 IN IP4 127.0.0.1\r\n${'a=fingerprint:sha-256 00:11:22:33\r\n'.repeat(6)}`;

/**
 * The part of WebRTC that simple-peer needs: descriptions and candidates to signal. It never connects.
 * @param {number} candidates that each connection trickles
 */
function stubWebRtc(candidates) {
  class StubPeerConnection {
    signalingState = 'stable';
    iceConnectionState = 'new';
    iceGatheringState = 'new';
    connectionState = 'new';
    /** @type {object | null} */
    remoteDescription = null;
    /** @type {object | null} */
    localDescription = null;
    candidatesAdded = 0;
    /** @type {(event: object) => void} */
    onicecandidate = () => {};

    createDataChannel() {
      return { readyState: 'connecting', bufferedAmountLowThreshold: 0, close() {} };
    }

    async createOffer() {
      return { type: 'offer', sdp: SDP };
    }

    async createAnswer() {
      return { type: 'answer', sdp: SDP };
    }

    /** @param {object} description */
    async setLocalDescription(description) {
      this.localDescription = description;
      for (let number = 0; number < candidates; number++) setImmediate(() => this.onicecandidate({ candidate: candidateOf(number) }));
    }

    /** @param {object} description */
    async setRemoteDescription(description) {
      this.remoteDescription = description;
    }

    async addIceCandidate() {
      this.candidatesAdded++;
    }

    close() {}
  }
  class Copy {
    /** @param {object} fields */
    constructor(fields) {
      Object.assign(this, fields);
    }
  }
  return { RTCPeerConnection: StubPeerConnection, RTCSessionDescription: Copy, RTCIceCandidate: Copy };
}

/** @param {number} number */
function candidateOf(number) {
  return { candidate: `candidate:${number} 1 udp 2113937151 127.0.0.1 ${50_000 + number} typ host generation 0`, sdpMLineIndex: 0, sdpMid: '0' };
}

/** A client of a topic. It runs a copy of the code of its own, because y-webrtc allows one client of a topic in a process. */
export class YWebrtcClient {
  frames = 0;
  /** Frames that name another client as their receiver. */
  framesForOthers = 0;
  closes = 0;

  /** @param {string} url @param {string} topic @param {number} candidates that each connection trickles */
  static async join(url, topic, candidates) {
    const client = new YWebrtcClient(url, topic, candidates, await bundleText());
    await client.isAnnounced;
    return client;
  }

  /** @param {string} url @param {string} topic @param {number} candidates @param {string} code */
  constructor(url, topic, candidates, code) {
    const { WebrtcProvider, Doc } = evaluate(code, this.#countingSocket());
    this.doc = new Doc();
    this.candidates = candidates;
    const peerOpts = { wrtc: stubWebRtc(candidates) };
    this.provider = new WebrtcProvider(topic, this.doc, { signaling: [url], maxConns: 1_000, peerOpts });
    this.isAnnounced = this.#announced();
  }

  get id() {
    return this.provider.room?.peerId;
  }

  /** The ids of the clients with which both descriptions and all candidates were exchanged. */
  get peers() {
    const all = /** @type {[string, any][]} */ ([...(this.provider.room?.webrtcConns ?? [])]);
    return all.filter(([, { peer }]) => peer._pc.remoteDescription && peer._pc.candidatesAdded === this.candidates).map(([id]) => id);
  }

  stop() {
    this.provider.destroy();
    this.provider.disconnect();
    this.doc.destroy();
  }

  /** The server sends an announcement to its own sender, too. */
  async #announced() {
    const signal = AbortSignal.timeout(30_000);
    const [conn] = this.provider.signalingConns;
    while (!this.frames) await new Promise((resolve, reject) => {
      signal.onabort = () => reject(new Error('the announcement does not come back'));
      conn.once('message', resolve);
    });
  }

  #countingSocket() {
    const client = this;
    return class extends WebSocket {
      /** @param {string | URL} url */
      constructor(url) {
        super(url);
        this.on('message', (data) => client.#count(JSON.parse(String(data))));
        this.on('close', () => client.closes++);
      }
    };
  }

  /** @param {any} frame */
  #count({ type, data }) {
    if (type !== 'publish') return;
    this.frames++;
    if (data.to !== undefined && data.to !== this.id) this.framesForOthers++;
  }
}

/** @type {Promise<string> | undefined} */
let bundled;

function bundleText() {
  return (bundled ??= clientFile('y-webrtc-node.js').then((file) => Buffer.from(file).toString()));
}

/**
 * A copy of the package's code with modules of its own, for which there is no BroadcastChannel: copies in one process
 * would meet there.
 * @param {string} code @param {new (url: string) => WebSocket} socket @returns {any}
 */
function evaluate(code, socket) {
  const names = ['WebSocket', 'BroadcastChannel', 'process', 'globalThis'];
  return new Function(...names, `${code}; return client;`)(socket, undefined, undefined, Object.create(globalThis));
}
