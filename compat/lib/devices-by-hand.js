/** Devices that a test controls. Each function runs in a page before its own scripts. */

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

/** The screen is a painted one, with a tone of 1 kHz if the page asks for audio. `window.stopSharing()` ends it as the browser's own button does. */
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

/** Every track of sound that the page receives is analysed, whether it plays it or not: `window.levelsAt(hz)`, in dB. */
export function collectSound() {
  /** @type {AnalyserNode[]} */
  const analysers = [];
  window.levelsAt = (hz) => analysers.map((analyser) => {
    const bins = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(bins);
    return bins[Math.round((hz * analyser.fftSize) / analyser.context.sampleRate)] ?? -Infinity;
  });

  /** @param {MediaStreamTrack} track */
  function analyse(track) {
    const stream = new MediaStream([track]);
    // A track that no element plays gives no samples.
    Object.assign(new Audio(), { srcObject: stream, muted: true, autoplay: true });
    const context = new AudioContext();
    const analyser = Object.assign(context.createAnalyser(), { fftSize: 4096 });
    context.createMediaStreamSource(stream).connect(analyser);
    analysers.push(analyser);
  }

  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    /** @param {RTCConfiguration} [configuration] */
    constructor(configuration) {
      super(configuration);
      this.addEventListener('track', ({ track }) => track.kind === 'audio' && analyse(track));
    }
  };
}
