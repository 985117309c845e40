// @ts-check
// All texts of the call page, by area. A text is a string, or a function of the values in it.

const NO_ROUTE = 'No route between the two networks';

export const texts = {
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
    /** @param {number} value */
    ms: (value) => (value < 1 ? 'Under 1 ms' : `${Math.round(value)} ms`),
    /** @param {number} share  0 to 1 */
    percent: (share) => `${(share * 100).toFixed(1)} %`,
    /** @param {number} value */
    kbits: (value) => `${Math.round(value)} kbit/s`,
  },
  invite: {
    button: 'Invite',
    title: 'Invite others',
    link: 'Link of this room',
    copy: 'Copy link',
    share: 'Share…',
    copied: 'Link copied',
    notCopied: 'The browser did not copy the link: it is selected, copy it by hand.',
    code: 'QR code of the link',
    onlyHere: 'This link works on this machine only. Open the page at the network address of the server, or at its name, to get a link for others.',
  },
  view: {
    speaker: 'Speaker view',
    speakerTitle: 'Shows the member that speaks large',
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
    rates: (up, down) => `sending ${up}, receiving ${down} kbit/s`,
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
    endedEarly: 'it ended before it was whole',
    endedByReceiver: 'the receiver ended it',
    unreadable: 'the file cannot be read',
    sizeUnknown: 'its size is not known',
    tooLarge: (/** @type {string} */ limit) => `it is larger than ${limit}`,
    tooMany: 'too many files wait for an answer',
    tooMuchArrived: 'more arrived than was announced',
    notAcceptedInTime: (/** @type {string} */ limit) => `more than ${limit} arrived before it was accepted`,
  },
  /** Why a connection failed: without a TURN server, or by the state of the relay of this side. */
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
    chatWithUnread: (count) => `Chat, ${count} unread ${count === 1 ? 'message' : 'messages'}`,
  },
};
