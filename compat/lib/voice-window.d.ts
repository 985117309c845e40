declare global {
  interface Window {
    /** What `gostream`'s own page signs with. */
    readonly elliptic: typeof import('elliptic');
    /** Only of the page of the voice dialect. */
    voice: {
      call(otherKey: string): Promise<void>;
      /** The latest samples, of 16 bits. */
      heard(): number[];
      events(): Record<string, any>[];
    };
    /** What the page plays, as samples of 16 bits: the latest two thirds of a second. */
    playing(): number[];
    /** What the page plays from now on, as a file of `MediaRecorder` in base64. */
    record(seconds: number): Promise<string>;
  }
}

export {};
