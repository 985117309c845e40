// @ts-check
// All texts of the call page, by area. A text is a string, or a function of the values in it.

export const texts = {
  view: {
    speaker: 'Speaker view',
    speakerTitle: 'Shows the member that speaks large',
  },
  tile: {
    /** @param {string} username */
    pin: (username) => `Pin ${username}`,
    /** @param {string} username */
    fullScreen: (username) => `Full screen of ${username}`,
    /** @param {string} username */
    volume: (username) => `Volume of ${username}`,
    /** @param {string} username */
    more: (username) => `More for ${username}`,
  },
};
