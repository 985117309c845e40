/** Each runs in a page before its own scripts. */

/** The microphone is silent until `window.talk(true)`, and has a tone from then on. */
export function withMicrophoneByHand() {
  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  /** @type {GainNode[]} */
  const gains = [];
  window.talk = (isTalking) => gains.forEach((gain) => (gain.gain.value = isTalking ? 0.3 : 0));

  function openMicrophone() {
    const context = new AudioContext();
    const gain = context.createGain();
    const tone = context.createOscillator();
    const microphone = context.createMediaStreamDestination();
    gain.gain.value = 0;
    tone.frequency.value = 300;
    tone.connect(gain).connect(microphone);
    tone.start();
    gains.push(gain);
    return microphone.stream.getAudioTracks();
  }

  navigator.mediaDevices.getUserMedia = async (constraints = {}) => {
    const picture = constraints.video ? await native({ video: constraints.video }) : new MediaStream();
    return new MediaStream([...picture.getTracks(), ...(constraints.audio ? openMicrophone() : [])]);
  };
}

/** The screen is a painted one, with a tone of 1 kHz where `hasSound`: `window.stopSharing()` ends it as the browser's own button does. */
export function withScreenThatSounds() {
  navigator.mediaDevices.getDisplayMedia = async (options) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
    const brush = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    let count = 0;
    const painting = setInterval(() => {
      brush.fillStyle = '#fff';
      brush.fillRect(0, 0, 1280, 720);
      brush.fillStyle = '#223';
      brush.font = '60px sans-serif';
      brush.fillText(`Slide ${(count += 1)}`, 100, 200);
    }, 100);
    const context = new AudioContext();
    const tone = context.createOscillator();
    const sound = context.createMediaStreamDestination();
    tone.frequency.value = 1_000;
    tone.connect(sound);
    tone.start();
    const stream = canvas.captureStream(10);
    if (options?.audio) sound.stream.getTracks().forEach((track) => stream.addTrack(track));
    window.shared = stream.getTracks();
    window.stopSharing = () => {
      clearInterval(painting);
      for (const track of stream.getTracks()) {
        track.stop();
        track.dispatchEvent(new Event('ended'));
      }
    };
    return stream;
  };
}

/** The browser grants wake locks: `window.wakeLocks` holds those that are not released. */
export function withWakeLocks() {
  window.wakeLocks = new Set();
  const request = async () => {
    const sentinel = Object.assign(new EventTarget(), {
      released: false,
      type: 'screen',
      onrelease: null,
      release: async () => {
        sentinel.released = true;
        window.wakeLocks.delete(sentinel);
      },
    });
    window.wakeLocks.add(sentinel);
    return sentinel;
  };
  Object.defineProperty(navigator, 'wakeLock', { value: { request }, configurable: true });
}
