/** All other tests rely on this: no page signals, uses or accepts a media address outside this machine. */
import assert from 'node:assert/strict';
import { stage } from '../lib/stage.js';

const LOOPBACK = ['127.0.0.1', '::1', '[::1]'];

const scene = stage();

scene('candidates of other addresses are hidden and refused', async (scene) => {
  const { page } = await scene.join('p2p');

  const { signalled, described, remote } = await page.evaluate(gatherAndAddForeignCandidate);

  assert.ok(signalled.includes('127.0.0.1'), `signalled: ${signalled}`);
  assert.deepEqual(signalled.filter((address) => !LOOPBACK.includes(address)), []);
  assert.deepEqual(described.filter((address) => !LOOPBACK.includes(address)), []);
  assert.deepEqual(remote, []);
});

async function gatherAndAddForeignCandidate() {
  const [near, far] = [new RTCPeerConnection(), new RTCPeerConnection()];
  /** @type {Set<string>} */
  const signalled = new Set();
  /** @type {Promise<void>} */
  const gathered = new Promise((resolve) => {
    near.onicecandidate = ({ candidate }) => (candidate?.address ? signalled.add(candidate.address) : candidate || resolve());
  });
  near.createDataChannel('probe');
  await near.setLocalDescription();
  await gathered;
  const sdp = near.localDescription?.sdp ?? '';
  await far.setRemoteDescription({ type: 'offer', sdp: sdp.replaceAll(/^a=candidate:.*\r\n/gm, '') });
  await far.addIceCandidate({ candidate: 'candidate:1 1 udp 2113937151 192.0.2.1 9 typ host', sdpMid: '0' });
  const stats = [...(await far.getStats()).values()];
  return {
    signalled: [...signalled],
    described: [...new Set([...sdp.matchAll(/^a=candidate:(?:\S+ ){4}(\S+)/gm)].map(([, address]) => address))],
    remote: stats.filter(({ type }) => type === 'remote-candidate').map(({ address }) => address),
  };
}
