//! The certificate of a running server, read again when a signal says so.

use std::net::SocketAddr;

use switchboard::{
    Tls,
    config::TlsConfig,
    network,
    tls::{CertificateError, ServerCertificate, Storage},
};

use crate::stop::Reload;

/// The certificate that the server started with, and the TLS of its listeners.
pub(crate) struct Certificate {
    settings: TlsConfig,
    loaded: ServerCertificate,
    tls: Tls,
}

impl Certificate {
    /// The certificate of these settings; none without TLS. A self-signed one is made if there is none.
    pub(crate) fn load(settings: &TlsConfig) -> Result<Option<Self>, String> {
        let loaded = ServerCertificate::load(settings).map_err(|error| words(&error))?;
        Ok(loaded.map(|loaded| Self {
            settings: settings.clone(),
            tls: loaded.tls(),
            loaded,
        }))
    }

    pub(crate) fn shown(&self) -> &ServerCertificate {
        &self.loaded
    }

    /// A warning if the self-signed certificate does not name the address of this machine: it was made in another
    /// network.
    pub(crate) fn warning(&self, main: SocketAddr) -> Option<String> {
        let Storage::SelfSigned(file) = self.loaded.storage() else {
            return None;
        };
        let address = network::reachable_address(main.ip())?;
        let file = file.display();
        (!self.loaded.is_for(&address.to_string())).then(|| {
            format!("the self-signed certificate is not for {address}: clients that check names refuse it there; remove {file} and start again for a new one")
        })
    }

    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Reads the files again at each SIGHUP, as long as the runtime lives. With a self-signed certificate the signal
    /// ends the process, as without TLS: it is that of a terminal that is closed.
    pub(crate) fn reload_on_signal(self) -> Result<(), String> {
        if self.settings.self_signed {
            return Ok(());
        }
        let mut signal = Reload::new()?;
        tokio::spawn(async move {
            loop {
                signal.asked().await;
                self.reload();
            }
        });
        Ok(())
    }

    /// Uses the files as they are now for new connections; if they cannot be used, the old certificate stays.
    fn reload(&self) {
        match ServerCertificate::load(&self.settings) {
            Ok(Some(loaded)) => {
                self.tls.replace(loaded.server_config());
                let (fingerprint, valid_until) = (loaded.fingerprint(), loaded.valid_until());
                tracing::info!(fingerprint, valid_until, "TLS certificate reloaded");
            }
            Ok(None) => {}
            Err(error) => {
                let error = words(&error);
                tracing::error!(
                    error,
                    "TLS certificate not reloaded: the old one stays in use"
                );
            }
        }
    }
}

fn words(error: &CertificateError) -> String {
    format!("{}: {error}", error.setting())
}
