//! Certificates by ACME (RFC 8555): the server requests one for its names, renews it, and keeps it in its state folder.

use std::{pin::pin, sync::Arc, time::Duration};

use switchboard_core::error_chain;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{CertificateManager, ServerCertificate};

mod challenges;
mod config;
mod error;
mod http;
mod order;
mod store;

pub(super) use challenges::AcmeChallenges;
use challenges::ChallengeKind;
pub use config::AcmeConfig;
pub(crate) use config::is_domain;
use error::AcmeError;
use order::OrderClient;
pub(super) use store::{AcmeStore, temporary};

/// The wait after the first failure. It grows with each failure, because authorities limit failures: Let's Encrypt
/// allows five an hour for a name.
const FIRST_WAIT: Duration = Duration::from_mins(1);

/// The longest wait after a failure.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// The longest sleep until a renewal. After it the clock is read again, which may have been set meanwhile.
const SLEEP_MAX: Duration = Duration::from_hours(1);

/// The time limit of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_mins(5);

/// The requests of a server for its certificate.
#[derive(Debug)]
pub(super) struct Renewal {
    config: AcmeConfig,
    store: AcmeStore,
    /// Whether a listener without TLS answers HTTP-01 challenges.
    has_http: bool,
    pub(super) challenges: Arc<AcmeChallenges>,
    /// Ends the wait after a failure.
    pub(super) retry: Notify,
}

impl Renewal {
    pub(super) fn new(config: &AcmeConfig, store: AcmeStore, has_http: bool) -> Self {
        Self {
            config: config.clone(),
            store,
            has_http,
            challenges: Arc::default(),
            retry: Notify::new(),
        }
    }

    /// Requests certificates when they are due, and gives them to `manager`, until it is dropped. A failure leaves the
    /// old certificate in use.
    pub(super) async fn run(&self, manager: &CertificateManager) {
        let mut failures = 0;
        loop {
            let due_in = self.due_in(manager.current().default_certificate());
            if !due_in.is_zero() {
                sleep(due_in.min(SLEEP_MAX)).await;
                continue;
            }
            let kind = self.kind(failures);
            let obtained = timeout(ATTEMPT_TIMEOUT, self.obtain(kind)).await;
            match obtained.unwrap_or(Err(AcmeError::AttemptTimedOut)) {
                Ok(certificate) => {
                    failures = 0;
                    let due_in = self.due_in(&certificate);
                    log_success(&certificate);
                    manager.replace_default(certificate);
                    if due_in.is_zero() {
                        // The clock of this machine is wrong, or the authority ignores a name.
                        sleep(WAIT_MAX).await;
                    }
                }
                Err(error) => {
                    let wait = wait_after(failures);
                    failures += 1;
                    let mut retry = pin!(self.retry.notified());
                    // From now on a signal ends the wait.
                    retry.as_mut().enable();
                    self.log_failure(&error, kind, wait, manager);
                    drop(timeout(wait, retry).await);
                }
            }
        }
    }

    /// The time until a certificate must be renewed: when a third of its validity is left.
    fn due_in(&self, certificate: &ServerCertificate) -> Duration {
        if !self.store.is_of_acme(certificate) || !self.config.is_covered_by(certificate) {
            return Duration::ZERO;
        }
        let left = certificate.time_left();
        left.saturating_sub(certificate.validity() / 3)
    }

    /// The challenge of an attempt: HTTP-01 if there is a listener for it. After a failure the other one is tried.
    fn kind(&self, failures: u32) -> ChallengeKind {
        if self.has_http && failures.is_multiple_of(2) {
            ChallengeKind::Http01
        } else {
            ChallengeKind::TlsAlpn01
        }
    }

    async fn obtain(&self, kind: ChallengeKind) -> Result<ServerCertificate, AcmeError> {
        let client = OrderClient {
            config: &self.config,
            store: &self.store,
            challenges: &self.challenges,
        };
        let (chain, key) = client.obtain(kind).await?;
        let store = self.store.clone();
        let saved = tokio::task::spawn_blocking(move || store.save_certificate(&chain, &key));
        saved.await.unwrap_or(Err(AcmeError::Unusable))
    }

    fn log_failure(
        &self,
        error: &AcmeError,
        kind: ChallengeKind,
        wait: Duration,
        manager: &CertificateManager,
    ) {
        let names = self.config.domains.join(" ");
        let directory = &*self.config.directory;
        let retry_secs = wait.as_secs();
        let (error, challenge) = (error_chain(error), kind.name());
        if self
            .store
            .is_of_acme(manager.current().default_certificate())
        {
            tracing::warn!(
                names,
                directory,
                challenge,
                error,
                retry_secs,
                "ACME certificate not renewed: the old one stays in use"
            );
        } else {
            tracing::error!(
                names,
                directory,
                challenge,
                error,
                retry_secs,
                "ACME certificate not obtained: a self-signed one is in use until then"
            );
        }
    }
}

fn log_success(certificate: &ServerCertificate) {
    let (fingerprint, valid_until) = (certificate.fingerprint(), certificate.valid_until());
    let names = certificate.names().join(" ");
    tracing::info!(names, fingerprint, valid_until, "ACME certificate obtained");
}

/// The wait after a failure that follows `failures` others.
fn wait_after(failures: u32) -> Duration {
    let factor = 4_u32.saturating_pow(failures);
    FIRST_WAIT.saturating_mul(factor).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_after_failures_keeps_below_the_limits_of_authorities() {
        let minutes = |failures| wait_after(failures).as_secs() / 60;
        let waits: Vec<_> = (0..6).map(minutes).collect();
        assert_eq!(waits, [1, 4, 16, 60, 60, 60]);
        assert_eq!(minutes(u32::MAX), 60);
    }
}
