import assert from 'node:assert/strict';

const STOPS_MAX = 80;
/** The contrast of an indicator with its surroundings (WCAG 2.2, 1.4.11). */
const CONTRAST_MIN = 3;

/**
 * The focused element, and its focus indicator.
 * @typedef {object} Stop
 * @property {string} name  its data-testid, or its id, tag and text; empty if nothing has the focus
 * @property {boolean} isSeen  it has an outline, or the label of a hidden field has
 * @property {number} contrast  of the outline against the background behind it
 * @property {boolean} isCovered  something else lies on top of it
 * @property {string} label  its accessible name, by its attributes and text
 */

/** A user that operates a page by its keyboard only. */
export class Keyboard {
  /** @param {import('playwright-core').Page} page */
  constructor(page) {
    this.page = page;
  }

  /** @param {string} key */
  press(key) {
    return this.page.keyboard.press(key);
  }

  /** @param {string} text */
  type(text) {
    return this.page.keyboard.type(text);
  }

  /** Replaces the text of the field that has the focus. @param {string} text */
  async fill(text) {
    await this.press('Control+a');
    await this.press('Delete');
    await this.type(text);
  }

  /** @returns {Promise<Stop>} */
  stop() {
    return this.page.evaluate(whereFocusIs);
  }

  /** Waits until this has the focus. @param {string} testid */
  async isAt(testid) {
    await this.page.waitForFunction((testid) => document.activeElement?.getAttribute('data-testid') === testid, testid, { timeout: 30_000 });
  }

  /** Moves the focus to this element. Each element on the way must show its focus. @param {string} testid @param {string} [key] */
  async moveTo(testid, key = 'Tab') {
    /** @type {string[]} */
    const passed = [];
    for (let count = 0; count < STOPS_MAX; count += 1) {
      await this.press(key);
      const stop = await this.stop();
      if (stop.name) assertShown(stop);
      if (stop.name === testid) return;
      passed.push(stop.name);
    }
    assert.fail(`${testid} is not reached by ${key}, but ${passed.join(', ')}`);
  }

  /** All elements that get the focus in turn, until the first one has it again. @param {string} [key] */
  async round(key = 'Tab') {
    /** @type {Stop[]} */
    const stops = [];
    for (let count = 0; count < STOPS_MAX; count += 1) {
      await this.press(key);
      const stop = await this.stop();
      if (stop.name === '' || stop.name === stops[0]?.name) return stops;
      assertShown(stop);
      stops.push(stop);
    }
    assert.fail(`the focus does not return to its start after ${stops.map(({ name }) => name).join(', ')}`);
  }
}

/** Fails unless a user sees the focus on this element, and it has an accessible name. @param {Stop} stop */
function assertShown(stop) {
  assert.ok(stop.isSeen, `the focus is not seen at ${stop.name}`);
  assert.ok(stop.contrast >= CONTRAST_MIN, `the focus is seen with a contrast of ${stop.contrast} only at ${stop.name}`);
  assert.ok(!stop.isCovered, `${stop.name} has the focus, but is covered`);
  assert.ok(stop.label, `${stop.name} has no name`);
}

/** Runs in the page. @returns {Stop} */
function whereFocusIs() {
  const element = document.activeElement;
  if (!(element instanceof HTMLElement) || element === document.body) return { name: '', isSeen: true, contrast: 21, isCovered: false, label: '' };
  const name = element.dataset['testid'] ?? `${element.tagName.toLowerCase()}#${element.id}${element.textContent?.trim().slice(0, 20)}`;
  const labels = element instanceof HTMLInputElement || element instanceof HTMLSelectElement ? [...(element.labels ?? [])] : [];
  const label = element.getAttribute('aria-label') || labels.map(({ textContent }) => textContent).join(' ') || element.textContent || '';
  const isHidden = element.getBoundingClientRect().width < 2 || getComputedStyle(element).opacity === '0';
  const shown = [element, element.nextElementSibling, element.closest('label')].filter((one) => one instanceof HTMLElement);
  const outlined = (isHidden ? shown.slice(1) : shown).find((one) => outlineOf(one).width >= 2);
  const target = isHidden ? (labels[0] ?? element) : element;
  return {
    name,
    label: label.trim(),
    isSeen: outlined !== undefined,
    contrast: outlined ? contrastOf(outlined) : 0,
    isCovered: !isOnTop(target),
  };

  /** @param {HTMLElement} one */
  function outlineOf(one) {
    const { outlineStyle, outlineWidth, outlineColor, outlineOffset, boxShadow } = getComputedStyle(one);
    return { width: outlineStyle === 'none' ? 0 : parseFloat(outlineWidth), colour: outlineColor, isInside: parseFloat(outlineOffset) < 0, boxShadow };
  }

  /** Whether a click at the middle or the ends of the element would hit it. @param {HTMLElement} one */
  function isOnTop(one) {
    const { left, top, width, height } = one.getBoundingClientRect();
    const points = [[0.5, 0.5], [0.1, 0.5], [0.9, 0.5], [0.5, 0.1], [0.5, 0.9]];
    return points.some(([x, y]) => {
      const hit = document.elementFromPoint(left + width * (x ?? 0), top + height * (y ?? 0));
      return hit !== null && (one.contains(hit) || hit.contains(one));
    });
  }

  /** @param {HTMLElement} one */
  function contrastOf(one) {
    const { colour, isInside, boxShadow } = outlineOf(one);
    const ring = boxShadow.includes('inset') ? undefined : /^rgba?\([^)]*\)/.exec(boxShadow)?.[0];
    const behind = ring ?? backgroundOf(isInside ? one : one.parentElement);
    const [lighter, darker] = [luminance(colour), luminance(behind)].sort((a, b) => b - a);
    return Math.round((((lighter ?? 0) + 0.05) / ((darker ?? 0) + 0.05)) * 10) / 10;
  }

  /** @param {HTMLElement | null} from */
  function backgroundOf(from) {
    for (let one = from; one; one = one.parentElement) {
      const { backgroundColor } = getComputedStyle(one);
      if (!/rgba\(.*, 0\)/.test(backgroundColor)) return backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  }

  /** @param {string} colour */
  function luminance(colour) {
    const channels = (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map((channel) => Number(channel) / 255);
    const [red, green, blue] = channels.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * (red ?? 0) + 0.7152 * (green ?? 0) + 0.0722 * (blue ?? 0);
  }
}

/** Runs in a page before its own scripts: `window.announced` lists the announcements of a screen reader. */
export function recordAnnouncements() {
  /** @type {string[]} */
  const announced = [];
  window.announced = announced;
  const REGIONS = '[aria-live], [role=status], [role=alert], [role=log]';

  /** @param {Node} node */
  function regionOf(node) {
    const element = node instanceof Element ? node : node.parentElement;
    const region = element?.closest(REGIONS);
    const isSilent = !region || region.getAttribute('aria-live') === 'off' || region.getClientRects().length === 0;
    return isSilent || region.closest('[inert]') ? null : region;
  }

  /** @param {MutationRecord} mutation */
  function note({ type, target, addedNodes }) {
    const region = regionOf(target);
    if (!region) return;
    const texts = type === 'childList' ? [...addedNodes].map(({ textContent }) => textContent) : [target.textContent];
    for (const text of texts) if (text?.trim()) announced.push(text.trim());
  }

  const observer = new MutationObserver((mutations) => {
    // A text that is set while its element is hidden is announced once, when the element is shown.
    const seen = new Set();
    for (const mutation of mutations) {
      const key = mutation.type === 'attributes' ? mutation.target : null;
      if (key && mutations.some(({ type, target }) => type === 'childList' && target === key)) continue;
      if (key && seen.has(key)) continue;
      seen.add(key);
      note(mutation);
    }
  });
  observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ['hidden'] });
}
