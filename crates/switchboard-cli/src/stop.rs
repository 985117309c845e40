//! The signals that say that it is enough.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, or a request to terminate.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(crate) fn new() -> Result<Self, String> {
        let catch =
            |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// Done at the first signal.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A request to read files again.
pub(crate) struct Reload(Signal);

impl Reload {
    pub(crate) fn new() -> Result<Self, String> {
        let caught = signal(SignalKind::hangup());
        caught
            .map(Self)
            .map_err(|error| format!("cannot listen for signals: {error}"))
    }

    /// Done at the next signal.
    pub(crate) async fn asked(&mut self) {
        self.0.recv().await;
    }
}
