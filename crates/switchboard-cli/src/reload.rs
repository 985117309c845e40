//! The reload of settings and certificates, on SIGHUP and by the admin API.

use switchboard::{ReloadError, ReloadReport, Server, tls::CertificateManager};

use crate::{
    args::Options, certificate::Certificates, logging::LevelSetter, report, settings,
    stop::ReloadSignal,
};

/// The signal that reloads. `None` if there is nothing to read again: without a configuration file and certificate
/// files, SIGHUP ends the process, because a closing terminal sends it.
pub(crate) fn signal(
    options: &Options,
    certificates: Option<&Certificates>,
) -> anyhow::Result<Option<ReloadSignal>> {
    let has_certificates = certificates.is_some_and(Certificates::is_reloadable);
    let has_files = options.config.is_some() || has_certificates;
    has_files.then(ReloadSignal::new).transpose()
}

/// Reloads at each signal while the runtime runs, and when the admin API asks for it.
pub(crate) fn serve(
    server: &Server,
    options: &Options,
    certificates: Option<CertificateManager>,
    level: LevelSetter,
    signal: Option<ReloadSignal>,
) {
    let reloader = Reloader {
        server: server.clone(),
        options: options.clone(),
        certificates,
        level,
    };
    let of_api = reloader.clone();
    server.on_reload(move || of_api.reload());
    if let Some(mut signal) = signal {
        tokio::spawn(async move {
            loop {
                signal.recv().await;
                reloader.reload_and_log();
            }
        });
    }
}

/// Reads the settings again, from the same file, environment and flags.
#[derive(Clone)]
struct Reloader {
    server: Server,
    options: Options,
    certificates: Option<CertificateManager>,
    level: LevelSetter,
}

impl Reloader {
    fn reload(&self) -> Result<ReloadReport, ReloadError> {
        let (config, errors) = settings::read(&self.options);
        if !errors.is_empty() {
            return Err(ReloadError::Invalid(errors));
        }
        let level = config.log.level;
        let report = self.server.reload(config)?;
        self.level.set(level);
        if let Some(certificates) = &self.certificates {
            certificates.reload_and_log();
        }
        Ok(report)
    }

    fn reload_and_log(&self) {
        match self.reload() {
            Ok(report) => {
                let changed = report.changed.join(", ");
                let needs_restart = report.needs_restart.join(", ");
                tracing::info!(changed, needs_restart, "settings reloaded");
            }
            Err(ReloadError::Invalid(errors)) => {
                for error in &errors {
                    let error = report::chain(error);
                    tracing::error!(error, "settings not reloaded: the old ones stay in force");
                }
            }
            Err(error) => {
                tracing::error!(error = report::chain(&error), "settings not reloaded");
            }
        }
    }
}
