// @ts-check
// Starts the voice page: the server, the kind of identity, then the page itself.

import { byId, say } from '../ui/dom.js';
import { fillTexts } from '../ui/fill-texts.js';
import { App } from './app.js';
import { KeyIdentity, SiteIdentity, explainIdentity, NotSignedIn } from './identity.js';
import { Server, serverBase } from './server.js';
import { texts } from './texts.js';
import { SoundSettings } from './ui/sound-settings.js';

const RETRY_MS = 3_000;

fillTexts(document, texts);
const server = new Server(serverBase());
await start();

async function start() {
  for (;;) {
    try {
      const identity = await newIdentity();
      new App(server, identity, await SoundSettings.open());
      return;
    } catch (problem) {
      explainDelay(problem);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

async function newIdentity() {
  const mode = await server.mode();
  if (mode.identity === 'keys') return new KeyIdentity(server);
  const site = mode.site ?? location.origin;
  const signIn = byId('sign-in-link', HTMLAnchorElement);
  signIn.href = site;
  if (new URL(site).origin !== location.origin) signIn.textContent = texts.page.signInElsewhere(new URL(site).host);
  const identity = new SiteIdentity(server, site);
  await identity.prepare();
  return identity;
}

/** @param {unknown} problem */
function explainDelay(problem) {
  console.info('start', problem);
  say(byId('banner', HTMLElement), explainIdentity(problem));
  byId('sign-in', HTMLElement).hidden = !(problem instanceof NotSignedIn);
  const connection = byId('connection', HTMLElement);
  connection.dataset['state'] = 'waiting';
  connection.textContent = texts.connection.waiting;
}
