/** The parts of the voice page that need no browser. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { OggReader } from '../../web/js/voice/audio/ogg.js';
import { RATE, Ring } from '../../web/js/voice/audio/ring.js';
import { WavReader } from '../../web/js/voice/audio/wav.js';
import { parseEvent } from '../../web/js/voice/events.js';
import { readKeyFile } from '../../web/js/voice/key-file.js';
import { KeyPair, UnsafeChallenge, isPublicKey, newChallenge, verify } from '../../web/js/voice/keys.js';
import { setGlobal } from '../lib/set-global.js';

const BLOCK = 128;

/** A module that the compiler would check by the rules of this folder. @param {string} path @returns {Promise<any>} */
function moduleOf(path) {
  return import(new URL(`../../web/js/${path}`, import.meta.url).href);
}

// ---- keys

const VECTORS = new URL('../../crates/switchboard-voice/src/vectors.jsonl', import.meta.url);

test('signatures of the reference client are verified as the reference does', () => {
  for (const line of readFileSync(VECTORS, 'utf8').trim().split('\n')) {
    const { name, pub, msg, sig } = JSON.parse(line);
    const message = Buffer.from(msg, 'hex');
    const isPlain = message.length > 0 && message.length <= 32 && message.equals(Buffer.from(message.toString('utf8')));
    if (isPlain) assert.equal(verify(sig, message.toString('utf8'), pub), true, name);
    if (message.length === 0 || message.length > 32) assert.equal(verify(sig, message.toString('utf8'), pub), false, name);
  }
});

test('a key signs challenges of people and of the server, and never one as the other', () => {
  const keys = KeyPair.generate();
  const person = newChallenge();
  assert.match(person, /^\d{1,8}$/);
  assert.ok(verify(keys.sign(person, 'person'), person, keys.publicKey));
  const ticket = 'abcdefghijKLMNOPQRST';
  assert.ok(verify(keys.sign(ticket, 'server'), ticket, keys.publicKey));
  assert.ok(!verify(keys.sign(ticket, 'server'), 'abcdefghijKLMNOPQRSt', keys.publicKey));
  assert.ok(!verify(keys.sign(ticket, 'server'), ticket, KeyPair.generate().publicKey));
  /** @type {[string, import('../../web/js/voice/keys.js').Asker][]} */
  const unsafe = [[ticket, 'person'], [person, 'server'], ['', 'person'], ['', 'server'], ['1'.repeat(33), 'person']];
  for (const [challenge, asker] of unsafe) {
    assert.throws(() => keys.sign(challenge, asker), UnsafeChallenge, `${challenge} ${asker}`);
  }
});

test('a key survives storage, and nonsense is no key', () => {
  const keys = KeyPair.generate();
  assert.equal(KeyPair.restore(keys.secretHex)?.publicKey, keys.publicKey);
  for (const nonsense of ['', 'zz', '00'.repeat(32), 'ff'.repeat(32), '12']) assert.equal(KeyPair.restore(nonsense), null);
  assert.ok(isPublicKey(keys.publicKey));
  for (const nonsense of ['', `04${'a'.repeat(64)}`, `02${'f'.repeat(64)}`, keys.publicKey.toUpperCase(), `${keys.publicKey}0`]) {
    assert.ok(!isPublicKey(nonsense), nonsense);
  }
  for (const signature of ['', '30', 'zz', '00'.repeat(70)]) assert.equal(verify(signature, '1', keys.publicKey), false);
});

test('a file that cannot be read holds no key', async () => {
  const unreadable = /** @type {any} */ ({ size: 64, text: () => Promise.reject(new DOMException('gone', 'NotReadableError')) });
  assert.equal(await readKeyFile(unreadable), null);
});

// ---- calls

test('calls from any number of keys ring up to a bound, and the others are missed', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  setGlobal(t, 'addEventListener', () => {});
  const { Phone } = await moduleOf('voice/phone.js');
  const identity = { kind: 'site', me: 'me', isAddress: () => true };
  const tabs = { challengeFor: async () => ({ second: '1', isFirst: false }) };
  let missed = 0;
  const events = { onChange: () => {}, onMissed: () => (missed += 1) };
  const phone = new Phone({ server: {}, identity, tabs }, events);
  for (let key = 0; key < 1_000; key += 1) phone.receive({ kind: 'newCall', from: `key-${key}`, challenge: '1' });
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([phone.incoming.size, missed], [50, 950]);
});

// ---- the microphone

test('a microphone whose sound the page cannot use is released', async (t) => {
  const track = { isStopped: false, stop: () => (track.isStopped = true) };
  const mediaDevices = { getUserMedia: async () => ({ getTracks: () => [track] }) };
  setGlobal(t, 'navigator', { mediaDevices });

  // Node has no AudioContext: the page finds no audio device.
  const { Microphone } = await moduleOf('voice/audio/microphone.js');
  const microphone = new Microphone({ onFrame: () => {}, onLost: () => {} });
  assert.notEqual(await microphone.open({ isRaw: false, deviceId: '' }), '');
  assert.equal(track.isStopped, true);
  assert.equal(microphone.isOpen, false);
});

// ---- events

test('events of both modes are read, and nonsense is nothing', () => {
  const hex = (/** @type {unknown} */ value) => JSON.stringify(Buffer.from(JSON.stringify(value)).toString('hex'));
  const call = parseEvent('newCall', hex({ from: '02ab', challenge: '7' }));
  assert.deepEqual([call?.kind, call?.from, call?.challenge], ['newCall', '02ab', '7']);
  assert.equal(parseEvent('newCall', '{"from": 12}')?.from, '12');
  const conf = parseEvent('setAudioConf', '{"from": 12, "roomid": 7, "in": "1", "out": "0"}');
  assert.deepEqual([conf?.room, conf?.mic, conf?.headphones], ['7', true, false]);
  for (const nonsense of ['', 'x', 'null', '7', '"zz"', '"7b"', '"6e756c6c"']) assert.equal(parseEvent('newCall', nonsense), null, nonsense);
  assert.equal(parseEvent('newCall', '{"from": {"a": 1}}')?.from, '');
});

// ---- Ogg and WAV, cut at every place

/** @param {number[]} segments @param {Buffer} body */
function page(segments, body, flags = 0) {
  const head = Buffer.alloc(27);
  head.write('OggS');
  head[5] = flags;
  head[26] = segments.length;
  return Buffer.concat([head, Buffer.from(segments), body]);
}

const packets = [19, 0, 254, 255, 510, 700, 3].map((length, index) => Buffer.alloc(length, index + 1));

/** @param {Buffer[]} packets  over pages of at most four segments, so that long ones are continued */
function pages(packets) {
  const segments = packets.flatMap((packet) => {
    const parts = Array.from({ length: Math.floor(packet.length / 255) }, (_, index) => packet.subarray(index * 255, index * 255 + 255));
    return [...parts, packet.subarray(parts.length * 255)];
  });
  const all = [];
  let isContinued = false;
  for (let at = 0; at < segments.length; at += 4) {
    const some = segments.slice(at, at + 4);
    all.push(page(some.map(({ length }) => length), Buffer.concat(some), isContinued ? 1 : 0));
    isContinued = some.at(-1)?.length === 255;
  }
  return Buffer.concat(all);
}

test('the packets of an Ogg stream come out whole, however it is cut', () => {
  const bytes = pages(packets);
  for (const step of [1, 2, 26, 27, 28, 100, 1_000, bytes.length]) {
    const reader = new OggReader();
    const out = [];
    for (let at = 0; at < bytes.length; at += step) out.push(...reader.read(bytes.subarray(at, at + step)));
    assert.deepEqual(out.map((packet) => Buffer.from(packet)), packets, `in steps of ${step}`);
  }
});

test('the end of a packet whose beginning is missing is left out; other bytes are no Ogg', () => {
  const bytes = Buffer.concat([page([5, 3], Buffer.alloc(8, 1), 1), page([2], Buffer.alloc(2, 2))]);
  assert.deepEqual(new OggReader().read(bytes).map(({ length }) => length), [3, 2]);
  assert.throws(() => new OggReader().read(Buffer.alloc(27)), /not an Ogg/);
  assert.throws(() => {
    const reader = new OggReader();
    for (let count = 0; count < 100; count += 1) reader.read(page(Array(255).fill(255), Buffer.alloc(255 * 255), count > 0 ? 1 : 0));
  }, /without an end/);
});

function wavHeader({ rate = RATE, channels = 1, bits = 16, extra = Buffer.alloc(0) } = {}) {
  const format = Buffer.alloc(24);
  format.write('fmt ');
  format.writeUInt32LE(16, 4);
  [1, channels].forEach((value, index) => format.writeUInt16LE(value, 8 + index * 2));
  format.writeUInt32LE(rate, 12);
  format.writeUInt16LE(bits, 22);
  const data = Buffer.from('data\xff\xff\xff\xff', 'latin1');
  return Buffer.concat([Buffer.from('RIFF\xff\xff\xff\xffWAVE', 'latin1'), format, extra, data]);
}

test('the samples of an endless WAV come out whole, however it is cut', () => {
  const pcm = Buffer.alloc(400);
  for (let index = 0; index < 200; index += 1) pcm.writeInt16LE(index * 100 - 10_000, index * 2);
  const list = Buffer.concat([Buffer.from('LIST'), Buffer.from([3, 0, 0, 0]), Buffer.from('abc\0')]);
  for (const extra of [Buffer.alloc(0), list]) {
    const bytes = Buffer.concat([wavHeader({ extra }), pcm]);
    for (const step of [1, 3, 43, 44, 45, 1_000]) {
      const reader = new WavReader();
      const out = [];
      for (let at = 0; at < bytes.length; at += step) out.push(...reader.read(bytes.subarray(at, at + step)));
      assert.deepEqual(out.map((sample) => Math.round(sample * 32_768)), Array.from({ length: 200 }, (_, index) => index * 100 - 10_000));
    }
  }
  for (const bad of [{ rate: 44_100 }, { channels: 2 }, { bits: 8 }]) assert.throws(() => new WavReader().read(wavHeader(bad)), /another kind/);
  assert.throws(() => new WavReader().read(Buffer.alloc(100)), /not a WAV/);
});

// ---- the ring: a tone goes in as a network delivers it; what comes out must have no step in it

// Not at zero where frames end.
const TONE = (2 * Math.PI * 487) / RATE;
const TONE_STEP_MAX = 0.5 * TONE * 1.1;
// A fade adds a 240th of the amplitude per sample, a cross-fade the difference of two tones over 480.
const STEP_MAX = TONE_STEP_MAX + 0.5 / 240 + 1 / 480 + 0.01;

/** @param {(ms: number) => number} arrivedMs  how much has arrived at a time, in milliseconds @param {number} prefillMs @param {number} lengthMs */
function listen(arrivedMs, prefillMs, lengthMs) {
  const ring = new Ring(prefillMs);
  const heard = [];
  const waiting = [];
  let pushed = 0;
  for (let played = 0; played < (lengthMs * RATE) / 1_000; played += BLOCK) {
    const arrived = Math.floor((arrivedMs((played * 1_000) / RATE) * RATE) / 1_000);
    if (arrived > pushed) {
      ring.push(Float32Array.from({ length: arrived - pushed }, (_, index) => 0.5 * Math.sin(TONE * (pushed + index))));
      pushed = arrived;
    }
    const out = new Float32Array(BLOCK);
    ring.pull(out);
    heard.push(...out);
    waiting.push((ring.waiting * 1_000) / RATE);
  }
  return { ring, heard, waiting };
}

/** @param {number[]} heard */
function assertSmooth(heard) {
  const worst = heard.reduce((most, sample, index) => Math.max(most, Math.abs(sample - (heard[index - 1] ?? 0))), 0);
  assert.ok(worst <= STEP_MAX, `a step of ${worst.toFixed(3)}, more than ${STEP_MAX.toFixed(3)}`);
}

const every = (/** @type {number} */ periodMs) => (/** @type {number} */ ms) => Math.floor(ms / periodMs) * periodMs;

test('a steady stream is heard without gaps and with little delay', () => {
  for (const [period, prefill] of [[20, 60], [60, 100]]) {
    const { ring, heard, waiting } = listen(every(period), prefill, 10_000);
    assert.equal(ring.underruns, 0);
    assertSmooth(heard);
    assert.ok(Math.max(...waiting.slice(-500)) <= prefill + period, `${Math.max(...waiting.slice(-500))} ms wait`);
  }
});

test('an interruption fades out and in, and the delay after it is worked off', () => {
  // Nothing for half a second, then all of it at once.
  const { ring, heard, waiting } = listen((ms) => (ms > 2_000 && ms < 2_500 ? every(20)(2_000) : every(20)(ms)), 60, 20_000);
  assert.equal(ring.underruns, 1);
  assertSmooth(heard);
  assert.ok(Math.max(...waiting.slice(-500)) <= 130, `${Math.max(...waiting.slice(-500))} ms wait`);
});

test('a stream that is ahead is skipped, not queued', () => {
  const { ring, heard, waiting } = listen((ms) => every(20)(ms) + (ms > 3_000 ? 1_000 : 0), 60, 10_000);
  assert.ok(ring.skipped > RATE * 0.8);
  assertSmooth(heard);
  assert.ok(Math.max(...waiting.slice(2_000)) <= 130);
});

test('a clock that runs a little faster than ours does not add up', () => {
  const { ring, heard, waiting } = listen((ms) => every(20)(ms * 1.001), 60, 120_000);
  assert.equal(ring.underruns, 0);
  assertSmooth(heard);
  assert.ok(Math.max(...waiting) <= 160, `${Math.max(...waiting)} ms wait`);
});

test('a clock that runs a little slower makes short smooth gaps', () => {
  const { ring, heard } = listen((ms) => every(20)(ms * 0.999), 60, 120_000);
  assert.ok(ring.underruns <= 3, `${ring.underruns} gaps`);
  assertSmooth(heard);
});

test('irregular arrival is bridged, after some gaps at most', () => {
  let seed = 1;
  const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  const late = Array.from({ length: 3_000 }, () => random() * 90);
  const arrived = (/** @type {number} */ ms) => {
    let count = Math.floor(ms / 20);
    while (count > 0 && ms < count * 20 + (late[count] ?? 0)) count -= 1;
    return count * 20;
  };
  const { ring, heard, waiting } = listen(arrived, 60, 50_000);
  assert.ok(ring.underruns <= 12, `${ring.underruns} gaps`);
  assertSmooth(heard);
  assert.ok(Math.max(...waiting.slice(4_000)) < 300);
});

test('a flood is survived', () => {
  const ring = new Ring(60);
  ring.push(new Float32Array(RATE * 10));
  assert.ok(ring.waiting <= RATE * 2);
  for (let count = 0; count < 100; count += 1) ring.push(new Float32Array(RATE / 3));
  const out = new Float32Array(BLOCK);
  ring.pull(out);
  assert.ok(ring.waiting <= RATE * 0.3);
});
