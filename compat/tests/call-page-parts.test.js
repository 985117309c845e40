/** Parts of the call page that need no browser. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ActiveSpeaker } from '../../web/js/active-speaker.js';
import { nextCameras } from '../../web/js/cameras.js';
import { ConnectionDetails } from '../../web/js/connection-details.js';
import { isOnlyHere } from '../../web/js/links.js';
import { explainBoth } from '../../web/js/media-problems.js';
import { texts } from '../../web/js/texts.js';

/** Every 100 ms, as the page's detector tells it. @param {ActiveSpeaker} speaker @param {number} from @param {number} until @param {string[]} talking */
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
