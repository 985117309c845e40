// @ts-check
// The last seconds of a voice as a running picture, drawn live.

const BARS = 60;
const PERIOD_MS = 60;
const FLOOR_DB = -54;
const FALL = 0.7;

export class Meter {
  /** @type {number[]} */ #history = Array(BARS).fill(0);
  #level = 0;
  #last = 0;
  #frame = 0;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
  }

  /** @param {number} level  root mean square, 0 to 1 */
  show(level) {
    this.#level = Math.max(this.#level, loudness(level));
    this.canvas.dataset['level'] = level.toFixed(3);
  }

  start() {
    if (this.#frame === 0) this.#frame = requestAnimationFrame((now) => this.#draw(now));
  }

  stop() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#history.fill(0);
    this.#level = 0;
    this.canvas.dataset['level'] = '0';
  }

  /** @param {number} now */
  #draw(now) {
    this.#frame = requestAnimationFrame((next) => this.#draw(next));
    if (now - this.#last < PERIOD_MS) return;
    this.#last = now;
    this.#history.push(this.#level);
    this.#history.shift();
    this.#level *= FALL;
    this.#paint();
  }

  #paint() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round(canvas.clientHeight * scale);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext('2d');
    if (!pen) return;
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = getComputedStyle(canvas).color;
    const step = width / BARS;
    const thin = Math.max(1, step * 0.6);
    for (const [index, value] of this.#history.entries()) {
      const tall = Math.max(scale * 2, value * height);
      pen.globalAlpha = value > 0 ? 0.45 + 0.55 * (index / BARS) : 0.25;
      pen.fillRect(index * step, (height - tall) / 2, thin, tall);
    }
  }
}

/** The level on a logarithmic scale, like hearing. @param {number} level */
function loudness(level) {
  if (level <= 0) return 0;
  return Math.max(0, Math.min(1, 1 - (20 * Math.log10(level)) / FLOOR_DB));
}
