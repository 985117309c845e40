// A small website whose users call each other by Switchboard. It signs users in, answers the requests of Switchboard about them,
// and serves the voice page of Switchboard as its own. Node 18 or later, no packages: node server.mjs
//
//   PORT          the port of the website (8081)
//   HOST          the address to listen on (127.0.0.1, because the login page shows the passwords)
//   SWITCHBOARD   the URL at which browsers reach Switchboard (http://localhost:8080)

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mayCall, mayListen, maySpeak, people, rooms } from './people.mjs';

const PORT = Number(process.env.PORT ?? 8081);
const HOST = process.env.HOST ?? '127.0.0.1';
const SWITCHBOARD = new URL(process.env.SWITCHBOARD ?? 'http://localhost:8080').origin;
const WEB = fileURLToPath(new URL('../../web/', import.meta.url));

const SESSION_MS = 8 * 60 * 60 * 1000;
const SESSIONS_MAX = 10_000;
const FORM_BYTES_MAX = 4_096;
const REFUSAL_DELAY_MS = 500;

/** @type {Map<string, {person: typeof people[0], token: string, until: number}>} by the value of the cookie */
const sessions = new Map();
/** @type {Map<string, string>} the value of the cookie, by the token of the session */
const tokens = new Map();

// ---- The requests of Switchboard. Numbers are text, and malformed requests are answered with 0.

const NUMBER = '([1-9][0-9]{0,9})';
const TOKEN = '([a-zA-Z0-9]{1,64})';

const questions = [
  [`/Membres/crossLogin/${TOKEN}`, (token) => person(token)?.id ?? 0],
  [`/Membres/peuxAppeller/${NUMBER}/${TOKEN}`, (to, token) => isTrue(token, (from) => mayCall(from, Number(to)))],
  [`/Groupes/envoieAudioGroup/${NUMBER}/${TOKEN}/([01])`, (room, token, on) => isTrue(token, (who) => on === '0' || maySpeak(who, Number(room)))],
  [`/Groupes/ecouteAudioGroup/${NUMBER}/${TOKEN}/([01])`, (room, token, on) => isTrue(token, (who) => on === '0' || mayListen(who, Number(room)))],
].map(([path, answer]) => ({ path: new RegExp(`^${path}$`), answer }));

function answerTo(path) {
  for (const question of questions) {
    const found = question.path.exec(path);
    if (found) return String(question.answer(...found.slice(1)));
  }
  return /^\/(Membres|Groupes)\//.test(path) ? '0' : null;
}

function person(token) {
  return live(tokens.get(token))?.person;
}

function isTrue(token, isAllowed) {
  const who = person(token);
  return who && isAllowed(who.id) ? 1 : 0;
}

// ---- Sessions: a random cookie that scripts cannot read, and a token for Switchboard.

function live(cookie) {
  const session = sessions.get(cookie ?? '');
  if (session && session.until > Date.now()) return session;
  if (session) end(cookie);
  return undefined;
}

function begin(who) {
  for (const cookie of [...sessions.keys()]) live(cookie);
  if (sessions.size >= SESSIONS_MAX) end(sessions.keys().next().value);
  const cookie = randomBytes(32).toString('hex');
  const token = randomBytes(16).toString('hex');
  sessions.set(cookie, { person: who, token, until: Date.now() + SESSION_MS });
  tokens.set(token, cookie);
  return cookie;
}

function end(cookie) {
  tokens.delete(sessions.get(cookie)?.token);
  sessions.delete(cookie);
}

function cookieOf(request) {
  return /(?:^|;\s*)session=([0-9a-f]{64})(?:;|$)/.exec(request.headers.cookie ?? '')?.[1];
}

function setCookie(value, seconds) {
  return { 'Set-Cookie': `session=${value}; HttpOnly; SameSite=Lax; Path=/; Max-Age=${seconds}` };
}

function byPassword(name, password) {
  const known = people.find((one) => one.name === name.trim().toLowerCase());
  const [given, right] = [password, known?.password ?? randomBytes(16).toString('hex')].map((text) => createHash('sha256').update(text).digest());
  return timingSafeEqual(given, right) ? known : undefined;
}

// ---- Pages

const socket = SWITCHBOARD.replace(/^http/, 'ws');
const HEADERS = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'same-origin',
  'Content-Security-Policy':
    `default-src 'self'; connect-src 'self' ${SWITCHBOARD} ${socket}; img-src 'self' blob: data:; ` +
    `media-src 'self' blob: ${SWITCHBOARD}; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'`,
};
const TYPES = { '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };

function html(text) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return String(text).replace(/[&<>"']/g, (letter) => entities[letter]);
}

function page(body) {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>A small site</title><link rel="icon" href="/icon.svg"><link rel="stylesheet" href="/style.css"><link rel="stylesheet" href="/voice.css"></head>
<body><main class="prejoin"><div class="card"><h1>A small site</h1>${body}</div></main></body></html>`;
}

function signInPage(problem) {
  const words = problem ? `<p class="problem" role="alert">${html(problem)}</p>` : '';
  return page(`<form method="post" action="/login" class="rows">
<label>Name <input name="name" required autocomplete="username" autocapitalize="none" maxlength="40"></label>
<label>Password <input name="password" type="password" required autocomplete="current-password" maxlength="100"></label>
${words}<button class="primary">Sign in</button></form>
<p class="hint">For the demonstration: ${people.map(({ name, password }) => `<code>${html(name)}</code> / <code>${html(password)}</code>`).join(', ')}</p>`);
}

function homePage(me) {
  const calls = people.filter(({ id }) => mayCall(me.id, id)).map(({ id, name }) => `<li><a href="/voice#call=${id}">Call ${html(name)}</a></li>`);
  const doors = rooms.filter(({ id }) => mayListen(me.id, id)).map(({ id, name }) => {
    const right = maySpeak(me.id, id) ? 'listen and speak' : 'listen';
    return `<li><a href="/voice#room=${id}">${html(name)}</a>: you may ${right}</li>`;
  });
  return page(`<p>You are ${html(me.name)}, number ${me.id}. <a href="/voice">Open the voice page</a></p>
<h2>People</h2><ul class="rows">${calls.join('')}</ul><h2>Rooms</h2><ul class="rows">${doors.join('')}</ul>
<form method="post" action="/logout"><button>Sign out</button></form>`);
}

/** The voice page with the URL of Switchboard and the names of the users and rooms. */
async function voicePage(me) {
  const named = (all) => Object.fromEntries(all.map(({ id, name }) => [id, name]));
  const directory = { people: named(people.filter(({ id }) => id === me.id || mayCall(me.id, id))), rooms: named(rooms.filter(({ id }) => mayListen(me.id, id))) };
  const metas = `<meta name="switchboard" content="${html(SWITCHBOARD)}">\n<meta name="switchboard-directory" content="${html(JSON.stringify(directory))}">`;
  return (await readFile(`${WEB}voice.html`, 'utf8')).replace('<head>', () => `<head>\n${metas}`);
}

async function file(path) {
  const name = fileURLToPath(new URL(`.${path}`, new URL('../../web/', import.meta.url)));
  const type = TYPES[extname(name)];
  return type && name.startsWith(WEB) ? { type, body: await readFile(name) } : null;
}

// ---- Requests

async function formOf(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > FORM_BYTES_MAX) throw new Error('the form is too long');
  }
  return new URLSearchParams(text);
}

async function signIn(request) {
  const form = await formOf(request);
  const who = byPassword(form.get('name') ?? '', form.get('password') ?? '');
  if (who) return { status: 303, headers: { Location: '/', ...setCookie(begin(who), SESSION_MS / 1000) } };
  await new Promise((resolve) => setTimeout(resolve, REFUSAL_DELAY_MS));
  return { status: 403, type: 'text/html; charset=utf-8', body: signInPage('That name and password do not fit.') };
}

// A form on another website must not act for a signed-in user, and must not sign a user in.
function isOwnForm({ headers }) {
  return URL.canParse(headers.origin ?? '') && new URL(headers.origin).host === headers.host;
}

async function respond(request) {
  const path = new URL(request.url ?? '/', 'http://site').pathname;
  const cookie = cookieOf(request);
  const session = live(cookie);
  if (request.method === 'POST') {
    if (!isOwnForm(request)) return { status: 403, body: 'not from this site' };
    if (path === '/login') return signIn(request);
    if (path !== '/logout') return { status: 404, body: 'not found' };
    end(cookie);
    return { status: 303, headers: { Location: '/', ...setCookie('', 0) } };
  }
  if (request.method !== 'GET') return { status: 405, body: 'GET and POST only' };
  if (path === '/Membres/newCRSF') {
    if (!session) return { status: 403, body: 'not signed in' };
    return { type: 'application/json', body: JSON.stringify({ token: session.token }) };
  }
  const answer = answerTo(path);
  if (answer !== null) return { body: answer };
  if (path === '/') return { type: 'text/html; charset=utf-8', body: session ? homePage(session.person) : signInPage('') };
  if (path === '/voice' && !session) return { status: 303, headers: { Location: '/' } };
  if (path === '/voice') return { type: 'text/html; charset=utf-8', body: await voicePage(session.person) };
  return (await file(path)) ?? { status: 404, body: 'not found' };
}

createServer(async (request, response) => {
  const answer = await respond(request).catch((error) => {
    console.error(request.method, error.message);
    return { status: error.code === 'ENOENT' ? 404 : 400, body: 'not found' };
  });
  const { status = 200, type = 'text/plain; charset=utf-8', body = '', headers = {} } = answer;
  response.writeHead(status, { ...HEADERS, 'Content-Type': type, ...headers }).end(body);
}).listen(PORT, HOST, () => console.log(`The site: http://localhost:${PORT} (voice by ${SWITCHBOARD})`));
