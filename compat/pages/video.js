/** The camera is sent in every call, and the picture of every peer is shown on the page. */

export const camera = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 240, frameRate: 15 } });

/** @param {string} id @param {MediaStream} stream */
export function show(id, stream) {
  const video = document.createElement('video');
  Object.assign(video, { id: `peer-${id}`, srcObject: stream, autoplay: true, muted: true, playsInline: true, width: 320, height: 240 });
  pictureOf(id)?.remove();
  document.body.append(video);
}

/** @param {string} id */
function pictureOf(id) {
  return /** @type {HTMLVideoElement | null} */ (document.getElementById(`peer-${id}`));
}

show('me', camera);

/** @type {import('./calls.js').Medium} */
export const video = {
  equip(pc, id) {
    for (const track of camera.getTracks()) pc.addTrack(track, camera);
    pc.ontrack = ({ track, streams }) => track.kind === 'video' && show(id, streams[0] ?? new MediaStream([track]));
  },
  watch(id) {
    const picture = pictureOf(id);
    return { videoWidth: picture?.videoWidth ?? 0, frames: picture?.getVideoPlaybackQuality().totalVideoFrames ?? 0 };
  },
  forget(id) {
    pictureOf(id)?.remove();
  },
};
