import type { PageState } from '../pages/state.js';

/** The tile of another member on the call page. */
export interface Tile {
  username: string;
  state: string;
  chat: string;
  width: number;
  frames: number;
}

/** The played sound of another member on the call page. */
export interface Heard {
  /** Of everything received since the connection began. */
  energy: number;
  /** Seconds that the element has played, or -1 while it plays nothing. */
  played: number;
}

export interface SharedDocument {
  write(words: string): void;
  put(key: string, value: string): void;
  read(): { text: string; map: Record<string, string> };
  /** The clients with known presence, this one included. */
  names(): string[];
  /** The number of pages that it reaches without WebRTC, through the browser that they share. */
  neighbours(): number;
  /** Whether it is connected with a server. */
  isSignalling(): boolean;
}

export interface Ayame {
  /** The `accept` of the server. */
  authzMetadata: unknown;
  iceServers: RTCIceServer[];
  enter(): Promise<void>;
  leave(): Promise<void>;
  hasSocket(): boolean;
  chatState(): RTCDataChannelState | undefined;
}

declare global {
  interface Window {
    readonly state: PageState;
    /** Only of pages with chat. */
    say(content: string): void;
    sendFile(name: string, size: number): Promise<string>;
    /** Only of the call page. */
    tiles(): Tile[];
    connections: RTCPeerConnection[];
    /** The labels of the data channels that peers have opened, only in tests of them. */
    channelLabels: string[];
    /** Tracks without a stream, only in tests of them. */
    strayTracks: number;
    /** The servers that connections were configured with, only in tests of them. */
    configured: RTCIceServer[][];
    isBlocked: boolean;
    /** The data channels that the page has opened, and its WebSocket, only in tests of hostile members. */
    channels: RTCDataChannel[];
    socket: WebSocket;
    /** Makes the browser ask the user for permission, which is granted, and lists the captures since. Only in tests of the lobby. */
    ask(): void;
    allow(): void;
    paintedCamera?: { scale: number; framesPerSecond: number };
    /** The tracks of the captures. */
    captured: MediaStreamTrack[];
    /** Observers and timers that run, and the elements that play. */
    observers: number;
    timers: Set<unknown>;
    players: HTMLMediaElement[];
    /** The connections that use only relays, and the errors of their TURN servers. */
    relayed: RTCPeerConnection[];
    refusals: number[];
    /** The states that tiles took since the test has listened. */
    states: string[];
    /** Of pages with devices by hand. */
    talk(isTalking: boolean): void;
    shared: MediaStreamTrack[];
    stopSharing(): void;
    readClipboard(): Promise<string>;
    levelsAt(hz: number): number[];
    wakeLocks: Set<unknown>;
    /** The announcements of a screen reader, only in tests of them. */
    announced: string[];
    heard(username: string): Promise<Heard>;
    /** Only of the page of PeerJS, as its own bundle leaves it there. */
    readonly Peer: typeof import('peerjs').Peer;
    peer: import('peerjs').Peer;
    dial(id: string, options?: import('peerjs').PeerConnectOption): void;
    call(id: string): void;
    /** Fetches new credentials for the connections to come. */
    renew(): Promise<void>;
    /** Only of the page of y-webrtc. */
    doc: SharedDocument;
    /** Only of the page of Ayame. */
    ayame: Ayame;
  }
}
