// @ts-check
// The counters of one connection, from getStats. Those of the transport, or in Firefox those of the candidate pairs,
// count all bytes of the connection; the RTP counters beside them say how many of the bytes are video and audio.

import { texts } from './texts.js';

/**
 * @typedef {object} Counters
 * @property {number} at  ms
 * @property {number} sent  bytes, as are the next three
 * @property {number} received
 * @property {number} videoSent
 * @property {number} audioSent
 * @property {number} frames  video frames received
 * @property {string} picture  the video that is sent, as "320×240 12 fps"
 */

/** @param {RTCStatsReport} report @returns {Counters} */
export function count(report) {
  const counters = { at: 0, sent: 0, received: 0, videoSent: 0, audioSent: 0, frames: 0, picture: '' };
  for (const stat of trafficOf([...report.values()])) addTraffic(counters, stat);
  for (const stat of report.values()) {
    counters.at = Math.max(counters.at, stat.timestamp);
    if (stat.type === 'outbound-rtp') addOutbound(counters, stat);
    if (stat.type === 'inbound-rtp') addInbound(counters, stat);
  }
  return counters;
}

/** The statistics that count every byte once. The transport of Firefox counts none, so its candidate pairs are used. @param {any[]} stats */
function trafficOf(stats) {
  const transports = stats.filter(({ type, bytesSent }) => type === 'transport' && bytesSent !== undefined);
  return transports.length > 0 ? transports : stats.filter(({ type }) => type === 'candidate-pair');
}

/** @param {Counters} counters @param {{bytesSent?: number, bytesReceived?: number}} stat */
function addTraffic(counters, stat) {
  counters.sent += stat.bytesSent ?? 0;
  counters.received += stat.bytesReceived ?? 0;
}

/** @param {Counters} counters @param {RTCOutboundRtpStreamStats} stat */
function addOutbound(counters, stat) {
  const bytes = stat.bytesSent ?? 0;
  if (stat.kind === 'audio') counters.audioSent += bytes;
  if (stat.kind !== 'video') return;
  counters.videoSent += bytes;
  const fps = Math.round(stat.framesPerSecond ?? 0);
  if (stat.frameWidth && fps > 0) counters.picture = texts.units.picture(stat.frameWidth, stat.frameHeight ?? 0, fps);
}

/** @param {Counters} counters @param {RTCInboundRtpStreamStats} stat */
function addInbound(counters, stat) {
  counters.frames += stat.framesReceived ?? 0;
}
