//! A failed check, described in one line.

use std::fmt;
use std::time::Duration;

use futures::future::Either;
use smol::Timer;

pub(crate) type Result<T> = std::result::Result<T, Failure>;

#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Fails with these words when a condition does not hold.
pub(crate) fn ensure(holds: bool, words: impl FnOnce() -> String) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Failure::new(words()))
}

/// The output of a future; `None` if it takes longer than `limit`.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let future = std::pin::pin!(future);
    match futures::future::select(future, Timer::after(limit)).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}
