/**
 * The reason to skip a test, or false. With `CI=true` a missing tool fails the file of the test instead.
 * @param {string | false} reason @returns {string | false}
 */
export function unlessCi(reason) {
  if (reason && process.env['CI'] === 'true') throw new Error(reason);
  return reason;
}
