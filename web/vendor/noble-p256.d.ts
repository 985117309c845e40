// The part of noble-p256.js that this page uses.

interface Options {
  prehash: boolean;
  lowS: boolean;
  format: 'der';
}

export const p256: {
  sign(digest: Uint8Array, secretKey: Uint8Array, options: Options): Uint8Array;
  verify(signature: Uint8Array, digest: Uint8Array, publicKey: Uint8Array, options: Options): boolean;
  getPublicKey(secretKey: Uint8Array, isCompressed: boolean): Uint8Array;
  utils: { randomSecretKey(): Uint8Array; isValidPublicKey(publicKey: Uint8Array, isCompressed: boolean): boolean };
};
