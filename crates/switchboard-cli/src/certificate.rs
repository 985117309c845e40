//! The certificate of a running server, which is reloaded on SIGHUP.

use std::{net::SocketAddr, sync::Arc};

use switchboard::{
    Tls,
    config::TlsConfig,
    network,
    tls::{ServerCertificate, Storage},
};

use crate::{report, stop::ReloadSignal};

/// The certificate that the server started with, and the TLS configuration of its listeners.
pub(crate) struct Certificate {
    settings: TlsConfig,
    loaded: ServerCertificate,
    tls: Tls,
}

impl Certificate {
    /// Loads the certificate of these settings; `None` without TLS. A missing self-signed certificate is made.
    pub(crate) fn load(settings: &TlsConfig) -> anyhow::Result<Option<Self>> {
        let loaded = ServerCertificate::load(settings).map_err(|error| {
            let setting = error.setting();
            anyhow::Error::new(error).context(setting)
        })?;
        Ok(loaded.map(|loaded| Self {
            settings: settings.clone(),
            tls: loaded.tls(),
            loaded,
        }))
    }

    pub(crate) fn shown(&self) -> &ServerCertificate {
        &self.loaded
    }

    /// A warning if the self-signed certificate is not for the address of this machine, as after a move to another
    /// network.
    pub(crate) fn warning(&self, main: SocketAddr) -> Option<String> {
        let Storage::SelfSigned(file) = self.loaded.storage() else {
            return None;
        };
        let address = network::reachable_address(main.ip())?;
        let file = file.display();
        (!self.loaded.is_for(&address.to_string())).then(|| {
            format!("the self-signed certificate is not for {address}: clients that verify the address reject it; remove {file} and restart the server to make a new one")
        })
    }

    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Reloads the files at each SIGHUP while the runtime runs. With a self-signed certificate or without TLS, SIGHUP
    /// ends the process, because a closing terminal sends it.
    pub(crate) fn reload_on_signal(self: Arc<Self>) -> anyhow::Result<()> {
        if self.settings.self_signed {
            return Ok(());
        }
        let mut signal = ReloadSignal::new()?;
        tokio::spawn(async move {
            loop {
                signal.recv().await;
                self.reload();
            }
        });
        Ok(())
    }

    /// Loads the files for new connections. If they are invalid, the old certificate stays in use.
    fn reload(&self) {
        match ServerCertificate::load(&self.settings) {
            Ok(Some(loaded)) => {
                self.tls.replace(loaded.server_config());
                let (fingerprint, valid_until) = (loaded.fingerprint(), loaded.valid_until());
                tracing::info!(fingerprint, valid_until, "TLS certificate reloaded");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!(
                    setting = error.setting(),
                    error = report::chain(&error),
                    "TLS certificate not reloaded: the old one stays in use"
                );
            }
        }
    }
}
