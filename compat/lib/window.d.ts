import type { PageState } from '../pages/state.js';

/** What the call page shows of one of the others. */
export interface Tile {
  username: string;
  state: string;
  chat: string;
  width: number;
  frames: number;
}

declare global {
  interface Window {
    readonly state: PageState;
    /** Only of pages with chat. */
    say(content: string): void;
    sendFile(name: string, size: number): Promise<string>;
    /** Only of the call page. */
    tiles(): Tile[];
  }
}
