import { Guest } from './guest.js';
import { hearsAll, hearsNone, hearsOnly } from './voice-ear.js';

const playing = () => window.playing();

/** A user of the page at `/voice` that sends a tone. */
export class Person extends Guest {
  /** @param {string} name @param {number} tone in Hz @param {import('playwright-core').Page} page */
  constructor(name, tone, page) {
    super(name, page);
    this.tone = tone;
    /** The key or number by which other users call this one. */
    this.address = '';
  }

  /** @param {string} testid */
  at(testid) {
    return this.page.getByTestId(testid);
  }

  /** Waits until the page can be used. */
  async arrives() {
    await this.shows('connection', { state: 'online' });
    this.address = (await this.at('you').getAttribute('data-address')) ?? '';
  }

  /** Selects the format, and disables the audio processing of the browser, which suppresses a tone as noise. @param {string} format */
  async prefers(format) {
    await this.at('sound').evaluate((details) => details.setAttribute('open', ''));
    await this.at('format').selectOption(format);
    await this.at('raw').check();
  }

  /** @param {Person} other */
  async calls(other) {
    await this.at('call-address').fill(other.address);
    await this.at('call-button').click();
  }

  /** Calls, is accepted, and talks. @param {Person} callee */
  async connects(callee) {
    await this.calls(callee);
    await callee.isRungBy(this, 'verified');
    await callee.at('accept').click();
    await Promise.all([this.talksWith('call', callee.address), callee.talksWith('call', this.address)]);
  }

  /** Listens in a room. @param {string} room */
  async enters(room) {
    await this.at('room-name').fill(room);
    await this.at('room-button').click();
    await this.shows('talk', { kind: 'room', other: room, down: 'on' });
  }

  /** Gives itself a display name. @param {string} name */
  async isNamed(name) {
    await this.at('my-name').fill(name);
    await this.at('my-name').press('Enter');
    await this.reads('my-name-save', 'Saved');
  }

  /** @param {Person} other @param {string} state the kind of proof of the caller */
  async isRungBy(other, state) {
    await this.shows('incoming-call', { from: other.address, state });
  }

  /** Waits until this call or room is connected in both directions. @param {string} kind @param {string} other */
  async talksWith(kind, other) {
    await this.shows('talk', { kind, other, up: 'on', down: 'on' });
  }

  async isAlone() {
    await this.at('talk').waitFor({ state: 'hidden' });
  }

  /** Waits until it hears exactly these of all users. @param {Person[]} people @param {Person[]} all */
  async hears(people, all) {
    const tones = people.map(({ tone }) => tone);
    const others = all.map(({ tone }) => tone).filter((tone) => !tones.includes(tone));
    if (tones.length === 0) return hearsNone(this, playing, ...others);
    if (tones.length === 1) return hearsOnly(this, playing, tones[0], ...others);
    return hearsAll(this, playing, ...tones);
  }

  /**
   * Waits until an element has these data attributes.
   * @param {string} testid @param {Record<string, string>} data
   */
  async shows(testid, data) {
    await this.until(`${testid} with ${JSON.stringify(data)}`, ({ testid, data }) => {
      const elements = [...document.querySelectorAll(`[data-testid="${testid}"]`)];
      return elements.some((element) => {
        const { dataset, hidden } = /** @type {HTMLElement} */ (element);
        return !hidden && Object.entries(data).every(([key, value]) => dataset[key] === value);
      });
    }, { testid, data });
  }

  /** @param {string} testid @param {string} words */
  async reads(testid, words) {
    await this.at(testid).filter({ hasText: words }).first().waitFor();
  }

  /** @override */
  async describe() {
    return this.page.locator('body').innerText();
  }
}
