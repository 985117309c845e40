/** The texts of the call page stand in `web/js/texts.js`: in one file, ready for translation. No browser is needed. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { language, texts } from '../../web/js/texts.js';

const WEB = new URL('../../web/', import.meta.url);
/** Text for users, not a name in code. */
const SENTENCE = /^[^\w]*[A-Z][a-z]+(?:$|[ …,.:!?’”])|[a-z”] [a-z“]+ [a-z]+|[a-z] …|[a-z]…/;
/** Words of the console and of errors that only a developer sees, and the names of things. */
const FOR_DEVELOPERS = /console\.\w+\(|new Error\(|new DOMException\(|^\s*(?:\*|\/\/|\/\*\*)|querySelector|anchor\.rel|includes\('Files'\)|closest\(|matchMedia|error\.name|name === |instanceof|=== '|keydown|'Escape'|import /;
/** Content of the HTML that is not translated: the name of the program, arrows, keys. */
const NAMES = /^(?:Switchboard|[↑↓MVSC]|)$/;

/** @param {string} path @returns {string[]} the modules of the call page */
function modules(path) {
  return readdirSync(new URL(path, WEB), { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) return entry.name === 'voice' ? [] : modules(`${path}${entry.name}/`);
    return entry.name.endsWith('.js') && entry.name !== 'texts.js' ? [`${path}${entry.name}`] : [];
  });
}

/** @param {string} source @returns {string[]} the lines with strings that look like text */
function sentencesIn(source) {
  return source.split('\n').filter((line) => {
    if (FOR_DEVELOPERS.test(line)) return false;
    const code = line.replace(/\/\*.*?\*\//g, '').replace(/\/\/ .*$/, '');
    const literals = [...code.matchAll(/'((?:[^'\\]|\\.)*)'|`((?:[^`\\]|\\.)*)`/g)];
    return literals.some(([, quoted, template]) => SENTENCE.test((quoted ?? template ?? '').replace(/\$\{[^}]*\}/g, 'x')));
  });
}

/** @param {string} key as `lobby.title` */
function textAt(key) {
  return key.split('.').reduce((/** @type {any} */ at, part) => at?.[part], texts);
}

const page = readFileSync(new URL('index.html', WEB), 'utf8').replace(/<!--[^]*?-->/g, '');

test('no module of the call page but texts.js holds a text', () => {
  const found = modules('js/').flatMap((path) => sentencesIn(readFileSync(new URL(path, WEB), 'utf8')).map((line) => `${path}: ${line.trim()}`));
  assert.deepEqual(found, []);
});

test('the heuristics find texts, and take names in code for none', () => {
  const found = ["say('Not sent.')", "const a = 'Camera off';", '`The ${device} is in use by another program.`', "label('Mute')", "text: 'x joined the call'"];
  assert.deepEqual(sentencesIn(found.join('\n')), found);
  assert.deepEqual(sentencesIn("byId('chat-log', HTMLElement)\ntype === 'FILE_META'\n'input:not([type=radio]), textarea'\n`${a} ${b}`\nconsole.info('The camera failed', error)"), []);
});

test('index.html names texts that there are, and has no other', () => {
  const named = [...page.matchAll(/\sdata-(?:text|label|placeholder|tooltip)="([^"]*)"/g)].map(([, key]) => key ?? '');
  assert.ok(named.length > 40);
  for (const key of named) assert.equal(typeof textAt(key), 'string', key);

  const body = page.slice(page.indexOf('<body')).replace(/<noscript>[^]*?<\/noscript>/, '');
  const words = body.replace(/<[^>]*>/g, '\n').split('\n').map((text) => text.trim());
  assert.deepEqual(words.filter((text) => !NAMES.test(text)), []);
  assert.deepEqual(body.match(/\s(?:aria-label|placeholder|title|alt)="[^"]*"/g) ?? [], []);
});

test('every text is used', () => {
  const all = page + modules('js/').map((path) => readFileSync(new URL(path, WEB), 'utf8')).join('\n');
  const names = Object.entries(texts).flatMap(([area, those]) => Object.keys(those).map((name) => ({ area, name })));
  const unused = names.filter(({ area, name }) => !all.includes(`${area}.${name}`) && !new RegExp(`\\b${name}\\b`).test(all));
  assert.deepEqual(unused, []);
});

test('numbers and plurals follow the rules of the language', () => {
  assert.equal(language, 'en');
  assert.equal(texts.controls.chatWithUnread(1), 'Chat, 1 unread message');
  assert.equal(texts.controls.chatWithUnread(2), 'Chat, 2 unread messages');
  assert.equal(texts.units.bytes(0), '0 B');
  assert.equal(texts.units.bytes(1536), '1.5 KiB');
  assert.equal(texts.units.rate(999), '999 kbit/s');
  assert.equal(texts.units.rate(1500), '1.5 Mbit/s');
});

test('style.css holds no text', () => {
  const contents = [...readFileSync(new URL('style.css', WEB), 'utf8').matchAll(/content: (['"])(.*?)\1/g)].map(([, , text]) => text);
  assert.deepEqual(contents.filter((text) => /\p{L}/u.test(text ?? '')), []);
});
