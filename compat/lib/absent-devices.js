/** Device faults. Each function runs in a page before its own scripts. */

/** There is no camera. */
export function withoutCamera() {
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints = {}) => {
    if (constraints.video) throw new DOMException('Requested device not found', 'NotFoundError');
    return native(constraints);
  };
}

/** There is no microphone. */
export function withoutMicrophone() {
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints = {}) => {
    if (constraints.audio) throw new DOMException('Requested device not found', 'NotFoundError');
    return native(constraints);
  };
}

/** There is no camera and no microphone. */
export function withoutDevices() {
  navigator.mediaDevices.getUserMedia = async () => {
    throw new DOMException('Requested device not found', 'NotFoundError');
  };
}

/** The microphone is on and gives digital silence. */
export function withSilentMicrophone() {
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints = {}) => {
    const picture = constraints.video ? await native({ video: constraints.video }) : new MediaStream();
    const silence = new AudioContext().createMediaStreamDestination().stream;
    return new MediaStream([...picture.getTracks(), ...(constraints.audio ? silence.getTracks() : [])]);
  };
}
