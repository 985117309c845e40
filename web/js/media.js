// @ts-check
// The captured microphone, camera and screen. A camera that is off is released, so that its light goes out. A muted
// microphone stays open, so that unmuting is instant. Each failure becomes a sentence with the next step.

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
  /** Whether the camera was on when the quality "Audio only" stopped it; a higher quality opens it again. */
  #isCameraPaused = false;
  micId = '';
  cameraId = '';
  speakerId = '';
  /** The number of requests and releases of each device: the result of an older request is discarded. @type {Record<Device, number>} */
  #requests = { microphone: 0, camera: 0, screen: 0 };
  #isCameraOpening = false;

  /** @param {() => void} onChange  a capture began, ended or was switched @param {(words: string) => void} onLost  a device has stopped */
  constructor(onChange, onLost) {
    this.onChange = onChange;
    this.onLost = onLost;
  }

  get isAvailable() {
    return Boolean(navigator.mediaDevices);
  }

  /** Whether to offer screen sharing: phones cannot. An insecure page offers it, to explain the problem. */
  get canShareScreen() {
    return !this.isAvailable || Boolean(navigator.mediaDevices.getDisplayMedia);
  }

  /** The tracks that the other members should receive. @returns {Tracks} */
  get tracks() {
    const video = PROFILES[this.quality].video ? (this.screen ?? this.camera) : null;
    return { audio: this.#mix.trackOf(this.mic, this.#screenSound), video };
  }

  /** The media state that is sent to the other members. @returns {import('./peer.js').MediaState} */
  get state() {
    const { video } = this.tracks;
    const shown = video === null ? 'off' : video === this.screen ? 'screen' : 'camera';
    return { isMuted: this.isMuted || this.mic === null, video: shown };
  }

  /** @returns {Promise<string>} the error text; empty on success */
  async openMic() {
    const capture = async () => [await captureOne({ audio: this.#micConstraints })];
    return this.#attempt('microphone', capture, ([mic]) => this.#useMic(mic ?? null));
  }

  async openCamera() {
    const capture = async () => [await this.#captureCamera(exactly(this.cameraId))];
    return this.#attempt('camera', capture, ([camera]) => this.#useCamera(camera ?? null));
  }

  /** Requests both devices with one prompt, and uses the ones that exist. @returns {Promise<string>} the error text */
  async openBoth() {
    if (!this.isAvailable) return texts.media.insecure;
    const isMicWanted = this.#request('microphone');
    const isCameraWanted = this.#request('camera');
    try {
      const constraints = { audio: this.#micConstraints, video: this.#cameraConstraints };
      const stream = await navigator.mediaDevices.getUserMedia(constraints);
      useOrStop(isMicWanted(), stream.getAudioTracks(), ([mic]) => this.#useMic(mic ?? null));
      useOrStop(isCameraWanted(), stream.getVideoTracks(), ([camera]) => this.#useCamera(camera ?? null));
      this.onChange();
      return '';
    } catch {
      return explainBoth(isMicWanted() ? await this.openMic() : '', isCameraWanted() ? await this.openCamera() : '');
    }
  }

  /** Switches to the next camera. @returns {Promise<string>} the error text */
  async switchCamera() {
    const former = this.camera;
    const candidates = nextCameras(former?.getSettings() ?? {}, await listDevices());
    // A phone opens one camera at a time.
    former?.stop();
    for (const constraints of candidates) {
      const camera = await this.#captureCamera(constraints).catch(() => null);
      if (!camera) continue;
      if (this.camera !== former) {
        camera.stop();
        return '';
      }
      this.cameraId = camera.getSettings().deviceId ?? '';
      this.#useCamera(camera);
      this.onChange();
      return '';
    }
    if (this.camera !== former) return '';
    this.camera = null;
    return this.openCamera();
  }

  closeCamera() {
    this.#giveUp('camera');
    this.camera?.stop();
    this.camera = null;
    this.onChange();
  }

  async openScreen() {
    if (!navigator.mediaDevices?.getDisplayMedia) return texts.media.noScreenSharing;
    const capture = async () => (await navigator.mediaDevices.getDisplayMedia(SCREEN_OPTIONS)).getTracks();
    const ofKind = (/** @type {MediaStreamTrack[]} */ tracks, /** @type {string} */ kind) => tracks.find((track) => track.kind === kind) ?? null;
    return this.#attempt('screen', capture, (tracks) => this.#useScreen(ofKind(tracks, 'video'), ofKind(tracks, 'audio')));
  }

  closeScreen() {
    this.#giveUp('screen');
    this.#useScreen(null, null);
    this.onChange();
  }

  /** @param {boolean} isMuted */
  setMuted(isMuted) {
    this.isMuted = isMuted;
    if (this.mic) this.mic.enabled = !isMuted;
    this.onChange();
  }

  /** Sets the quality. A quality without pictures releases the camera. @param {Quality} quality @returns {Promise<string>} the error text */
  async setQuality(quality) {
    this.quality = quality;
    if (!PROFILES[quality].video) return this.#pauseCamera();
    await this.camera?.applyConstraints(cameraConstraints(quality)).catch((error) => console.warn('camera', error));
    if (this.#isCameraPaused) return this.#resumeCamera();
    this.onChange();
    return '';
  }

  #pauseCamera() {
    this.#isCameraPaused ||= this.camera !== null || this.#isCameraOpening;
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

  /** Captures a camera within the limits of the quality that is set when the camera has started. @param {MediaTrackConstraints} choice */
  async #captureCamera(choice) {
    const { quality } = this;
    const camera = await captureOne({ video: { ...cameraConstraints(quality), ...choice } });
    if (quality !== this.quality) await camera.applyConstraints(cameraConstraints(this.quality)).catch((error) => console.info('camera', error));
    return camera;
  }

  /** @param {MediaStreamTrack | null} track */
  #useMic(track) {
    this.mic?.stop();
    this.mic = track;
    if (!track) return;
    track.enabled = !this.isMuted;
    this.#onEnd(track, () => (this.mic = null), texts.media.microphone.lost);
  }

  /** @param {MediaStreamTrack | null} track */
  #useCamera(track) {
    this.camera?.stop();
    this.camera = track;
    this.#isCameraOpening = false;
    if (track) this.#onEnd(track, () => (this.camera = null), texts.media.camera.lost);
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

  /** @param {Device} device @param {() => Promise<MediaStreamTrack[]>} capture @param {(tracks: MediaStreamTrack[]) => void} use */
  async #attempt(device, capture, use) {
    if (!this.isAvailable) return texts.media.insecure;
    const isWanted = this.#request(device);
    try {
      const tracks = await capture();
      useOrStop(isWanted(), tracks, use);
      return '';
    } catch (error) {
      return isWanted() ? explain(device, error) : '';
    } finally {
      if (device === 'camera' && isWanted()) this.#isCameraOpening = false;
      this.onChange();
    }
  }

  /** @param {Device} device @returns {() => boolean}  whether the device has neither been asked for again nor been given up since */
  #request(device) {
    const request = (this.#requests[device] += 1);
    if (device === 'camera') this.#isCameraOpening = true;
    return () => this.#requests[device] === request;
  }

  /** Discards the device that is being opened. @param {Device} device */
  #giveUp(device) {
    this.#requests[device] += 1;
    if (device === 'camera') this.#isCameraOpening = false;
  }

  /** @param {MediaStreamTrack} track @param {() => void} forget @param {string} [words]  of the loss of a device */
  #onEnd(track, forget, words = '') {
    track.addEventListener('ended', () => {
      if (!this.#captured.includes(track)) return;
      forget();
      this.onChange();
      if (words) this.onLost(words);
    });
  }
}

/** @param {boolean} isWanted @param {MediaStreamTrack[]} tracks @param {(tracks: MediaStreamTrack[]) => void} use */
function useOrStop(isWanted, tracks, use) {
  if (isWanted) use(tracks);
  else for (const track of tracks) track.stop();
}

// The unprocessed sound of a tab, such as a film or a game. The sound of the whole system would contain the other
// members.
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

// A stored device may be unplugged; then another device is used.
/** @param {string} id @returns {MediaTrackConstraints} */
function exactly(id) {
  return id ? { deviceId: { ideal: id } } : {};
}
