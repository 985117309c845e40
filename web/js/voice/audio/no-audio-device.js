// @ts-check

/** No audio device can be opened. */
export class NoAudioDevice extends Error {}
