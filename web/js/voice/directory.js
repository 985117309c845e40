// @ts-check
// Names that a website gives along with the page, for users and rooms, which it knows by numbers.

/** @typedef {Map<string, string>} NameMap */

const { people, rooms } = read();

/** @type {NameMap} */
export const givenPeople = entries(people);
/** @type {NameMap} */
export const givenRooms = entries(rooms);

/** @returns {{people?: unknown, rooms?: unknown}} */
function read() {
  try {
    const text = document.querySelector('meta[name=switchboard-directory]')?.getAttribute('content');
    return JSON.parse(text ?? '{}') ?? {};
  } catch {
    return {};
  }
}

/** @param {unknown} names @returns {NameMap} */
function entries(names) {
  if (typeof names !== 'object' || names === null) return new Map();
  return new Map(Object.entries(names).filter(([, name]) => typeof name === 'string'));
}
