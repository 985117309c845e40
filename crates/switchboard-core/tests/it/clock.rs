//! The start of the tests' time.

use std::time::Instant;

/// The time of the first input of a test. Tests add durations to it.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to get an Instant; the tests do not depend on its value"
)]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
