import type { PageState } from '../pages/state.js';

/** What the call page shows of one of the others. */
export interface Tile {
  username: string;
  state: string;
  chat: string;
  width: number;
  frames: number;
}

/** What the call page plays of one of the others. */
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
  /** Those whose presence is known, one's own included. */
  names(): string[];
  /** How many pages it reaches without WebRTC, through the browser that they share. */
  neighbours(): number;
  /** Whether it is connected with a server. */
  isSignalling(): boolean;
}

export interface Ayame {
  /** What the server said when it let us in. */
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
    /** Of the data channels that peers have opened, only in tests of them. */
    channelLabels: string[];
    /** Tracks without a stream, only in tests of them. */
    strayTracks: number;
    /** The servers that connections were configured with, only in tests of them. */
    configured: RTCIceServer[][];
    isBlocked: boolean;
    /** The data channels that the page has opened, and its WebSocket, only in tests of hostile members. */
    channels: RTCDataChannel[];
    socket: WebSocket;
    /** The browser asks the person from now on, and the person allows it; what was captured since. Only in tests of the lobby. */
    ask(): void;
    allow(): void;
    captured: MediaStreamTrack[];
    /** Observers and timers that run, and the elements that play. */
    observers: number;
    timers: Set<unknown>;
    players: HTMLMediaElement[];
    /** Those that may use nothing but relays, and what their TURN servers refused. */
    relayed: RTCPeerConnection[];
    refusals: number[];
    /** The states that tiles took since the test has listened. */
    states: string[];
    captured: MediaStreamTrack[];
    /** Of pages with devices by hand. */
    talk(isTalking: boolean): void;
    shared: MediaStreamTrack[];
    stopSharing(): void;
    readClipboard(): Promise<string>;
    levelsAt(hz: number): number[];
    wakeLocks: Set<unknown>;
    /** What a screen reader would say by itself, only in tests of that. */
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
