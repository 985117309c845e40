/** Third-party clients from the registry. Pages load them from `/clients/`. */
import { build } from 'esbuild';
import { readFile } from 'node:fs/promises';

const PACKAGES = new URL('../node_modules/', import.meta.url);

/** Clients that are published for browsers, unmodified. @type {Record<string, string>} */
const FILES = {
  'peerjs-0.3.14.js': 'peerjs-0.3.14/dist/peer.min.js',
  'peerjs-0.3.20.js': 'peerjs-0.3.20/dist/peer.min.js',
  'peerjs-1.0.0.js': 'peerjs-1.0.0/dist/peerjs.min.js',
  'peerjs-1.3.2.js': 'peerjs-1.3.2/dist/peerjs.min.js',
  'peerjs-1.5.5.js': 'peerjs/dist/peerjs.min.js',
  'ayame.mjs': '@open-ayame/ayame-web-sdk/dist/ayame.mjs',
};

/** Clients that are published for bundlers only. Modules that share one yjs must be in one bundle with it. @type {Record<string, string[]>} */
const BUNDLES = { 'yjs.js': ['yjs', 'y-webrtc'] };

/** Clients that the tests run in Node: a script that defines `client`. @type {Record<string, string[]>} */
const SCRIPTS = { 'y-webrtc-node.js': ['yjs', 'y-webrtc'] };

/** @param {string} name */
export async function clientFile(name) {
  if (name in FILES) return readFile(new URL(FILES[name], PACKAGES));
  if (name in BUNDLES) return bundle(BUNDLES[name], { format: 'esm' });
  if (name in SCRIPTS) return bundle(SCRIPTS[name], { format: 'iife', globalName: 'client' });
  throw new Error(`no client ${name}`);
}

/** @param {string[]} names of packages @param {import('esbuild').BuildOptions} options */
async function bundle(names, options) {
  const contents = names.map((name) => `export * from '${name}';`).join('\n');
  const stdin = { contents, resolveDir: new URL('..', PACKAGES).pathname };
  const { outputFiles } = await build({ stdin, bundle: true, ...options, write: false, logLevel: 'silent' });
  return (outputFiles ?? [])[0].contents;
}
