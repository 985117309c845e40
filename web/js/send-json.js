// @ts-check

/**
 * Sends a message over a data channel. The browser refuses a message that is longer than the other end accepts, and any
 * message while too much waits to be sent.
 * @param {RTCDataChannel} channel @param {object} message @returns {boolean} whether it was accepted for sending
 */
export function sendJson(channel, message) {
  if (channel.readyState !== 'open') return false;
  try {
    channel.send(JSON.stringify(message));
    return true;
  } catch (error) {
    console.info('message not sent', error);
    return false;
  }
}
