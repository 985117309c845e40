/** The state of one peer that a page reports to the tests. */
export interface PeerState {
  connectionState: RTCPeerConnectionState;
  /** The ids of the connection's two descriptions: the page of the peer has the same two in reverse order. */
  localSession: string;
  remoteSession: string;
  offersMade: number;
  offersGot: number;
  videoWidth: number;
  frames: number;
}

export interface PageState {
  myId: string;
  joined: boolean;
  peers: Record<string, PeerState>;
  /** The ids of the peers that left, in order. */
  left: string[];
  /** Error frames, unexpected frames, and exceptions. */
  errors: string[];
  /** Only of pages with chat. */
  messages: { from: string; content: string }[];
  files: { from: string; name: string; size: number; sha256: string }[];
  /** Only of pages with a client library: its reports, in order. */
  events: string[];
}
