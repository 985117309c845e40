// @ts-check
// Detects which members speak, from the loudness of each stream. Browsers suspend an audio context until the user has
// touched the page, so it is resumed on the first touch or key.

const PERIOD_MS = 100;
/** A member counts as speaking for so long after it was loud, so that short pauses do not show. */
const HOLD_MS = 500;
/** Root mean square of the samples, 0 to 1, above which a member is loud. */
const LOUD_RMS = 0.02;

export class SpeakingDetector {
  #context = new AudioContext();
  /** @type {Map<string, {analyser: AnalyserNode, source: MediaStreamAudioSourceNode, until: number}>} */ #watched = new Map();

  /** @param {(key: string, isSpeaking: boolean) => void} onSpeaking */
  constructor(onSpeaking) {
    this.onSpeaking = onSpeaking;
    this.wake = () => this.#context.resume().catch(() => {});
    addEventListener('pointerdown', this.wake);
    addEventListener('keydown', this.wake);
    this.timer = setInterval(() => this.#listen(), PERIOD_MS);
    this.wake();
  }

  /** @param {string} key @param {MediaStreamTrack | null | undefined} track */
  watch(key, track) {
    this.unwatch(key);
    if (!track) return;
    const source = this.#context.createMediaStreamSource(new MediaStream([track]));
    const analyser = this.#context.createAnalyser();
    analyser.fftSize = 512;
    source.connect(analyser);
    this.#watched.set(key, { analyser, source, until: 0 });
  }

  /** @param {string} key */
  unwatch(key) {
    this.#watched.get(key)?.source.disconnect();
    if (this.#watched.delete(key)) this.onSpeaking(key, false);
  }

  close() {
    clearInterval(this.timer);
    removeEventListener('pointerdown', this.wake);
    removeEventListener('keydown', this.wake);
    this.#context.close();
  }

  #listen() {
    const now = performance.now();
    for (const [key, member] of this.#watched) {
      if (loudness(member.analyser) > LOUD_RMS) member.until = now + HOLD_MS;
      this.onSpeaking(key, now < member.until);
    }
  }
}

/** @param {AnalyserNode} analyser */
function loudness(analyser) {
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0);
  return Math.sqrt(power / samples.length);
}
