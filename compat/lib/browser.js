import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { keepMediaOnLoopback } from './loopback.js';
import { unlessCi } from './requirement.js';

const WITH_INTERFACE = ['chromium', 'chromium-browser', 'google-chrome'];
/** Without a user interface, Chromium takes a third of the processor time. */
const WITHOUT_INTERFACE = ['chromium-headless-shell', ...WITH_INTERFACE];

/** @param {string[]} names  of programs, in order of preference */
function find(names) {
  return process.env.CHROMIUM ?? names.map((name) => `/usr/bin/${name}`).find(existsSync) ?? `/usr/bin/${names[0]}`;
}

const EXECUTABLE = find(WITHOUT_INTERFACE);
const VIEWPORT = { width: 1280, height: 800 };

/** Ten pictures a second are enough to see that they move. A test that measures a rate needs a camera of thirty. */
const FLAGS = [
  '--use-fake-device-for-media-stream=fps=10',
  '--use-fake-ui-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
  '--disable-gpu',
  '--disable-quic',
  '--disable-sync',
];

/** A camera of thirty pictures a second. */
export const FAST_CAMERA = '--use-fake-device-for-media-stream=fps=30';

/** The reason why the tests cannot run here, or false. */
export const browserMissing = unlessCi(![EXECUTABLE, find(WITH_INTERFACE)].every(existsSync) && `NO BROWSER: there is no Chromium at ${find(WITH_INTERFACE)} (set CHROMIUM to its path)`);

if (browserMissing) console.error(`\n!!! ${browserMissing}: every browser test is skipped !!!\n`);

/**
 * @param {string[]} flags additional flags
 * @param {boolean} hasInterface  only such a browser keeps the ids of devices when a page is loaded again
 */
export async function launchBrowser(flags = [], hasInterface = false) {
  return chromium.launch({ executablePath: hasInterface ? find(WITH_INTERFACE) : EXECUTABLE, headless: true, chromiumSandbox: false, args: [...FLAGS, ...flags] });
}

/** The screen of a current phone, in CSS pixels. */
export const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

/**
 * @param {import('playwright-core').Browser} browser @param {() => void} [prepare] runs in every page before its own scripts
 * @param {import('playwright-core').BrowserContextOptions} [device]
 */
export async function newContext(browser, prepare, device) {
  const context = await browser.newContext({ viewport: VIEWPORT, permissions: ['camera', 'microphone', 'screen-wake-lock'], acceptDownloads: true, ...device });
  await context.addInitScript(keepMediaOnLoopback);
  if (prepare) await context.addInitScript(prepare);
  return context;
}
