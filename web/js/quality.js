// @ts-check
// The limits of each quality. They are applied to the camera, to the senders, and, by the bandwidth lines of a session
// description, to the peers that send to this page.

/** @typedef {'normal' | 'low' | 'audio'} Quality */
/**
 * @typedef {object} Profile
 * @property {boolean} video
 * @property {{width: number, height: number, frameRate: number}} camera
 * @property {number} screenFrameRate
 * @property {number} videoBitrate  bit/s
 * @property {number | null} audioBitrate  bit/s; null leaves it to the codec
 * @property {boolean} asksLess  whether peers are asked to send within the same limits
 */

/** @type {Record<Quality, Profile>} */
export const PROFILES = {
  normal: {
    video: true,
    camera: { width: 640, height: 480, frameRate: 30 },
    screenFrameRate: 15,
    videoBitrate: 1_000_000,
    audioBitrate: null,
    asksLess: false,
  },
  low: {
    video: true,
    camera: { width: 320, height: 240, frameRate: 12 },
    screenFrameRate: 5,
    videoBitrate: 150_000,
    audioBitrate: 24_000,
    asksLess: true,
  },
  audio: {
    video: false,
    camera: { width: 320, height: 240, frameRate: 12 },
    screenFrameRate: 5,
    videoBitrate: 150_000,
    audioBitrate: 24_000,
    asksLess: true,
  },
};

const SET_ATTEMPTS = 5;
const DESCENDING = /** @type {const} */ (['normal', 'low', 'audio']);

/** Bits per second of all pictures together that a page sends, for any number of members. */
const VIDEO_BITRATE_TOTAL = 2_000_000;
const VIDEO_BITRATE_MIN = 100_000;

/** The bit rate of the picture to each of a number of other members. @param {Quality} quality @param {number} others */
export function videoBitrate(quality, others) {
  const share = Math.max(VIDEO_BITRATE_MIN, Math.floor(VIDEO_BITRATE_TOTAL / Math.max(1, others)));
  return Math.min(PROFILES[quality].videoBitrate, share);
}

/** Reduces the resolution, because a small picture is better than a coarse one. @param {Quality} quality @param {number} others */
function scaleDown(quality, others) {
  const ratio = PROFILES[quality].videoBitrate / videoBitrate(quality, others);
  return ratio < 2 ? 1 : ratio < 4 ? 1.5 : 2;
}

/** @param {unknown} value @returns {Quality} */
export function qualityOf(value) {
  return DESCENDING.find((quality) => quality === value) ?? 'normal';
}

/** @param {Quality} one @param {Quality} other */
export function lower(one, other) {
  return DESCENDING.indexOf(one) > DESCENDING.indexOf(other) ? one : other;
}

/** @param {Quality} quality @returns {MediaTrackConstraints} */
export function cameraConstraints(quality) {
  const { width, height, frameRate } = PROFILES[quality].camera;
  return { width: { ideal: width }, height: { ideal: height }, frameRate: { ideal: frameRate, max: frameRate } };
}

/**
 * Sets the limits of a sender. If a session description is applied between reading and setting its parameters, the
 * parameters are outdated and are read again.
 * @param {RTCRtpSender} sender
 * @param {string} kind
 * @param {Quality} quality
 * @param {number} others  how many members get a picture of their own
 */
export async function limitSender(sender, kind, quality, others) {
  for (let attempt = 0; attempt < SET_ATTEMPTS; attempt += 1) {
    const parameters = limited(sender, kind, quality, others);
    if (!parameters) return;
    const error = await sender.setParameters(parameters).then(() => null, (reason) => reason);
    if (!error) return;
    if (error.name !== 'InvalidModificationError') return console.warn('setParameters', error);
    await new Promise((resolve) => setTimeout(resolve));
  }
  console.warn('setParameters: descriptions change too fast; the limit is set with the next one');
}

/** Whether the sender is set to send nothing. @param {RTCRtpSender} sender */
export function isPaused(sender) {
  return sender.getParameters().encodings?.[0]?.active === false;
}

/** @param {RTCRtpSender} sender @param {string} kind @param {Quality} quality @param {number} others */
function limited(sender, kind, quality, others) {
  const parameters = sender.getParameters();
  const encoding = parameters.encodings?.[0];
  if (!encoding) return null;
  const profile = PROFILES[quality];
  if (kind === 'video') limitVideo(encoding, sender.track, quality, others);
  else setOrDelete(encoding, 'maxBitrate', profile.audioBitrate);
  return parameters;
}

/** @param {RTCRtpEncodingParameters} encoding @param {MediaStreamTrack | null} track @param {Quality} quality @param {number} others */
function limitVideo(encoding, track, quality, others) {
  const profile = PROFILES[quality];
  const isScreen = track?.contentHint === 'detail';
  // Without a track Firefox sends the last picture again every second.
  encoding.active = track !== null;
  setOrDelete(encoding, 'maxBitrate', videoBitrate(quality, others));
  // A shared screen must stay legible.
  setOrDelete(encoding, 'scaleResolutionDownBy', isScreen ? 1 : scaleDown(quality, others));
  setOrDelete(encoding, 'maxFramerate', isScreen ? profile.screenFrameRate : profile.camera.frameRate);
}

/**
 * @param {RTCRtpEncodingParameters} encoding
 * @param {'maxBitrate' | 'maxFramerate' | 'scaleResolutionDownBy'} key
 * @param {number | null} value
 */
function setOrDelete(encoding, key, value) {
  if (value === null) delete encoding[key];
  else encoding[key] = value;
}

/** Adds RFC 4566 / RFC 3890 bandwidth lines to each media section. @param {string} sdp @param {Quality} quality */
export function askForLess(sdp, quality) {
  const profile = PROFILES[quality];
  if (!profile.asksLess) return sdp;
  const limits = { video: profile.videoBitrate, audio: profile.audioBitrate ?? 0 };
  return sdp.replace(/^m=(audio|video) .*\r\n(?:i=.*\r\n)?(?:c=.*\r\n)?/gm, (section, kind) => {
    const limit = limits[/** @type {'audio' | 'video'} */ (kind)];
    return `${section}b=AS:${Math.ceil(limit / 1000)}\r\nb=TIAS:${limit}\r\n`;
  });
}
