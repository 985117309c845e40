//! The clock of voice.
//!
//! `clippy.toml` bans reading the clock in this crate; this module alone may, so that each reading can be found. The
//! state machines (`signaling`) and the wire format (`gostream`) must not use it either: they get the time as an
//! argument, and `cargo xtask tidy` checks that they name neither this module nor a runtime.

use std::time::{Duration, Instant, SystemTime};

/// The current time.
#[expect(clippy::disallowed_methods, reason = "the only reader of the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the only reader of the clock")]
pub(crate) fn unix_secs() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_secs())
}

/// The time since `earlier`.
pub(crate) fn since(earlier: Instant) -> Duration {
    now().saturating_duration_since(earlier)
}
