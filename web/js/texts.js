// @ts-check
// All texts of the call page, by area. A text is a string, or a function of the values in it. In index.html,
// `data-text="area.name"` names the text of an element (see ui/fill-texts.js). A translation replaces this file alone.

/** The language of these texts. */
export const language = 'en';

/** The variant of the language that the reader prefers, such as en-GB, for times and numbers. */
const locale = globalThis.navigator?.languages?.find((one) => one.split('-')[0] === language) ?? language;
const plurals = new Intl.PluralRules(language);
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(locale, { timeStyle: 'short' });
const BYTE_UNITS = /** @type {const} */ (['B', 'KiB', 'MiB', 'GiB']);

/** The plural form of a count. @param {number} count @param {Partial<Record<Intl.LDMLPluralRule, string>> & {other: string}} forms */
function plural(count, forms) {
  return `${whole.format(count)} ${forms[plurals.select(count)] ?? forms.other}`;
}

/** @param {number} bytes */
function bytesText(bytes) {
  const power = Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(power === 0 ? whole : tenths).format(bytes / 1024 ** power)} ${BYTE_UNITS[power]}`;
}

/** @param {number} kbits */
function rateText(kbits) {
  return kbits < 1000 ? `${whole.format(kbits)} kbit/s` : `${tenths.format(kbits / 1000)} Mbit/s`;
}

const NO_ROUTE = 'No route between the two networks';

export const texts = {
  page: {
    title: 'Switchboard',
    /** @param {string} room */
    titleInCall: (room) => `${room} – Switchboard`,
  },
  units: {
    bytes: bytesText,
    rate: rateText,
    /** @param {number} width @param {number} height @param {number} perSecond */
    picture: (width, height, perSecond) => `${width}×${height} ${whole.format(perSecond)} fps`,
    /** @param {Date} date */
    clock: (date) => clock.format(date),
    /** @param {string} text */
    shortened: (text) => `${text}…`,
  },
  lobby: {
    purpose: 'A call in the browser: picture, sound, chat and files go directly from browser to browser.',
    voicePage: 'Only sound? Use the voice page',
    cameraOff: 'Camera off',
    microphone: 'Microphone',
    camera: 'Camera',
    name: 'Your name',
    room: 'Room',
    join: 'Join the call',
    joining: 'Joining… Press to cancel',
    unreachable: 'The server cannot be reached. Trying again…',
    nameRefused: 'The server refused the name.',
    roomRefused: 'The server refused the room.',
    /** @param {string} problem  a sentence */
    chooseAnotherName: (problem) => `${problem} Please choose another name.`,
  },
  devices: {
    title: 'Devices and connection',
    camera: 'Camera',
    microphone: 'Microphone',
    speaker: 'Speaker',
    /** @param {number} number */
    unnamed: (number) => `Device ${whole.format(number)}`,
    none: 'None found',
    systemSpeaker: 'System default',
  },
  ice: {
    servers: 'STUN or TURN servers',
    placeholder: 'only those of this server',
    user: 'User (TURN only)',
    password: 'Password (TURN only)',
    hint: 'For calls between two networks, for example stun:stun.example.org:3478. The link of “Invite” contains them, with the password.',
    /** @param {string} address */
    notAnAddress: (address) => `“${address}” is not the address of a STUN or TURN server. Examples: stun:stun.example.org:3478, turn:turn.example.org`,
    needsUser: 'A TURN server needs a user.',
    needsPassword: 'A TURN server needs a password.',
  },
  media: {
    insecure: 'Camera and microphone need https:// or localhost; this page was opened over plain http. Chat and files still work.',
    noScreenSharing: 'This browser cannot share its screen.',
    microphone: {
      notAllowed: 'The browser was not allowed to use the microphone. Allow it in the address bar, then try again.',
      notFound: 'No microphone was found.',
      inUse: 'The microphone is in use by another program.',
      lost: 'The microphone has stopped: it was unplugged, or it is no longer allowed.',
      failed: 'The microphone could not be started.',
    },
    camera: {
      notAllowed: 'The browser was not allowed to use the camera. Allow it in the address bar, then try again.',
      notFound: 'No camera was found.',
      inUse: 'The camera is in use by another program.',
      lost: 'The camera has stopped: it was unplugged, or it is no longer allowed.',
      failed: 'The camera could not be started.',
    },
    /** The microphone and the camera failed for the same reason. */
    both: {
      notAllowed: 'The browser was not allowed to use the microphone and the camera. Allow them in the address bar, then try again.',
      notFound: 'No microphone and no camera were found.',
      inUse: 'The microphone and the camera are in use by another program.',
      failed: 'The microphone and the camera could not be started.',
    },
    screen: {
      notAllowed: 'Screen sharing was not allowed.',
      notFound: 'No screen was found.',
      inUse: 'The screen is in use by another program.',
      failed: 'The screen could not be shared.',
    },
  },
  connection: {
    connecting: 'Connecting to the server…',
    joined: 'In the room',
    /** @param {number} seconds */
    waiting: (seconds) => `Server lost, trying again in ${whole.format(seconds)} s`,
  },
  call: {
    people: 'People',
    peopleInCall: 'People in the call',
    alone: 'No other member is here yet.',
    sending: 'Sending ',
    receiving: ', receiving ',
    soundBlocked: 'The browser plays no sound until you touch the page or press a key.',
    noDevices: 'You are here without microphone and camera. You see and hear the others; chat and files work.',
    /** @param {string} wanted @param {string} claimed */
    nameTaken: (wanted, claimed) => `The name “${wanted}” is taken: you are “${claimed}” in this call.`,
    /** @param {string} username */
    joined: (username) => `${username} joined`,
    /** @param {string} username */
    present: (username) => `${username} is here`,
    /** @param {string} username */
    back: (username) => `${username} is back`,
    /** @param {string} username */
    left: (username) => `${username} left`,
    /** @param {string} username */
    sharesScreen: (username) => `${username} shares a screen`,
    /** @param {string} problem  the text of the server */
    serverSays: (problem) => `Server: ${problem}`,
  },
  quality: {
    title: 'Quality',
    normal: 'Normal',
    low: 'Low bandwidth',
    lowTitle: 'For slow networks: pictures of 320×240 at 12 fps, video 150 kbit/s, sound 24 kbit/s',
    audio: 'Audio only',
    audioTitle: 'No pictures, sound 24 kbit/s',
  },
  chat: {
    title: 'Chat and files',
    close: 'Close',
    messages: 'Messages',
    empty: 'Messages go directly to all members. Drop files here to send them.',
    message: 'Message',
    placeholder: 'Write to everyone',
    send: 'Send',
    sendFiles: 'Send files…',
    you: 'You',
    /** @param {string} username @param {string} content */
    news: (username, content) => `${username}: ${content}`,
    /** @param {string} names */
    notDelivered: (names) => `Not delivered to ${names}: no chat with them.`,
    throughServer: 'Sent through the server, because there is no direct chat yet:',
    /** @param {string} username */
    tooMany: (username) => `${username} sends too much at once: some messages and files are not shown.`,
    nobodyHere: 'Not sent: no other member is here yet.',
    nobodyReached: 'Not sent: no member can be reached at the moment.',
  },
  settings: {
    title: 'Settings',
    keys: 'Keys',
    useKeys: 'Use these keys outside text fields',
    keyMute: 'mute',
    keyCamera: 'camera',
    keyScreen: 'screen',
    keyChat: 'chat',
    done: 'Done',
  },
  dialog: {
    close: 'Close',
  },
  details: {
    /** @param {string} username */
    title: (username) => `Connection with ${username}`,
    state: 'State',
    states: { connecting: 'Connecting', connected: 'Connected', reconnecting: 'Reconnecting', failed: 'Not connected' },
    route: 'Route',
    /** @param {import('./connection-details.js').Route} route */
    routeOf: ({ isRelayed, local, remote, protocol }) =>
      `${isRelayed ? 'Relayed by a TURN server' : 'Direct'} (${[`${local} ↔ ${remote}`, protocol.toUpperCase()].filter(Boolean).join(', ')})`,
    roundTrip: 'Round trip',
    lossUp: 'Loss, sending',
    lossDown: 'Loss, receiving',
    audioUp: 'Sound, sending',
    audioDown: 'Sound, receiving',
    videoUp: 'Picture, sending',
    videoDown: 'Picture, receiving',
    unknown: 'Not known yet',
    /** @param {number} width @param {number} height @param {number} perSecond */
    picture: (width, height, perSecond) => `${width}×${height}, ${whole.format(perSecond)} fps`,
    /** @param {number} value */
    ms: (value) => (value < 1 ? 'Under 1 ms' : `${whole.format(value)} ms`),
    /** @param {number} share  0 to 1 */
    percent: (share) => `${tenths.format(share * 100)} %`,
    /** @param {number} value */
    kbits: (value) => `${whole.format(value)} kbit/s`,
  },
  invite: {
    button: 'Invite',
    title: 'Invite others',
    link: 'Link of this room',
    copy: 'Copy link',
    share: 'Share…',
    copied: 'Link copied',
    notCopied: 'The browser did not copy the link. It is selected: copy it by hand.',
    code: 'QR code of the link',
    onlyHere: 'This link works on this machine only. To get a link for others, open the page at the network address or the name of the server.',
  },
  view: {
    speaker: 'Speaker view',
    speakerTitle: 'Shows the speaking member in a large tile',
  },
  camera: {
    flip: 'Flip',
    flipTitle: 'Switch to the other camera',
  },
  tile: {
    /** @param {string} username */
    pin: (username) => `Pin ${username}`,
    /** @param {string} username */
    fullScreen: (username) => `Full screen of ${username}`,
    /** @param {string} username */
    volume: (username) => `Volume of ${username}`,
    /** @param {string} username */
    details: (username) => `Connection with ${username}`,
    /** @param {string} username */
    more: (username) => `More for ${username}`,
    muted: 'Muted',
    /** @param {number} up @param {number} down */
    rates: (up, down) => `Sending ${whole.format(up)}, receiving ${whole.format(down)} kbit/s`,
    /** @param {number} up @param {number} down */
    shortRates: (up, down) => `↑ ${whole.format(up)} ↓ ${whole.format(down)} kbit/s`,
    /** @param {string} picture  as "320×240 12 fps" */
    picture: (picture) => `Sending ${picture}`,
    /** @param {string} username */
    you: (username) => `${username} (you)`,
    states: { self: '', connecting: 'Connecting…', connected: 'Connected', reconnecting: 'Reconnecting…', failed: 'Not connected' },
    tryAgain: 'Try again',
  },
  files: {
    unnamed: 'file',
    accept: 'Accept',
    decline: 'Decline',
    cancel: 'Cancel',
    save: (/** @type {string} */ name) => `Save ${name}`,
    to: (/** @type {string} */ names) => `To ${names}`,
    receiving: (/** @type {string} */ name) => `Receiving ${name}`,
    sending: (/** @type {string} */ name) => `Sending ${name}`,
    progress: (/** @type {string} */ bytes, /** @type {string} */ size) => `${bytes} of ${size}`,
    offeredBy: (/** @type {string} */ name, /** @type {string} */ file) => `${name} offers the file ${file}`,
    offering: (/** @type {string} */ file, /** @type {string} */ names) => `Offering ${file} to ${names}`,
    accepting: 'Do you want this file?',
    arrivedUnasked: 'It has arrived. Do you want to keep it?',
    starting: 'Waiting for the sender…',
    declinedByYou: 'You declined it.',
    cancelledByYou: 'You cancelled it.',
    failed: (/** @type {string} */ problem) => `Failed: ${problem}.`,
    waitingFor: (/** @type {string} */ names) => `Waiting for the answer of ${names}.`,
    waitingForOthers: (/** @type {string} */ names) => `Accepted by ${names}; it waits for other files.`,
    sentTo: (/** @type {string} */ names) => `Sent to ${names}.`,
    declinedBy: (/** @type {string} */ names) => `Declined by ${names}.`,
    cancelledBy: (/** @type {string} */ name) => `Cancelled by ${name}.`,
    notSentTo: (/** @type {string} */ name, /** @type {string} */ problem) => `Not sent to ${name}: ${problem}.`,
    noReceiver: 'There is no member to receive files yet.',
    notOffered: (/** @type {string} */ names) => `Not offered to ${names}: there is no chat with them.`,
    cancelledBySender: 'Cancelled by the sender.',
    cancelledByReceiver: 'Cancelled by the receiver.',
    connectionEnded: 'the connection ended',
    endedEarly: 'it ended before it was complete',
    endedByReceiver: 'the receiver cancelled it',
    unreadable: 'the file cannot be read',
    sizeUnknown: 'its size is not known',
    tooLarge: (/** @type {string} */ limit) => `it is larger than ${limit}`,
    tooMany: 'too many files wait for an answer',
    tooMuchArrived: 'more arrived than was announced',
    notAcceptedInTime: (/** @type {string} */ limit) => `more than ${limit} arrived before it was accepted`,
  },
  /** The reasons of a failed connection: without a TURN server, or by the state of this member's relay. */
  noRoute: {
    withoutTurn: `${NO_ROUTE}; this server offers no TURN.`,
    none: `${NO_ROUTE}: the TURN server does not answer.`,
    found: `${NO_ROUTE}, not even through the TURN server.`,
    refused: `${NO_ROUTE}: the TURN server refuses the credentials.`,
    full: `${NO_ROUTE}: the TURN server has no room for another relay.`,
    silent: `${NO_ROUTE}: the TURN server does not answer.`,
  },
  status: {
    serverLost: 'The connection to the server is lost. Trying again.',
    serverBack: 'The connection to the server is back.',
    /** @param {string} name @param {string} reason */
    notConnected: (name, reason) => `Not connected with ${name}. ${reason}`,
  },
  controls: {
    /** @param {number} count */
    chatWithUnread: (count) => `Chat, ${plural(count, { one: 'unread message', other: 'unread messages' })}`,
    title: 'Call controls',
    mute: 'Mute',
    camera: 'Camera',
    screen: 'Screen',
    shareScreen: 'Share screen',
    chat: 'Chat',
    settings: 'Settings',
    leave: 'Leave',
    /** @param {string} name @param {string} key */
    withKey: (name, key) => `${name} (${key})`,
  },
};
