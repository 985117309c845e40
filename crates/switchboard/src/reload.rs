//! The reload of settings while the server runs.

use std::{fmt, sync::Arc};

use switchboard_core::{Limits, error_chain};
use thiserror::Error;

use crate::{
    Config, Server,
    app_state::AppState,
    config::{ConfigError, SettingChanges},
    server::with_plain_connections,
};

/// A function that reads the settings again and passes them to [`Server::reload`].
pub(crate) struct ReloadHook(Box<dyn Fn() -> Result<ReloadReport, ReloadError> + Send + Sync>);

impl fmt::Debug for ReloadHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadHook").finish_non_exhaustive()
    }
}

/// The settings that a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The settings that were changed, as `SECTION.KEY`. A secret that replaces another one is not listed.
    pub changed: Vec<String>,
    /// The settings whose new values need a restart; the old values stay in force.
    pub needs_restart: Vec<String>,
}

/// The reason why nothing was reloaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// Settings are not valid. All settings stay as they are.
    #[error("the settings are not valid: {}", list(.0))]
    Invalid(Vec<ConfigError>),
    /// The host program has not said how to read the settings: see [`Server::on_reload`].
    #[error("this program does not reload settings")]
    NotSupported,
}

fn list(errors: &[ConfigError]) -> String {
    let texts = errors.iter().map(|error| error_chain(error));
    texts.collect::<Vec<_>>().join("; ")
}

impl Server {
    /// Replaces settings while the server runs: access control, origins, room policies, limits, ICE servers and the settings of
    /// dialects. New limits hold in rooms at once and for later connections; no connection is closed. Other settings
    /// stay as they are, and the report lists them.
    ///
    /// # Errors
    /// If the settings are not valid. All settings stay as they are then.
    pub fn reload(&self, config: Config) -> Result<ReloadReport, ReloadError> {
        let before = self.state.effective.get();
        let errors = config.validate();
        if !errors.is_empty() {
            return Err(ReloadError::Invalid(errors));
        }
        let SettingChanges {
            reloaded,
            needs_restart,
        } = before.changes(&config);
        // New values that need a restart stay out, so the settings that remain are checked too.
        let merged = before.with_reloaded(config);
        let errors = merged.validate();
        if !errors.is_empty() {
            return Err(ReloadError::Invalid(errors));
        }
        self.state.apply(merged);
        Ok(ReloadReport {
            changed: reloaded,
            needs_restart,
        })
    }

    /// Sets the function that reads the settings again and calls [`Server::reload`]. The admin API calls it. Only the
    /// first call has an effect.
    pub fn on_reload(
        &self,
        hook: impl Fn() -> Result<ReloadReport, ReloadError> + Send + Sync + 'static,
    ) {
        drop(self.state.reload.set(ReloadHook(Box::new(hook))));
    }

    /// The settings that are in force, after the last reload.
    #[must_use]
    pub fn effective_config(&self) -> Arc<Config> {
        self.state.effective.get()
    }
}

impl AppState {
    /// Calls the function of [`Server::on_reload`].
    #[expect(dead_code, reason = "the admin API calls it")]
    pub(crate) fn reload_settings(&self) -> Result<ReloadReport, ReloadError> {
        let hook = self.reload.get().ok_or(ReloadError::NotSupported)?;
        (hook.0)()
    }

    /// Replaces the limits of connections and expensive requests.
    fn set_connection_limits(&self, limits: &Limits) {
        let (all, per_address) = (limits.connections, limits.connections_per_address);
        self.permits.set_limits(all, per_address);
        let plain_max = [all, per_address].map(with_plain_connections);
        self.plain_permits.set_limits(plain_max[0], plain_max[1]);
        self.context.queue_memory.set_bytes_max(limits.memory_max);
        self.rates.set_rate(
            limits.expensive_requests_per_second,
            limits.expensive_requests_burst,
        );
    }

    /// Applies valid settings to later connections and requests.
    fn apply(&self, config: Config) {
        if let Err(invalid) = self.guard.reload(&config) {
            // `validate` has checked the patterns.
            tracing::error!(
                value = invalid.value,
                "origins not reloaded: invalid pattern"
            );
        }
        let access = self.access.get().with_settings(&config.access);
        self.access.set(Arc::new(access));
        self.set_connection_limits(&config.limits);
        let limits = Arc::new(config.limits.clone());
        self.shards.set_limits(&limits);
        self.context.limits.set(limits);
        self.shards.policies().replace(config.room_policies());
        self.settings.set(Arc::new(config.shared_settings()));
        self.effective.set(Arc::new(config));
    }
}
