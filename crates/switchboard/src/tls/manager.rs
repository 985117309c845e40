//! Keeps the certificates of running listeners up to date.

use std::{sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};
use switchboard_core::error_chain;
use switchboard_transport::Tls;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    CertificateError, ServerCertificate, ServerCertificates, TlsConfig,
    acme::{AcmeChallenges, AcmeStore, Renewal},
    stamp::FileStamps,
};

/// Files that have changed are read when they have not changed again for this time: a tool writes the certificate and
/// the key one after the other.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// Files that change all the time are read after so many settle times.
const SETTLE_ROUNDS_MAX: usize = 10;

/// The certificates of running listeners. They are replaced when their files change; connections stay open.
///
/// ```no_run
/// use switchboard::{Config, Listener, Server, tls::CertificateManager};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = Config::default();
/// config.tls.self_signed = true;
/// let mut listener = Listener::bind(([0, 0, 0, 0], 8443).into())?;
/// if let Some(certificates) = CertificateManager::load(&config.tls)? {
///     let loaded = certificates.current();
///     println!("SHA-256: {}", loaded.default_certificate().fingerprint());
///     listener = listener.with_tls(certificates.tls());
///     tokio::spawn(certificates.run());
/// }
/// Server::builder().config(config).build()?.serve(listener);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CertificateManager(Arc<Managed>);

#[derive(Debug)]
struct Managed {
    settings: TlsConfig,
    tls: Tls,
    current: RwLock<ServerCertificates>,
    /// The files as they were just before they were read.
    stamps: Mutex<FileStamps>,
    renewal: Option<Renewal>,
}

impl CertificateManager {
    /// Loads the certificates of these settings; `None` without TLS. A missing self-signed certificate is made.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn load(settings: &TlsConfig) -> Result<Option<Self>, CertificateError> {
        let stamps = FileStamps::of(settings.watched());
        let acme = Some(&settings.acme).filter(|acme| acme.is_on());
        let store = acme.map(|acme| AcmeStore::of(acme).ok_or_else(CertificateError::no_folder));
        let has_http = !settings.redirect_listen.is_empty();
        let renewal = acme.zip(store.transpose()?);
        let renewal = renewal.map(|(acme, store)| Renewal::new(acme, store, has_http));
        let managed = |current: ServerCertificates| {
            let challenges = renewal.as_ref().map(|renewal| renewal.challenges.clone());
            Self(Arc::new(Managed {
                settings: settings.clone(),
                tls: Tls::new(current.setup_with(challenges)),
                current: RwLock::new(current),
                stamps: Mutex::new(stamps),
                renewal,
            }))
        };
        Ok(ServerCertificates::load(settings)?.map(managed))
    }

    /// TLS for listeners. It always has the current certificates.
    #[must_use]
    pub fn tls(&self) -> Tls {
        self.0.tls.clone()
    }

    /// The current certificates.
    #[must_use]
    pub fn current(&self) -> ServerCertificates {
        self.0.current.read().clone()
    }

    /// Reads the files again, for new connections.
    ///
    /// # Errors
    /// If a file cannot be used. The old certificates stay in use.
    pub fn reload(&self) -> Result<(), CertificateError> {
        let managed = &*self.0;
        *managed.stamps.lock() = FileStamps::of(managed.settings.watched());
        if let Some(loaded) = ServerCertificates::check(&managed.settings)? {
            self.replace(loaded);
        }
        Ok(())
    }

    fn replace(&self, loaded: ServerCertificates) {
        self.0.tls.replace(loaded.setup_with(self.challenges()));
        *self.0.current.write() = loaded;
    }

    /// Replaces the certificate of an ACME server.
    pub(super) fn replace_default(&self, certificate: ServerCertificate) {
        self.replace(self.current().with_default(certificate));
    }

    /// The challenges of an ACME server.
    pub(super) fn challenges(&self) -> Option<Arc<AcmeChallenges>> {
        let renewal = self.0.renewal.as_ref();
        renewal.map(|renewal| renewal.challenges.clone())
    }

    /// Reads the files again, and logs the result. With ACME, a request that has failed is repeated at once.
    pub fn reload_and_log(&self) {
        if let Some(renewal) = &self.0.renewal {
            return renewal.retry.notify_waiters();
        }
        match self.reload() {
            Ok(()) => {
                for certificate in self.current().iter() {
                    let (fingerprint, valid_until) =
                        (certificate.fingerprint(), certificate.valid_until());
                    let names = certificate.names().join(" ");
                    tracing::info!(names, fingerprint, valid_until, "TLS certificate reloaded");
                }
            }
            Err(error) => tracing::error!(
                setting = error.setting(),
                error = error_chain(&error),
                "TLS certificate not reloaded: the old one stays in use until the file changes again or SIGHUP"
            ),
        }
    }

    /// Reloads the certificates whenever their files have changed, or renews them by ACME, until it is dropped.
    pub async fn run(self) {
        match &self.0.renewal {
            Some(renewal) => renewal.run(&self).await,
            None => self.watch().await,
        }
    }

    async fn watch(&self) {
        let interval = self.0.settings.reload_interval;
        if interval.is_zero() || self.0.settings.watched().next().is_none() {
            return;
        }
        loop {
            sleep(interval).await;
            if self.have_files_changed().await {
                let manager = self.clone();
                drop(spawn_blocking(move || manager.reload_and_log()).await);
            }
        }
    }

    /// Whether the files have changed since they were read. If so, waits until they are complete.
    async fn have_files_changed(&self) -> bool {
        let mut seen = self.stamps().await;
        if seen == *self.0.stamps.lock() {
            return false;
        }
        for _ in 0..SETTLE_ROUNDS_MAX {
            sleep(SETTLE_TIME).await;
            let again = self.stamps().await;
            if again == seen {
                break;
            }
            seen = again;
        }
        // A signal may have reloaded them meanwhile.
        seen != *self.0.stamps.lock()
    }

    async fn stamps(&self) -> FileStamps {
        let managed = self.0.clone();
        let stamps = spawn_blocking(move || FileStamps::of(managed.settings.watched()));
        stamps
            .await
            .unwrap_or_else(|_| self.0.stamps.lock().clone())
    }
}
