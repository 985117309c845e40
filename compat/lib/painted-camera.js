/**
 * Runs in a page before its own scripts: its camera shows a painted person, another one for each `?name=`, so that a
 * screenshot of a call looks like a call. The sound is that of the fake device.
 */
export function paintCamera() {
  const WIDTH = 640;
  const HEIGHT = 480;
  const { scale, framesPerSecond } = window.paintedCamera ?? { scale: 1, framesPerSecond: 15 };
  const name = new URLSearchParams(location.search).get('name') ?? '';
  const seed = [...name].reduce((sum, letter) => sum * 17 + letter.charCodeAt(0), 7);
  /** @param {number} index @param {number} count */
  const pick = (index, count) => Math.floor(seed / 7 ** index) % count;
  const wall = pick(1, 360);
  const shirt = (wall + 120 + pick(2, 120)) % 360;
  const skin = ['#f1c9a5', '#c98e62', '#8a5a3b', '#e3ad86'][pick(3, 4)];
  const hair = ['#2b1d14', '#6b4423', '#b8863b', '#8d8d93'][pick(4, 4)];

  /** @param {CanvasRenderingContext2D} brush @param {string} colour @param {number[]} ellipse x, y, width, height */
  function ellipse(brush, colour, [x, y, width, height]) {
    brush.fillStyle = colour;
    brush.beginPath();
    brush.ellipse(x, y, width / 2, height / 2, 0, 0, 2 * Math.PI);
    brush.fill();
  }

  /** @param {CanvasRenderingContext2D} brush */
  function paintRoom(brush) {
    const light = brush.createLinearGradient(0, 0, WIDTH, HEIGHT);
    light.addColorStop(0, `hsl(${wall} 35% 72%)`);
    light.addColorStop(1, `hsl(${wall} 30% 42%)`);
    brush.fillStyle = light;
    brush.fillRect(0, 0, WIDTH, HEIGHT);
    brush.fillStyle = `hsl(${(wall + 40) % 360} 60% 88%)`;
    brush.fillRect(50, 50, 130, 170);
    brush.fillStyle = `hsl(${wall} 25% 34%)`;
    for (const [x, height] of [[490, 90], [515, 120], [545, 100], [572, 130]]) brush.fillRect(x, 190 - height, 20, height);
    brush.fillRect(470, 190, 140, 8);
  }

  /** @param {CanvasRenderingContext2D} brush @param {number} seconds */
  function paintPerson(brush, seconds) {
    const x = WIDTH / 2 + 14 * Math.sin(seconds * 0.9 + pick(5, 6));
    const y = 235 + 4 * Math.sin(seconds * 2.1);
    const isBlinking = seconds % 4 < 0.15;
    const mouth = 8 + 8 * Math.abs(Math.sin(seconds * 5));
    ellipse(brush, hair, [x, y - 25, 196, 220]);
    ellipse(brush, `hsl(${shirt} 45% 40%)`, [x, HEIGHT + 20, 400, 270]);
    brush.fillStyle = skin;
    brush.fillRect(x - 30, y + 70, 60, 70);
    ellipse(brush, skin, [x, y, 160, 205]);
    ellipse(brush, hair, [x, y - 88, 150, 60]);
    for (const side of [-1, 1]) ellipse(brush, '#2a2a2e', [x + side * 36, y - 12, 18, isBlinking ? 3 : 18]);
    ellipse(brush, '#8c3f3f', [x, y + 52, 46, mouth]);
  }

  function openPaintedCamera() {
    const canvas = Object.assign(document.createElement('canvas'), { width: WIDTH * scale, height: HEIGHT * scale });
    const brush = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    brush.scale(scale, scale);
    setInterval(() => {
      paintRoom(brush);
      paintPerson(brush, performance.now() / 1000);
    }, 1000 / framesPerSecond);
    const [track] = canvas.captureStream(framesPerSecond).getVideoTracks();
    // Firefox refuses to apply constraints to a canvas.
    return Object.assign(track, { applyConstraints: async () => {} });
  }

  const native = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints = {}) => {
    const sound = constraints.audio ? await native({ audio: constraints.audio }) : new MediaStream();
    return new MediaStream([...sound.getTracks(), ...(constraints.video ? [openPaintedCamera()] : [])]);
  };
}

/** Runs in a page before `paintCamera`: six members encode thirty videos, so each is small and slow. */
export function paintForMany() {
  window.paintedCamera = { scale: 0.5, framesPerSecond: 6 };
}
