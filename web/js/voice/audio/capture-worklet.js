// @ts-check
// The microphone's samples, gathered into frames of signed 16-bit little-endian PCM.

const { AudioWorkletProcessor, registerProcessor } = /** @type {any} */ (globalThis);
/** 20 ms at 48 kHz. */
const FRAME_SAMPLES = 960;

class Capture extends AudioWorkletProcessor {
  frame = newFrame();
  count = 0;
  /** Sum of the squared samples of the frame. */
  power = 0;
  isOpen = true;

  constructor() {
    super();
    this.port.onmessage = () => (this.isOpen = false);
  }

  /** @param {Float32Array[][]} inputs */
  process(inputs) {
    const channels = inputs[0] ?? [];
    const length = channels[0]?.length ?? 0;
    for (let index = 0; index < length; index += 1) {
      const sum = channels.reduce((total, channel) => total + (channel[index] ?? 0), 0);
      this.add(sum / channels.length);
    }
    return this.isOpen;
  }

  /** @param {number} sample */
  add(sample) {
    const bounded = Math.max(-1, Math.min(1, sample));
    this.frame.setInt16(this.count * 2, Math.round(bounded * 32_767), true);
    this.power += bounded * bounded;
    this.count += 1;
    if (this.count === FRAME_SAMPLES) this.send();
  }

  send() {
    const { buffer } = this.frame;
    this.port.postMessage({ pcm: buffer, level: Math.sqrt(this.power / FRAME_SAMPLES) }, [buffer]);
    this.frame = newFrame();
    this.count = 0;
    this.power = 0;
  }
}

function newFrame() {
  return new DataView(new ArrayBuffer(FRAME_SAMPLES * 2));
}

registerProcessor('switchboard-capture', Capture);
