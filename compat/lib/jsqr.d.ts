/** The part of npm `jsqr` that the tests use; its own types are those of another kind of module. */
declare module 'jsqr' {
  export default function decode(data: Uint8ClampedArray, width: number, height: number): { data: string } | null;
}
