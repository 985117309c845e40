//! The certificates of a running server, which are reloaded when their files change, and on SIGHUP.

use std::net::SocketAddr;

use switchboard::{
    Tls,
    config::TlsConfig,
    network,
    tls::{CertificateManager, ServerCertificate, ServerCertificates, Storage},
};

/// The certificates that the server started with, and the TLS of its listeners.
pub(crate) struct Certificates {
    is_self_signed: bool,
    loaded: ServerCertificates,
    manager: CertificateManager,
}

impl Certificates {
    /// Loads the certificates of these settings; `None` without TLS. A missing self-signed certificate is made.
    pub(crate) fn load(settings: &TlsConfig) -> anyhow::Result<Option<Self>> {
        let manager = CertificateManager::load(settings).map_err(|error| {
            let setting = error.setting();
            anyhow::Error::new(error).context(setting)
        })?;
        Ok(manager.map(|manager| Self {
            is_self_signed: settings.self_signed,
            loaded: manager.current(),
            manager,
        }))
    }

    /// The default certificate of the start.
    pub(crate) fn shown(&self) -> &ServerCertificate {
        self.loaded.default_certificate()
    }

    /// A warning if the self-signed certificate is not for the address of this machine, as after a move to another
    /// network.
    pub(crate) fn warning(&self, main: SocketAddr) -> Option<String> {
        let Storage::SelfSigned(file) = self.shown().storage() else {
            return None;
        };
        let address = network::reachable_address(main.ip())?;
        let file = file.display();
        (!self.shown().is_for(&address.to_string())).then(|| {
            format!("the self-signed certificate is not for {address}: clients that verify the address reject it; remove {file} and restart the server to make a new one")
        })
    }

    pub(crate) fn tls(&self) -> Tls {
        self.manager.tls()
    }

    pub(crate) fn manager(&self) -> &CertificateManager {
        &self.manager
    }

    /// Reloads the files when they have changed, while the runtime runs.
    pub(crate) fn keep_current(&self) {
        if self.is_reloadable() {
            tokio::spawn(self.manager.clone().run());
        }
    }

    /// Whether the certificates are files of the operator: a self-signed certificate does not change.
    pub(crate) fn is_reloadable(&self) -> bool {
        !self.is_self_signed
    }
}
