/** Unmodified clients in rooms of many: npm `y-webrtc` and npm `peerjs`, against us and against their own servers. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { ORIGINAL_ABSENT, startPeerServer, startYWebrtcServer } from '../lib/original.js';
import { stage, startOneNode } from '../lib/stage.js';
import { YWebrtcClient } from '../lib/y-webrtc-node.js';

const CALLED = 45;
const CANDIDATES_OF_A_CALL = 9;
const CLIENTS = 60;
const CANDIDATES = 7;
const COMPLETE_WITHIN_MS = 60_000;
const POLL_MS = 50;

/** `narrows`: a signal goes to the one client that it names, and not to the whole topic. */
const Y_SERVERS = [
  { name: 'ours', open: startOneNode, path: '/y-webrtc', narrows: true, absent: /** @type {string | false} */ (false) },
  { name: 'the original', open: startYWebrtcServer, path: '/', narrows: false, absent: ORIGINAL_ABSENT },
];

for (const { name, open, path, narrows, absent } of Y_SERVERS) {
  test(`y-webrtc, ${name}: ${CLIENTS} clients of one topic signal with each other`, { skip: absent }, async () => {
    /** @type {import('../lib/stage.js').Closers} */
    const closers = [];
    const [{ socketOrigin }] = await open(closers);
    /** @type {YWebrtcClient[]} */
    const clients = [];
    try {
      while (clients.length < CLIENTS) clients.push(await YWebrtcClient.join(socketOrigin + path, 'lecture', CANDIDATES));
      await allSignalled(clients);
      assert.deepEqual(clients.map(({ closes }) => closes), clients.map(() => 0), 'closed connections');
      const strays = clients.reduce((sum, { framesForOthers }) => sum + framesForOthers, 0);
      assert.equal(strays === 0, narrows, `${strays} frames name another client than the one that got them`);
    } finally {
      for (const client of clients) client.stop();
      for (const close of closers) await close();
    }
  });
}

/** Each client has exchanged its descriptions and candidates with every other one. @param {YWebrtcClient[]} clients */
async function allSignalled(clients) {
  const deadline = Date.now() + COMPLETE_WITHIN_MS;
  const counts = () => clients.map(({ peers }) => peers.length);
  while (counts().some((count) => count < clients.length - 1) && Date.now() < deadline) await delay(POLL_MS);
  const ids = clients.map(({ id }) => id).sort();
  for (const { id, peers } of clients) assert.deepEqual([id, ...peers].sort(), ids, `clients signalled with: ${counts()}`);
}

const PEERJS_SERVERS = [
  { name: 'ours', open: startOneNode, absent: /** @type {string | false} */ (false) },
  { name: 'the original', open: startPeerServer, absent: ORIGINAL_ABSENT },
];

for (const { name, open, absent } of PEERJS_SERVERS) {
  describe(`peerjs in a large room, ${name}`, () => {
    const scene = stage({ open, absent, prepare: trickleNine });

    scene(`peerjs, ${name}: a page calls ${CALLED} peers that are there`, async (scene) => {
      const students = await Promise.all(Array.from({ length: CALLED }, (_, number) => Student.join(scene.server.socketOrigin, `student-${number}`)));
      scene.closers.push(async () => students.forEach(({ socket }) => socket.terminate()));
      const teacher = await scene.join('peerjs', { id: 'teacher' });
      await teacher.page.evaluate((ids) => ids.forEach((id) => window.call(id)), students.map(({ id }) => id));
      const all = Promise.all(students.map((student) => student.isCalled)).then(() => true);
      const isComplete = await Promise.race([all, delay(COMPLETE_WITHIN_MS, false, { ref: false })]);
      assert.ok(isComplete, `frames delivered: ${students.map(({ frames }) => frames.length)}`);
      for (const { frames } of students) assert.deepEqual(frames, ['OFFER', ...Array(CANDIDATES_OF_A_CALL).fill('CANDIDATE')]);
      assert.deepEqual((await teacher.state()).events, ['open'], 'the page is still connected');
    });
  });
}

/** A client of PeerJS that answers no call. */
class Student {
  /** Types of the frames from the page. @type {string[]} */
  frames = [];

  /** @param {string} origin @param {string} id */
  static async join(origin, id) {
    const student = new Student(id, new WebSocket(`${origin}/peerjs?key=peerjs&id=${id}&token=t`));
    await once(student.socket, 'message');
    return student;
  }

  /** @param {string} id @param {WebSocket} socket */
  constructor(id, socket) {
    this.id = id;
    this.socket = socket;
    this.isCalled = new Promise((resolve) => {
      socket.on('message', (data) => {
        const { type, src } = JSON.parse(String(data));
        if (src === 'teacher') this.frames.push(type);
        if (this.frames.length > CANDIDATES_OF_A_CALL) resolve(undefined);
      });
    });
  }
}

/** Runs in a page before its own scripts: each connection has nine candidates, however many addresses the machine has. */
function trickleNine() {
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(/** @type {any[]} */ ...parameters) {
      super(...parameters);
      this.addEventListener('icecandidate', (event) => event.isTrusted && event.stopImmediatePropagation());
    }

    /** @param {any[]} parameters */
    async setLocalDescription(...parameters) {
      await super.setLocalDescription(...parameters);
      for (let number = 0; number < 9; number++) setTimeout(() => this.#tell(`candidate:${number} 1 udp 2113937151 127.0.0.1 ${50_000 + number} typ host`));
    }

    /** @param {string} text */
    #tell(text) {
      const candidate = new RTCIceCandidate({ candidate: text, sdpMid: '0', sdpMLineIndex: 0 });
      this.dispatchEvent(new RTCPeerConnectionIceEvent('icecandidate', { candidate }));
    }
  };
}
