/** Sets a global until the test is over. @param {import('node:test').TestContext} t @param {string} name @param {unknown} value */
export function setGlobal(t, name, value) {
  const former = Object.getOwnPropertyDescriptor(globalThis, name);
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  t.after(() => (former ? Object.defineProperty(globalThis, name, former) : Reflect.deleteProperty(globalThis, name)));
}
