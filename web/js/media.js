// @ts-check
// What this device captures: microphone, camera, screen. A camera that is off is released, light and all; a muted
// microphone stays open so that unmuting is instant. Each failure becomes a sentence a person can act on.

import { nextCameras } from './cameras.js';
import { explain, explainBoth } from './media-problems.js';
import { PROFILES, cameraConstraints } from './quality.js';
import { SoundMix } from './sound-mix.js';
import { texts } from './texts.js';

/** @typedef {import('./media-problems.js').Device} Device */
/** @typedef {import('./quality.js').Quality} Quality */
/** @typedef {import('./peer.js').Tracks} Tracks */

export class Media {
  /** @type {MediaStreamTrack | null} */ mic = null;
  /** @type {MediaStreamTrack | null} */ camera = null;
  /** @type {MediaStreamTrack | null} */ screen = null;
  /** The sound of the shared tab, where the browser captures it. @type {MediaStreamTrack | null} */ #screenSound = null;
  #mix = new SoundMix();
  /** @type {Quality} */ quality = 'normal';
  isMuted = false;
  /** The camera was on when "Audio only" stopped it. */
  #isCameraPaused = false;
  micId = '';
  cameraId = '';
  speakerId = '';

  /** @param {() => void} onChange  something captured began, ended or was switched */
  constructor(onChange) {
    this.onChange = onChange;
  }

  get isAvailable() {
    return Boolean(navigator.mediaDevices);
  }

  /** Phones cannot. */
  get canShareScreen() {
    return !this.isAvailable || Boolean(navigator.mediaDevices.getDisplayMedia);
  }

  /** What the others should get. @returns {Tracks} */
  get tracks() {
    const video = PROFILES[this.quality].video ? (this.screen ?? this.camera) : null;
    return { audio: this.#mix.trackOf(this.mic, this.#screenSound), video };
  }

  /** The media state that the other members are told. @returns {import('./peer.js').MediaState} */
  get state() {
    const { video } = this.tracks;
    const shown = video === null ? 'off' : video === this.screen ? 'screen' : 'camera';
    return { isMuted: this.isMuted || this.mic === null, video: shown };
  }

  /** @returns {Promise<string>} what went wrong, in words, or nothing */
  async openMic() {
    return this.#attempt('microphone', async () => {
      this.#useMic(await captureOne({ audio: this.#micConstraints }));
    });
  }

  async openCamera() {
    return this.#attempt('camera', async () => {
      this.#useCamera(await captureOne({ video: this.#cameraConstraints }));
    });
  }

  /** One question to the person for both, and whichever of them there is. @returns {Promise<string>} */
  async openBoth() {
    if (!this.isAvailable) return texts.media.insecure;
    try {
      const constraints = { audio: this.#micConstraints, video: this.#cameraConstraints };
      const stream = await navigator.mediaDevices.getUserMedia(constraints);
      this.#useMic(stream.getAudioTracks()[0] ?? null);
      this.#useCamera(stream.getVideoTracks()[0] ?? null);
      this.onChange();
      return '';
    } catch {
      return explainBoth(await this.openMic(), await this.openCamera());
    }
  }

  /** The next camera in place of the one that is on. @returns {Promise<string>} what went wrong */
  async switchCamera() {
    const former = this.camera;
    const wishes = nextCameras(former?.getSettings() ?? {}, await listDevices());
    // A phone opens one camera at a time.
    former?.stop();
    for (const wish of wishes) {
      const camera = await captureOne({ video: { ...cameraConstraints(this.quality), ...wish } }).catch(() => null);
      if (!camera) continue;
      const isOff = this.camera !== former;
      if (isOff) camera.stop();
      if (isOff) return '';
      this.cameraId = camera.getSettings().deviceId ?? '';
      this.#useCamera(camera);
      this.onChange();
      return '';
    }
    this.camera = null;
    return this.openCamera();
  }

  closeCamera() {
    this.camera?.stop();
    this.camera = null;
    this.onChange();
  }

  async openScreen() {
    if (!navigator.mediaDevices?.getDisplayMedia) return texts.media.noScreenSharing;
    return this.#attempt('screen', async () => {
      const stream = await navigator.mediaDevices.getDisplayMedia(SCREEN_OPTIONS);
      this.#useScreen(stream.getVideoTracks()[0] ?? null, stream.getAudioTracks()[0] ?? null);
    });
  }

  closeScreen() {
    this.#useScreen(null, null);
    this.onChange();
  }

  /** @param {boolean} isMuted */
  setMuted(isMuted) {
    this.isMuted = isMuted;
    if (this.mic) this.mic.enabled = !isMuted;
    this.onChange();
  }

  /** A quality without pictures releases the camera, light and all. @param {Quality} quality @returns {Promise<string>} what went wrong */
  async setQuality(quality) {
    this.quality = quality;
    if (!PROFILES[quality].video) return this.#pauseCamera();
    await this.camera?.applyConstraints(cameraConstraints(quality)).catch((error) => console.warn('camera', error));
    if (this.#isCameraPaused) return this.#resumeCamera();
    this.onChange();
    return '';
  }

  #pauseCamera() {
    this.#isCameraPaused ||= this.camera !== null;
    this.closeCamera();
    this.closeScreen();
    return '';
  }

  #resumeCamera() {
    this.#isCameraPaused = false;
    return this.openCamera();
  }

  close() {
    for (const track of this.#captured) track?.stop();
    this.mic = this.camera = this.screen = this.#screenSound = null;
  }

  /** @returns {MediaTrackConstraints} */
  get #micConstraints() {
    return { ...exactly(this.micId), echoCancellation: true, noiseSuppression: true };
  }

  /** @returns {MediaTrackConstraints} */
  get #cameraConstraints() {
    return { ...exactly(this.cameraId), ...cameraConstraints(this.quality) };
  }

  /** @param {MediaStreamTrack | null} track */
  #useMic(track) {
    this.mic?.stop();
    this.mic = track;
    if (!track) return;
    track.enabled = !this.isMuted;
    this.#onEnd(track, () => (this.mic = null));
  }

  /** @param {MediaStreamTrack | null} track */
  #useCamera(track) {
    this.camera?.stop();
    this.camera = track;
    if (track) this.#onEnd(track, () => (this.camera = null));
  }

  /** @param {MediaStreamTrack | null} picture @param {MediaStreamTrack | null} sound */
  #useScreen(picture, sound) {
    for (const track of [this.screen, this.#screenSound]) track?.stop();
    this.screen = picture;
    this.#screenSound = sound;
    if (picture) picture.contentHint = 'detail';
    if (picture) this.#onEnd(picture, () => this.#useScreen(null, null));
    if (sound) this.#onEnd(sound, () => (this.#screenSound = null));
  }

  get #captured() {
    return [this.mic, this.camera, this.screen, this.#screenSound];
  }

  /** @param {Device} device @param {() => Promise<void>} open */
  async #attempt(device, open) {
    if (!this.isAvailable) return texts.media.insecure;
    try {
      await open();
      return '';
    } catch (error) {
      return explain(device, error);
    } finally {
      this.onChange();
    }
  }

  /** @param {MediaStreamTrack} track @param {() => void} forget */
  #onEnd(track, forget) {
    track.addEventListener('ended', () => {
      if (!this.#captured.includes(track)) return;
      forget();
      this.onChange();
    });
  }
}

// Of a tab, the sound of a film or a game, as it is. The sound of the whole system has the other members in it.
const SCREEN_OPTIONS = /** @type {DisplayMediaStreamOptions} */ ({
  video: true,
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  systemAudio: 'exclude',
});

/** @returns {Promise<MediaDeviceInfo[]>} */
export async function listDevices() {
  return (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
}

/** @param {MediaStreamConstraints} constraints */
async function captureOne(constraints) {
  const stream = await navigator.mediaDevices.getUserMedia(constraints);
  const track = stream.getTracks()[0];
  if (!track) throw new DOMException('no track', 'NotFoundError');
  return track;
}

// A remembered device may be unplugged today; then any other is better than none.
/** @param {string} id @returns {MediaTrackConstraints} */
function exactly(id) {
  return id ? { deviceId: { ideal: id } } : {};
}
