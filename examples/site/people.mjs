// The users, their permissions and their passwords. A real site has these in its database, and keeps hashes instead of passwords.

export const people = [
  { id: 1, name: 'ada', password: 'engine' },
  { id: 2, name: 'grace', password: 'compiler' },
  { id: 3, name: 'linus', password: 'kernel' },
];

/** The pairs of users that may call each other. The server asks about the callee too when it accepts, so a pair counts both ways. */
const pairs = [
  [1, 2],
  [1, 3],
];

export const rooms = [
  { id: 1, name: 'Lounge', speakers: [1, 2, 3], listeners: [1, 2, 3] },
  { id: 2, name: 'Lecture', speakers: [1], listeners: [1, 2, 3] },
  { id: 3, name: 'Board room', speakers: [1, 2], listeners: [1, 2] },
];

export function mayCall(from, to) {
  return pairs.some((pair) => from !== to && pair.includes(from) && pair.includes(to));
}

export function maySpeak(person, room) {
  return rooms.some(({ id, speakers }) => id === room && speakers.includes(person));
}

export function mayListen(person, room) {
  return rooms.some(({ id, listeners }) => id === room && listeners.includes(person));
}
