// @ts-check
// Selects the next camera. A phone lists several cameras for its front and its back: there the other side is requested,
// and the browser selects the main camera of that side.

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

/** Whether the own picture is mirrored, as users expect of a front camera; that of a rear camera is not. @param {MediaStreamTrack | null} camera */
export function isMirrored(camera) {
  return camera !== null && camera.getSettings().facingMode !== 'environment';
}
