declare global {
  interface Window {
    /** The signature library of the page of gostream. */
    readonly elliptic: typeof import('elliptic');
    /** Only of the page of the voice dialect. */
    voice: {
      call(otherKey: string): Promise<void>;
      /** The latest samples, of 16 bits. */
      heard(): number[];
      events(): Record<string, any>[];
    };
    /** The played sound as samples of 16 bits: the last two thirds of a second. */
    playing(): number[];
    /** Records the played sound, as a file of `MediaRecorder` in base64. */
    record(seconds: number): Promise<string>;
  }
}

export {};
