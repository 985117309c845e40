//! The signals that stop the server or reload its settings.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT (Ctrl-C) and SIGTERM.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let catch = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next of these signals.
    pub(crate) async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP, which reloads the settings and certificates.
pub(crate) struct ReloadSignal(Signal);

impl ReloadSignal {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let caught = signal(SignalKind::hangup());
        caught.map(Self).context("cannot listen for signals")
    }

    /// Waits for the next signal.
    pub(crate) async fn recv(&mut self) {
        self.0.recv().await;
    }
}
