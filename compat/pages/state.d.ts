/** What a page tells the tests about one peer. */
export interface PeerState {
  connectionState: RTCPeerConnectionState;
  /** The ids of the connection's two descriptions: the peer's page has the same two, the other way round. */
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
  /** Ids of peers that the server said are gone, in order. */
  left: string[];
  /** Error frames, frames that no client of the dialect should ever get, and exceptions. */
  errors: string[];
  /** Only of pages with chat. */
  messages: { from: string; content: string }[];
  files: { from: string; name: string; size: number; sha256: string }[];
  /** Only of pages whose dialect is spoken by a library: what it reported, in order. */
  events: string[];
}
