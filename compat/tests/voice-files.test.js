/** The streams that listeners receive, kept in files. Independent programs must accept them without complaint. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Server } from '../lib/server.js';
import { RATE, usualLevel } from '../lib/voice-sine.js';
import { complaints, decode, missing, probe } from '../lib/voice-tools.js';
import { Recording, VoiceUser } from '../lib/voice-user.js';

const TONE = { frequency: 440, level: -12 };
const RECORDED_MS = 7_000;
const LATE_BY_MS = 1_500;
const WITHIN_MS = 90_000;

const LENGTH_OFF_MAX = 0.02;
/** The server skips the sound of the time in which a busy machine stops it for longer than 140 ms. */
const SKIPPED_SECONDS_MAX = 0.5;
/** The pre-skip of an Opus stream that joins a running encoder: 3840 samples, which are not played. */
const PRE_SKIP_SECONDS = 0.08;
const LEVEL_OFF_DB_MAX = 1.5;
const SILENT_DB = -80;
/** Left out when the level is measured: until sound has come through, and what the cut broke off. */
const EDGE_SECONDS = 1;

const FORMATS = /** @type {const} */ ({
  wav: { contentType: 'audio/wav', codec: 'pcm_s16le', checker: null },
  vorbis: { contentType: 'audio/ogg', codec: 'vorbis', checker: 'ogginfo' },
  opus: { contentType: 'audio/ogg', codec: 'opus', checker: 'opusinfo' },
});
/** @typedef {keyof typeof FORMATS} Format */
/** @typedef {{ recording: Recording, file: string }} Kept */
/** @typedef {(server: Server, format: Format) => Promise<Recording>} Scene */

/** @param {Server} server @param {Record<string, string>} what */
async function recordsRoom(server, what, lateBy = 0) {
  const listener = await VoiceUser.known(server);
  await delay(lateBy);
  const recording = await listener.listens('/joinRoom', what);
  await delay(RECORDED_MS);
  await recording.cut();
  return recording;
}

/** @type {Record<string, { isSilent?: boolean, hasEnd?: boolean, record: Scene }>} */
const SCENES = {
  'a room': { record: (server, format) => recordsRoom(server, { roomID: 'tone', format }) },
  'a room, joined late': { record: (server, format) => recordsRoom(server, { roomID: 'tone', format }, LATE_BY_MS) },
  'a room whose talker uploads a body': { record: (server, format) => recordsRoom(server, { roomID: 'body', format }) },
  'a room where nobody speaks': { isSilent: true, record: (server, format) => recordsRoom(server, { roomID: `quiet ${format}`, format }) },
  'a call, until somebody hangs up': {
    hasEnd: true,
    async record(server, format) {
      const [ada, grace] = [await VoiceUser.known(server), await VoiceUser.known(server)];
      await ada.calls(grace);
      const recording = await grace.listens('/joinCall', { otherID: ada.address, format });
      const quiet = await ada.talks('/upCall', { otherID: grace.address }, TONE);
      await delay(RECORDED_MS);
      await ada.hangsUpOn(grace);
      await recording.whole;
      await quiet();
      return recording;
    },
  },
};

/** @type {Map<string, Kept>} */
const kept = new Map();
/** @type {Server} */
let server;
/** @type {string} */
let folder;

// All at once: they take no time of each other's.
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'switchboard-voice-'));
  server = await Server.start();
  const [talker, uploader, ear] = [await VoiceUser.known(server), await VoiceUser.known(server), await VoiceUser.known(server)];
  const ears = [await ear.listens('/joinRoom', { roomID: 'tone' }), await ear.listens('/joinRoom', { roomID: 'body' })];
  const talkers = [await talker.talks('/upRoom', { roomID: 'tone' }, TONE), uploader.uploads('/upRoom', { roomID: 'body' }, TONE)];
  const all = Object.entries(SCENES).flatMap(([what, { record }]) => formats().map((format) => keep(what, format, record)));
  await Promise.all(all);
  for (const quiet of talkers) await quiet();
  for (const recording of ears) await recording.cut();
}, { timeout: WITHIN_MS });

after(async () => {
  await server?.stop();
  if (folder) await rm(folder, { recursive: true });
});

/** @param {string} what @param {Format} format @param {Scene} record */
async function keep(what, format, record) {
  const recording = await record(server, format);
  const { bytes } = recording;
  const file = join(folder, `${what.replaceAll(/\W+/g, '-')}.${format}`);
  // Cut off within a sample, a WAV file is as broken as one may expect.
  await writeFile(file, format === 'wav' ? bytes.subarray(0, bytes.length & ~1) : bytes);
  kept.set(`${what} ${format}`, { recording, file });
}

function formats() {
  return /** @type {Format[]} */ (Object.keys(FORMATS));
}

/** @param {Recording} recording @param {number} found seconds @param {Format} format */
function isAsLong({ seconds: { min, max } }, found, format) {
  const skipped = format === 'opus' ? PRE_SKIP_SECONDS : 0;
  const isRight = found > min * (1 - LENGTH_OFF_MAX) - skipped - SKIPPED_SECONDS_MAX && found < max * (1 + LENGTH_OFF_MAX) + skipped;
  assert.ok(isRight, `${found.toFixed(3)} s of sound in ${min.toFixed(3)} to ${max.toFixed(3)} s`);
}

for (const [what, { isSilent = false, hasEnd = false }] of Object.entries(SCENES)) {
  for (const format of formats()) {
    const { contentType, codec, checker } = FORMATS[format];
    const result = () => /** @type {Kept} */ (kept.get(`${what} ${format}`));

    if (checker) {
      test(`${what}, ${format}: ${checker} has no complaint`, { skip: missing(checker) }, async () => {
        const isExpected = (/** @type {string} */ line) => !hasEnd && /EOS not set/.test(line);
        assert.deepEqual((await complaints(checker, result().file)).filter((line) => !isExpected(line)), []);
      });
    }

    test(`${what}, ${format}: ffprobe finds the format and the length of the time it took`, { skip: missing('ffprobe') }, async () => {
      const { recording, file } = result();
      const found = await probe(file);
      assert.deepEqual([recording.contentType, found.codec], [contentType, codec]);
      isAsLong(recording, found.seconds, format);
    });

    test(`${what}, ${format}: ffmpeg decodes ${isSilent ? 'silence' : 'the tone at its level'}`, { skip: missing('ffmpeg') }, async () => {
      const { recording, file } = result();
      const samples = await decode(file);
      isAsLong(recording, samples.length / RATE, format);
      const level = usualLevel(samples.subarray(EDGE_SECONDS * RATE, -EDGE_SECONDS * RATE), TONE.frequency);
      if (isSilent) assert.ok(level < SILENT_DB, `${level.toFixed(1)} dB`);
      else assert.ok(Math.abs(level - TONE.level) < LEVEL_OFF_DB_MAX, `${level.toFixed(1)} dB, spoken at ${TONE.level} dB`);
    });
  }
}
