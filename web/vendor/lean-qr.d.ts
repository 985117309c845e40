// The part of lean-qr.js that this page uses.

export interface Code {
  toCanvas(canvas: HTMLCanvasElement, options: { on: [number, number, number]; off: [number, number, number]; pad: number }): void;
}

/** Throws for a text that is longer than a code can hold. */
export function generate(text: string): Code;
