/**
 * A voice client of gostream with keys, like the page of gostream: `elliptic` signs, events are in hex,
 * a ScriptProcessor sends 1024 samples at a time, and the received stream is WAV. The microphone is an oscillator. It accepts every call.
 */
import { complain, parameter, state } from './page.js';

const RATE = 48_000;
const MESSAGE_SAMPLES = 1024;
const WAV_HEAD_BYTES = 44;
const SAMPLES_KEPT = RATE / 2;

const server = parameter('server').replace(/^ws/, 'http');
const curve = new window.elliptic.ec('p256');
const keys = curve.genKeyPair();
const myKey = keys.getPublic(true, 'hex');
state.myId = myKey;

let serverChallenge = '';
/** The challenge that the other user has not signed yet. */
let challenge = '';
const heard = new Int16Array(SAMPLES_KEPT);
/** @type {Record<string, any>[]} */
const events = [];

window.voice = {
  async call(otherKey) {
    challenge = randomChallenge();
    serverChallenge = await post('/newCall', { Destination: otherKey, challenge, signature: sign(serverChallenge) });
  },
  heard: () => [...heard],
  events: () => events,
};

/** @type {Record<string, (event: any) => unknown>} */
const on = {
  async newCall({ from, challenge: theirs }) {
    challenge = randomChallenge();
    await post('/answer', { Destination: from, challenge, signature: sign(theirs) });
  },
  async answer({ from, answer, challenge: theirs }) {
    mustBeSignedBy(from, answer);
    challenge = randomChallenge();
    await post('/answer2', { Destination: from, challenge, signature: sign(theirs) });
  },
  async answer2({ from, answer, challenge: theirs }) {
    mustBeSignedBy(from, answer);
    await post('/acceptCall', { From: from, signature: sign(theirs) });
    await talk(from);
  },
  async acceptedCall({ from, answer }) {
    mustBeSignedBy(from, answer);
    await talk(from);
  },
  declineCall: () => complain('declined', ''),
  setAudioConf: () => {},
};

await start();

async function start() {
  const response = await fetch(`${server}/getCallTicket`, { headers: { PKey: myKey } });
  serverChallenge = await response.text();
  const source = new EventSource(`${server}/messages?PKey=${myKey}`);
  source.addEventListener('pubkey', () => (state.joined = true));
  source.onerror = () => complain('events', 'the stream broke');
  for (const [name, take] of Object.entries(on)) {
    source.addEventListener(name, ({ data }) => {
      const event = JSON.parse(fromHex(JSON.parse(data)));
      events.push({ name, ...event });
      take(event);
    });
  }
}

/** @param {string} otherKey */
async function talk(otherKey) {
  const query = new URLSearchParams({ otherID: otherKey, PKey: myKey, Signature: sign(serverChallenge) });
  const socket = new WebSocket(`${server.replace(/^http/, 'ws')}/upCall?${query}`);
  socket.binaryType = 'arraybuffer';
  socket.onclose = ({ code, reason }) => complain('the server closed', `${code} ${reason}`);
  socket.onopen = () => capture((samples) => socket.send(samples));
  await listen(otherKey);
}

/** @param {(samples: ArrayBuffer) => void} send */
function capture(send) {
  const context = new AudioContext({ sampleRate: RATE });
  const microphone = new OscillatorNode(context, { frequency: Number(parameter('tone')) });
  const processor = context.createScriptProcessor(MESSAGE_SAMPLES, 1, 1);
  processor.onaudioprocess = ({ inputBuffer }) => {
    const samples = inputBuffer.getChannelData(0);
    send(Int16Array.from(samples, (sample) => Math.round(sample * 0x2000)).buffer);
  };
  microphone.connect(processor).connect(context.destination);
  microphone.start();
}

/** @param {string} otherKey */
async function listen(otherKey) {
  const body = form({ otherID: otherKey, format: 'wav', Signature: sign(serverChallenge) });
  const response = await fetch(`${server}/joinCall`, { method: 'POST', headers: { PKey: myKey }, body });
  const type = response.headers.get('content-type');
  if (type !== 'audio/wav') return complain('content type', type);
  let skip = WAV_HEAD_BYTES;
  let odd = new Uint8Array();
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  for (let { done, value } = await reader.read(); !done && value; { done, value } = await reader.read()) {
    const bytes = new Uint8Array([...odd, ...value.subarray(skip)]);
    skip = Math.max(skip - value.length, 0);
    const samples = new Int16Array(bytes.buffer, 0, bytes.length >> 1);
    odd = bytes.slice(2 * samples.length);
    keep(samples.subarray(-SAMPLES_KEPT));
  }
}

/** @param {Int16Array} samples */
function keep(samples) {
  heard.copyWithin(0, samples.length);
  heard.set(samples, heard.length - samples.length);
}

/** @param {string} path @param {Record<string, string>} fields */
async function post(path, fields) {
  const response = await fetch(server + path, { method: 'POST', headers: { PKey: myKey }, body: form(fields) });
  const text = await response.text();
  if (!response.ok) complain(path, text);
  return text;
}

/** @param {Record<string, string>} fields */
function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return data;
}

/** @param {string} hex */
function fromHex(hex) {
  let text = '';
  for (let at = 0; at < hex.length; at += 2) text += String.fromCharCode(parseInt(hex.slice(at, at + 2), 16));
  return text;
}

function randomChallenge() {
  return String(Math.floor(Math.random() * 1e8));
}

/** @param {string} text */
function sign(text) {
  return keys.sign([...new TextEncoder().encode(text)]).toDER('hex');
}

/** @param {string} otherKey @param {string} signature */
function mustBeSignedBy(otherKey, signature) {
  const message = [...new TextEncoder().encode(challenge)];
  if (!curve.keyFromPublic(otherKey, 'hex').verify(message, signature)) complain('signature', otherKey);
}
