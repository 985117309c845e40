import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** The script of axe. The debugger evaluates it, because the page's content security policy refuses foreign scripts. */
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** Fails if axe finds a breach of WCAG 2.2 AA or of its own best practices, in either colour scheme. @param {import('playwright-core').Page} page @param {string} state */
export async function hasNoBreach(page, state) {
  await page.evaluate(AXE);
  for (const colorScheme of /** @type {const} */ (['dark', 'light'])) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const breaches = await page.evaluate(async (rules) => {
      const { violations } = await /** @type {any} */ (window).axe.run(document, { runOnly: rules });
      return violations.map((/** @type {any} */ { id, nodes }) => `${id}: ${nodes.map((/** @type {any} */ { target }) => target).join(' ')}`);
    }, RULES);
    assert.deepEqual(breaches, [], `${state}, ${colorScheme}`);
  }
}
