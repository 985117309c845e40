// @ts-check
// The playback buffer, a ring: audio that has arrived and was not played yet. It fills to a minimum, fades in, and
// fades out before it is empty. Audio that was still buffered at the emptiest moment of the last 1.5 s is delay that
// was not needed: if it exceeds the spare for the jitter of the network, audio is skipped, in a quiet moment if there
// is one, and always with a cross-fade. So there are no clicks, and the delay does not grow.
//
// All lengths are numbers of samples unless the name says otherwise.

/** Samples per second. */
export const RATE = 48_000;
const CAPACITY = RATE * 2;
const FADE = 240;
const CROSS_FADE = 480;
/** With more than this buffered, audio is skipped at once. */
const AHEAD_MAX = ms(300);
/** The buffer fills to `prefill` before it plays. Each gap in the sound raises it by a step. */
const PREFILL_STEP = ms(20);
const PREFILL_MAX = ms(200);
/** The range of the audio that should be buffered even at the emptiest moment, for the jitter of the network. */
const SPARE_MIN = ms(25);
const SPARE_MAX = ms(120);
/** With more than this beyond the spare, audio is skipped without waiting for a quiet moment. */
const EXCESS_MAX = ms(35);
/** The emptiest moment is measured within this time. */
const WINDOW = ms(1_500);
/** After this time without a gap, the prefill and the spare are reduced. */
const CALM = RATE * 10;
/** Root mean square, 0 to 1, below which a moment is quiet. */
const QUIET_RMS = 0.004;

export class Ring {
  #samples = new Float32Array(CAPACITY);
  #read = 0;
  #count = 0;
  #gain = 0;
  #isPlaying = false;
  /** The index of the next skipped sample that is faded out, and the samples that are left of the cross-fade. */
  #crossFrom = 0;
  #crossLeft = 0;
  /** Samples played since the last gap or reduction. */
  #calm = 0;
  #loudness = 0;
  #spare = SPARE_MIN;
  /** The fewest samples that were buffered within the window. */
  #least = Infinity;
  #windowLeft = WINDOW;
  /** Samples that were not needed within the last window. */
  #excess = 0;

  /** @param {number} prefillMs */
  constructor(prefillMs) {
    this.prefillMin = ms(prefillMs);
    this.prefill = this.prefillMin;
    /** Times that the buffer ran empty. */
    this.underruns = 0;
    this.skipped = 0;
  }

  /** Samples that wait. */
  get waiting() {
    return this.#count;
  }

  /** @param {Float32Array} samples */
  push(samples) {
    const fresh = samples.length > CAPACITY ? samples.subarray(-CAPACITY) : samples;
    const overflow = this.#count + fresh.length - CAPACITY;
    if (overflow > 0) this.#skip(overflow);
    const at = (this.#read + this.#count) % CAPACITY;
    const head = Math.min(fresh.length, CAPACITY - at);
    this.#samples.set(fresh.subarray(0, head), at);
    this.#samples.set(fresh.subarray(head), 0);
    this.#count += fresh.length;
  }

  /** @param {Float32Array} out  is filled, with silence if there is nothing else */
  pull(out) {
    if (!this.#isPlaying && this.#count >= this.prefill) this.#begin();
    this.#catchUp();
    for (let index = 0; index < out.length; index += 1) out[index] = this.#next();
    this.#observe(out);
  }

  #begin() {
    this.#isPlaying = true;
    this.#least = Infinity;
    this.#windowLeft = WINDOW;
    this.#excess = 0;
  }

  #next() {
    const isEnding = this.#count <= FADE;
    const wanted = this.#isPlaying && !isEnding ? 1 : 0;
    this.#gain += Math.max(-1 / FADE, Math.min(1 / FADE, wanted - this.#gain));
    if (this.#isPlaying && isEnding && (this.#count === 0 || this.#gain <= 0)) this.#ranDry();
    if (!this.#isPlaying) return 0;
    const sample = (this.#samples[this.#read] ?? 0) * this.#gain;
    const mixed = this.#crossLeft > 0 ? this.#cross(sample) : sample;
    this.#read = (this.#read + 1) % CAPACITY;
    this.#count -= 1;
    return mixed;
  }

  /** @param {number} sample */
  #cross(sample) {
    const share = this.#crossLeft / CROSS_FADE;
    const old = (this.#samples[this.#crossFrom] ?? 0) * this.#gain;
    this.#crossFrom = (this.#crossFrom + 1) % CAPACITY;
    this.#crossLeft -= 1;
    return old * share + sample * (1 - share);
  }

  #ranDry() {
    this.#isPlaying = false;
    this.#gain = 0;
    this.#crossLeft = 0;
    this.#calm = 0;
    this.underruns += 1;
    this.prefill = Math.min(PREFILL_MAX, this.prefill + PREFILL_STEP);
    this.#spare = Math.min(SPARE_MAX, this.#spare + PREFILL_STEP);
  }

  #catchUp() {
    if (!this.#isPlaying || this.#crossLeft > 0) return;
    if (this.#count > AHEAD_MAX) this.#skip(this.#count - this.prefill);
    else if (this.#excess > CROSS_FADE && this.#loudness < QUIET_RMS) this.#skip(CROSS_FADE);
    else if (this.#excess > EXCESS_MAX) this.#skip(this.#excess);
  }

  /** @param {number} count */
  #skip(count) {
    this.#crossFrom = this.#read;
    this.#crossLeft = this.#isPlaying ? CROSS_FADE : 0;
    this.#read = (this.#read + count) % CAPACITY;
    this.#count = Math.max(0, this.#count - count);
    this.#excess = Math.max(0, this.#excess - count);
    this.#least -= count;
    this.skipped += count;
  }

  /** @param {Float32Array} out */
  #observe(out) {
    this.#loudness = this.#loudness * 0.9 + rms(out) * 0.1;
    if (!this.#isPlaying) return;
    this.#least = Math.min(this.#least, this.#count);
    this.#windowLeft -= out.length;
    if (this.#windowLeft <= 0) this.#endWindow();
    this.#calm += out.length;
    if (this.#calm >= CALM) this.#relax();
  }

  #endWindow() {
    this.#excess = Math.max(0, this.#least - this.#spare);
    this.#least = Infinity;
    this.#windowLeft = WINDOW;
  }

  #relax() {
    this.#calm = 0;
    this.prefill = Math.max(this.prefillMin, this.prefill - PREFILL_STEP);
    this.#spare = Math.max(SPARE_MIN, this.#spare - PREFILL_STEP / 4);
  }
}

/** @param {ArrayLike<number>} samples */
export function rms(samples) {
  let power = 0;
  for (let index = 0; index < samples.length; index += 1) power += (samples[index] ?? 0) ** 2;
  return samples.length > 0 ? Math.sqrt(power / samples.length) : 0;
}

/** @param {number} milliseconds */
function ms(milliseconds) {
  return (milliseconds * RATE) / 1_000;
}
