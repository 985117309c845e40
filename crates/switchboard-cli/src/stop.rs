//! The signals that stop the server or reload its certificate.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT (Ctrl-C) and SIGTERM.
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

    /// Waits for the next of these signals.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP, which reloads the certificate.
pub(crate) struct ReloadSignal(Signal);

impl ReloadSignal {
    pub(crate) fn new() -> Result<Self, String> {
        let caught = signal(SignalKind::hangup());
        caught
            .map(Self)
            .map_err(|error| format!("cannot listen for signals: {error}"))
    }

    /// Waits for the next signal.
    pub(crate) async fn recv(&mut self) {
        self.0.recv().await;
    }
}
