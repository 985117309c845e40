// @ts-check
// The way from one camera to the next. A phone lists several for each side: there the side is asked for, and the
// browser takes the main camera of it.

/**
 * Constraints for the camera after the current one, the best first.
 * @param {{facingMode?: string, deviceId?: string}} settings  of the camera in use
 * @param {MediaDeviceInfo[]} devices
 * @returns {MediaTrackConstraints[]}
 */
export function nextCameras({ facingMode, deviceId }, devices) {
  const cameras = devices.filter(({ kind }) => kind === 'videoinput');
  const index = cameras.findIndex((camera) => camera.deviceId === deviceId);
  const next = cameras[(index + 1) % cameras.length];
  const other = { user: 'environment', environment: 'user' }[facingMode ?? ''];
  const bySide = other ? [{ facingMode: { exact: other } }] : [];
  return [...bySide, ...(next ? [{ deviceId: { exact: next.deviceId } }] : [])];
}

/** People know themselves from a mirror; the picture of a rear camera is shown as it is. @param {MediaStreamTrack | null} camera */
export function isMirrored(camera) {
  return camera !== null && camera.getSettings().facingMode !== 'environment';
}
