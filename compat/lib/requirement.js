/**
 * Why a test is skipped, if it is. With `CI=true` nothing may be missing: then the test's file fails.
 * @param {string | false} reason @returns {string | false}
 */
export function unlessCi(reason) {
  if (reason && process.env['CI'] === 'true') throw new Error(reason);
  return reason;
}
