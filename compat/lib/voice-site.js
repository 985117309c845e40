import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { freePort } from './program.js';
import { Server } from './server.js';

const PROGRAM = fileURLToPath(new URL('../../examples/site/server.mjs', import.meta.url));
/** @type {Record<string, string>} */
const PASSWORDS = { Ada: 'engine', Grace: 'compiler', Linus: 'kernel' };

/**
 * The example website, a server that authenticates users by it, and its users, which sign in and open its voice page.
 * @param {(() => Promise<unknown>)[]} closers
 */
export async function openSite(closers) {
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const server = await Server.start({ SWITCHBOARD_GOSTREAM_IDENTITY: 'site', SWITCHBOARD_GOSTREAM_SITE_URL: origin });
  closers.unshift(() => server.stop());
  await startSite(port, server, closers);
  return { server, openPage: (/** @type {import('./voice-person.js').Person} */ person) => signIn(person, origin) };
}

/** @param {number} port @param {Server} server @param {(() => Promise<unknown>)[]} closers */
async function startSite(port, server, closers) {
  const env = { ...process.env, PORT: String(port), SWITCHBOARD: server.origin };
  const site = spawn(process.execPath, [PROGRAM], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const kill = () => site.kill('SIGKILL');
  process.once('exit', kill);
  const ended = once(site, 'exit');
  closers.unshift(async () => {
    kill();
    await ended;
    process.removeListener('exit', kill);
  });
  const failed = ended.then(([code]) => Promise.reject(new Error(`the site ended with ${code}`)));
  // After the start, the end of the site is no error.
  failed.catch(() => {});
  await Promise.race([once(site.stdout, 'data'), failed]);
}

/** @param {import('./voice-person.js').Person} person @param {string} origin */
async function signIn({ name, page }, origin) {
  await page.goto(origin);
  await page.getByLabel('Name').fill(name.toLowerCase());
  await page.getByLabel('Password').fill(PASSWORDS[name]);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('link', { name: 'Open the voice page' }).click();
}
