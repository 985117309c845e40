/** Parts of the call page that need no browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ActiveSpeaker } from '../../web/js/active-speaker.js';
import { nextCameras } from '../../web/js/cameras.js';
import { ConnectionDetails } from '../../web/js/connection-details.js';
import { mistakes, newConnection, typedServers } from '../../web/js/ice.js';
import { isOnlyHere } from '../../web/js/links.js';
import { explainBoth } from '../../web/js/media-problems.js';
import { Negotiation } from '../../web/js/negotiation.js';
import { RateLimit, Throttle } from '../../web/js/throttle.js';
import { texts } from '../../web/js/texts.js';
import { WakeLock } from '../../web/js/wake-lock.js';
import { setGlobal } from '../lib/set-global.js';

/** Every 100 ms, as the detector of the page reports it. @param {ActiveSpeaker} speaker @param {number} from @param {number} until @param {string[]} talking */
function conversation(speaker, from, until, talking) {
  const changes = [];
  for (let now = from; now < until; now += 100) {
    for (const id of ['ada', 'grace']) if (speaker.hear(id, talking.includes(id), now)) changes.push(speaker.current);
  }
  return changes;
}

test('a member that talks becomes the active speaker, one that only coughs does not', () => {
  const speaker = new ActiveSpeaker();
  assert.deepEqual(conversation(speaker, 0, 600, ['ada']), []);
  assert.deepEqual(conversation(speaker, 600, 1_000, []), []);
  assert.deepEqual(conversation(speaker, 1_000, 3_000, ['ada']), ['ada']);
});

test('the active speaker keeps the place in a pause and against an interruption', () => {
  const speaker = new ActiveSpeaker();
  conversation(speaker, 0, 5_000, ['ada']);
  assert.deepEqual(conversation(speaker, 5_000, 20_000, ['ada', 'grace']), []);
  assert.deepEqual(conversation(speaker, 20_000, 21_000, ['ada']), []);
  assert.deepEqual(conversation(speaker, 21_000, 60_000, []), []);
  assert.equal(speaker.current, 'ada');
  assert.deepEqual(conversation(speaker, 60_000, 62_000, ['grace']), ['grace']);
});

test('two members that take turns fast change the active speaker every two seconds at most', () => {
  const speaker = new ActiveSpeaker();
  const changes = [];
  for (let now = 0; now < 20_000; now += 1_000) changes.push(...conversation(speaker, now, now + 1_000, [now % 2_000 ? 'ada' : 'grace']));
  assert.ok(changes.length >= 2 && changes.length <= 10, String(changes));
});

test('a member that left is not the active speaker', () => {
  const speaker = new ActiveSpeaker();
  conversation(speaker, 0, 2_000, ['ada']);
  assert.equal(speaker.remove('grace'), false);
  assert.equal(speaker.remove('ada'), true);
  assert.equal(speaker.current, '');
});

/** A report as Firefox gives it: without a transport. @param {number} second */
function firefoxReport(second) {
  const timestamp = 1_000_000 + second * 1_000;
  const stats = [
    { id: 'p1', type: 'candidate-pair', state: 'succeeded', nominated: true, selected: true, localCandidateId: 'l1', remoteCandidateId: 'r1', currentRoundTripTime: 0.042 },
    { id: 'p2', type: 'candidate-pair', state: 'succeeded', nominated: false, selected: false, localCandidateId: 'l2', remoteCandidateId: 'r1' },
    { id: 'l1', type: 'local-candidate', candidateType: 'relay', protocol: 'udp', relayProtocol: 'tcp' },
    { id: 'l2', type: 'local-candidate', candidateType: 'host', protocol: 'udp' },
    { id: 'r1', type: 'remote-candidate', candidateType: 'srflx', protocol: 'udp' },
    { id: 'c1', type: 'codec', mimeType: 'video/VP8' },
    { id: 'o1', type: 'outbound-rtp', kind: 'video', codecId: 'c1', bytesSent: second * 50_000, packetsSent: second * 100, frameWidth: 640, frameHeight: 480, framesPerSecond: 29.7 },
    { id: 'o2', type: 'remote-inbound-rtp', kind: 'video', packetsLost: second * 10, roundTripTime: 0.05 },
    { id: 'i1', type: 'inbound-rtp', kind: 'audio', bytesReceived: second * 5_000, packetsReceived: second * 49, packetsLost: second },
  ];
  return stats.map((stat) => /** @type {[string, object]} */ ([stat.id, { timestamp, ...stat }]));
}

test('the details of a connection are read from what Firefox tells, over the latest seconds', () => {
  const details = new ConnectionDetails();
  details.read(firefoxReport(0));
  const read = details.read(firefoxReport(3));
  assert.deepEqual(read.route, { isRelayed: true, local: 'relay', remote: 'srflx', protocol: 'tcp' });
  assert.equal(read.roundTripMs, 42);
  assert.equal(read.lossUp, 0.1);
  assert.equal(read.lossDown, 0.02);
  assert.deepEqual(read.up.video, { kbits: 400, codec: 'VP8', picture: '640×480, 30 fps' });
  assert.deepEqual(read.down.audio, { kbits: 40, codec: '', picture: '' });
  assert.equal(read.down.video.kbits, 0);
});

test('a connection without a route has no details yet', () => {
  const read = new ConnectionDetails().read([]);
  assert.deepEqual(read.up.video, { kbits: null, codec: '', picture: '' });
  assert.deepEqual([read.route, read.roundTripMs, read.lossUp, read.lossDown], [null, null, null, null]);
});

test('addresses of this machine alone are known', () => {
  for (const host of ['localhost', 'call.localhost', '127.0.0.1', '127.1.2.3', '[::1]', '0.0.0.0']) assert.equal(isOnlyHere(host), true, host);
  for (const host of ['192.168.0.7', 'example.org', '[2001:db8::1]', 'localhost.example.org', '128.0.0.1']) assert.equal(isOnlyHere(host), false, host);
});

test('the other side of a phone is asked for first, and the next camera where sides are not known', () => {
  const devices = ['a', 'b', 'c'].map((deviceId) => /** @type {MediaDeviceInfo} */ ({ kind: 'videoinput', deviceId }));
  assert.deepEqual(nextCameras({ facingMode: 'user', deviceId: 'a' }, devices), [{ facingMode: { exact: 'environment' } }, { deviceId: { exact: 'b' } }]);
  assert.deepEqual(nextCameras({ facingMode: 'environment', deviceId: 'c' }, devices)[0], { facingMode: { exact: 'user' } });
  assert.deepEqual(nextCameras({ deviceId: 'c' }, devices), [{ deviceId: { exact: 'a' } }]);
  assert.deepEqual(nextCameras({}, []), []);
});

test('a microphone and a camera that fail for the same reason are told in one sentence', () => {
  const { microphone, camera, both } = texts.media;
  assert.equal(explainBoth(microphone.notAllowed, camera.notAllowed), both.notAllowed);
  assert.equal(explainBoth(microphone.notFound, camera.notFound), both.notFound);
  assert.equal(explainBoth(microphone.notFound, camera.inUse), `${microphone.notFound} ${camera.inUse}`);
  assert.equal(explainBoth('', camera.notFound), camera.notFound);
});

test('an address with a port or a query that browsers refuse is a mistake', () => {
  for (const urls of ['stun:example.org:0', 'stun:example.org:65536', 'turn:example.org:99999?transport=udp', 'turn:example.org?TRANSPORT=udp', 'turn:example.org?transport=UDP', 'javascript:alert(1)', 'stun:[::1]:70000']) {
    const typed = { urls, username: 'ada', credential: 'secret' };
    assert.notEqual(mistakes(typed).urls, '', urls);
    assert.deepEqual(typedServers(typed), [], urls);
  }
  for (const urls of ['stun:example.org:65535', 'STUN:Example.org', 'turns:[::1]:5349?transport=tcp', 'turn:EXAMPLE.org?transport=udp']) {
    assert.equal(mistakes({ urls, username: 'ada', credential: 'secret' }).urls, '', urls);
  }
});

test('one server that the browser refuses does not keep the others away', (t) => {
  class Connection {
    /** @param {RTCConfiguration} configuration */
    constructor(configuration) {
      this.configuration = configuration;
      if (JSON.stringify(configuration).includes('refused')) throw new SyntaxError('refused');
    }
    close() {}
  }
  setGlobal(t, 'RTCPeerConnection', Connection);
  const good = [{ urls: 'stun:one.example' }, { urls: 'stun:two.example' }];
  const connection = newConnection([good[0], { urls: 'stun:refused.example' }, good[1]].flatMap((server) => server ?? []));
  assert.deepEqual(/** @type {any} */ (connection).configuration, { iceServers: good });
});

test('the link hands on user and password of a TURN server whose scheme is in capitals', async (t) => {
  setGlobal(t, 'location', new URL('https://example.org/'));
  const { roomLink } = await import('../../web/js/settings.js');
  const link = new URL(roomLink('garden', { urls: 'TURN:turn.example.org', username: 'ada', credential: 'secret' }));
  assert.equal(link.searchParams.get('ice-credential'), 'secret');
});

test('a page that is shown again while it waits for the wake lock asks for one only', async (t) => {
  const page = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  setGlobal(t, 'document', page);
  const held = new Set();
  const request = async () => {
    const sentinel = { released: false, release: async () => void held.delete(sentinel) };
    held.add(sentinel);
    return sentinel;
  };
  setGlobal(t, 'navigator', { wakeLock: { request } });
  const lock = new WakeLock();
  lock.acquire();
  page.dispatchEvent(new Event('visibilitychange'));
  page.dispatchEvent(new Event('visibilitychange'));
  await new Promise((resolve) => setImmediate(resolve));
  lock.release();
  assert.equal(held.size, 0);
});

test('candidates before the first offer are kept up to a bound', async () => {
  /** @type {unknown[]} */
  const added = [];
  const pc = Object.assign(new EventTarget(), {
    signalingState: 'stable',
    remoteDescription: /** @type {unknown} */ (null),
    localDescription: null,
    setRemoteDescription: async (/** @type {unknown} */ description) => void (pc.remoteDescription = description),
    setLocalDescription: async () => {},
    addIceCandidate: async (/** @type {unknown} */ candidate) => void added.push(candidate),
  });
  const negotiation = new Negotiation(/** @type {any} */ (pc), {
    polite: true, send: () => {}, isPage: () => false, delegate: () => false, beforeAnswer: async () => {}, describe: (sdp) => sdp, onDescription: () => {},
  });
  for (let count = 0; count < 5_000; count += 1) negotiation.receive({ type: 'ICE_CANDIDATE', iceCandidate: { candidate: `candidate:${count}` } });
  negotiation.receive({ type: 'SDP_OFFER', sdp: { sdp: 'v=0' } });
  await new Promise((resolve) => setTimeout(resolve));
  assert.ok(added.length >= 50 && added.length <= 500, String(added.length));
  negotiation.close();
});

test('a throttle acts at once, and then on the latest value only', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  /** @type {number[]} */
  const acted = [];
  const throttle = new Throttle(100, (/** @type {number} */ value) => void acted.push(value));
  for (let value = 1; value <= 1_000; value += 1) throttle.push(value);
  assert.deepEqual(acted, [1]);
  t.mock.timers.tick(100);
  assert.deepEqual(acted, [1, 1_000]);
  t.mock.timers.tick(1_000);
  throttle.push(7);
  throttle.push(8);
  throttle.close();
  t.mock.timers.tick(1_000);
  assert.deepEqual(acted, [1, 1_000, 7]);
});

test('a rate limit lets a burst pass, and a steady rate afterwards', () => {
  const limit = new RateLimit(10, 2);
  const passed = (/** @type {number} */ now) => Array.from({ length: 100 }, () => limit.tryAcquire(now)).filter(Boolean).length;
  assert.equal(passed(5_000), 10);
  assert.equal(passed(5_400), 0);
  assert.equal(passed(6_000), 2);
  assert.equal(passed(1_000_000), 10);
});
