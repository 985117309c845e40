/** Which of two members sends the offer, as `docs/dialects.md` says. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const DOCUMENT = new URL('../../docs/dialects.md', import.meta.url);
const CALLERS = ['the newcomer', 'the member', 'either side'];

/** @type {Record<string, Record<string, string>>} by the dialect of the newcomer, then that of the member */
const TABLE = readTable(readFileSync(DOCUMENT, 'utf8'));

/**
 * The sender of the offer in the documentation: one of `CALLERS`.
 * @param {string} newcomer a dialect @param {string} member another one
 */
export function whoCalls(newcomer, member) {
  const caller = TABLE[newcomer]?.[member];
  assert.ok(CALLERS.includes(caller), `the documentation does not say who calls when ${newcomer} joins ${member}`);
  return caller;
}

/** @param {string} document */
function readTable(document) {
  const made = document.match(/<!-- made: calls -->\n(.*?)<!-- end -->/s);
  assert.ok(made, 'the documentation has no table of who calls');
  const [[, ...members], , ...lines] = made[1].trim().split('\n').map(cellsOf);
  return Object.fromEntries(lines.map(([newcomer, ...callers]) => [newcomer, Object.fromEntries(callers.map((caller, index) => [members[index], caller]))]));
}

/** @param {string} line of a table in Markdown */
function cellsOf(line) {
  return line.split('|').slice(1, -1).map((cell) => cell.trim().replaceAll('`', ''));
}
