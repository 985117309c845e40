import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/**
 * `elliptic`, with which gostream's own page signs, as one script for a page: it sets `window.elliptic`. The modules of
 * Node are left out; it does not need them in a browser.
 */
export function ellipticScript() {
  /** @type {Map<string, string>} */
  const modules = new Map();

  /** @param {string} file */
  const add = (file) => {
    if (modules.has(file)) return;
    const source = readFileSync(file, 'utf8');
    modules.set(file, '');
    const { resolve } = createRequire(file);
    const names = [...source.matchAll(/\brequire\('([^']+)'\)/g)].map(([, name]) => [name, resolve(name)]);
    const needed = Object.fromEntries(names.filter(([, target]) => target.startsWith('/')));
    const body = file.endsWith('.json') ? `module.exports = ${source}` : source;
    modules.set(file, `{ needed: ${JSON.stringify(needed)}, run(module, exports, require) { ${body}\n } }`);
    Object.values(needed).forEach(add);
  };

  const main = createRequire(import.meta.url).resolve('elliptic');
  add(main);
  const table = [...modules].map(([file, entry]) => `${JSON.stringify(file)}: ${entry}`).join(',\n');
  return `{
    const modules = {\n${table}\n};
    const load = (file) => {
      const entry = modules[file];
      if (!entry.module) {
        entry.module = { exports: {} };
        entry.run.call(entry.module.exports, entry.module, entry.module.exports, (name) => {
          if (!entry.needed[name]) throw new Error('no ' + name + ' here');
          return load(entry.needed[name]);
        });
      }
      return entry.module.exports;
    };
    window.elliptic = load(${JSON.stringify(main)});
  }`;
}
