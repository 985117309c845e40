/** All texts of the voice page stand in `texts.js`: the HTML and the other modules have none of their own. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { texts } from '../../web/js/voice/texts.js';

const WEB = new URL('../../web/', import.meta.url);
const HTML = readFileSync(new URL('voice.html', WEB), 'utf8');
const MODULES = readdirSync(new URL('js/voice/', WEB), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js') && name !== 'texts.js');
const sources = new Map(MODULES.map((name) => [name, readFileSync(new URL(`js/voice/${name}`, WEB), 'utf8')]));

/** @param {string} path */
const valueAt = (path) => path.split('.').reduce((/** @type {any} */ at, name) => at?.[name], texts);

test('the page names texts that there are, and has no other', () => {
  const named = [...HTML.matchAll(/\sdata-(?:text|label|placeholder|tooltip)="([^"]*)"/g)].map(([, path]) => path);
  assert.ok(named.length > 40);
  for (const path of named) assert.equal(typeof valueAt(path), 'string', path);

  const body = HTML.slice(HTML.indexOf('<body')).replace(/<noscript>.*?<\/noscript>/s, '');
  const words = body.replace(/<[^>]*>/g, '').trim();
  assert.equal(words, '');
  assert.doesNotMatch(body, /\s(?:aria-label|placeholder|title|alt)="/);
});

test('no module has a sentence of its own', () => {
  for (const [name, source] of sources) {
    const code = source.replace(/\/\*.*?\*\//gs, '').replace(/(^|\s)\/\/.*$/gm, '$1');
    const literals = [...code.matchAll(/'([^'\n]*)'|`([^`]*)`/g)].map(([, plain = '', template = '']) => plain || template);
    const sentences = literals.filter((literal) => /^[A-Z][a-z]+(?: |[.…!?]$)/.test(literal));
    assert.deepEqual(sentences, [], name);
  }
});

test('every text is used', () => {
  const all = HTML + [...sources.values()].join('\n');
  const unused = Object.entries(texts).flatMap(([area, those]) => Object.keys(those).map((name) => ({ area, name })));
  const isUsed = (/** @type {{area: string, name: string}} */ { area, name }) => all.includes(`${area}.${name}`) || new RegExp(`\\b${name}\\b`).test([...sources.values()].join('\n'));
  assert.deepEqual(unused.filter((text) => !isUsed(text)), []);
});
