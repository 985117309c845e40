/** The counters behind the measured rates of the page at `/`, which need no browser. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { count } from '../../web/js/counters.js';

/** @param {Record<string, unknown>[]} stats */
function reportOf(stats) {
  return /** @type {RTCStatsReport} */ (/** @type {unknown} */ (new Map(stats.map((stat, index) => [String(index), stat]))));
}

const RTP = [
  { type: 'outbound-rtp', kind: 'video', bytesSent: 500, timestamp: 7, frameWidth: 320, frameHeight: 240, framesPerSecond: 12 },
  { type: 'outbound-rtp', kind: 'audio', bytesSent: 200, timestamp: 7 },
  { type: 'inbound-rtp', kind: 'video', framesReceived: 9, timestamp: 7 },
];
const PAIRS = [
  { type: 'candidate-pair', bytesSent: 20, bytesReceived: 10, timestamp: 7 },
  { type: 'candidate-pair', bytesSent: 880, bytesReceived: 990, timestamp: 7 },
];

test('the traffic of a transport is counted once', () => {
  const { sent, received, videoSent, audioSent, frames, picture, at } = count(reportOf([...RTP, ...PAIRS, { type: 'transport', bytesSent: 1000, bytesReceived: 2000, timestamp: 8 }]));
  assert.deepEqual({ sent, received, videoSent, audioSent, frames, picture, at }, { sent: 1000, received: 2000, videoSent: 500, audioSent: 200, frames: 9, picture: '320×240 12 fps', at: 8 });
});

test('the traffic of candidate pairs is counted where the transport counts none', () => {
  for (const transport of [[], [{ type: 'transport', dtlsState: 'connected', timestamp: 8 }]]) {
    const { sent, received } = count(reportOf([...RTP, ...PAIRS, ...transport]));
    assert.deepEqual({ sent, received }, { sent: 900, received: 1000 });
  }
});
