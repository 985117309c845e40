// @ts-check
// Values in messages of other members. JSON can hold an object that no conversion to text or number accepts.

/** The value as text; empty for anything but text, numbers and booleans. @param {unknown} value */
export function textOf(value) {
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : '';
}

/** The value as number; NaN for anything but numbers and their text. @param {unknown} value */
export function numberOf(value) {
  return typeof value === 'number' || typeof value === 'string' ? Number(value) : NaN;
}

/** The text of a session description in a frame. @param {{[key: string]: unknown}} frame */
export function sdpOf(frame) {
  return textOf(/** @type {{sdp?: unknown} | null | undefined} */ (frame['sdp'])?.sdp);
}
