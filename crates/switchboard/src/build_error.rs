//! The errors of building a server.

use switchboard_core::error_chain;
use switchboard_dialects::DialectNameError;
use thiserror::Error;

use crate::config::ConfigError;

/// The reason why a server cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings contradict each other, or no client can be served with them. Never empty.
    #[error("invalid settings: {}", texts(.0))]
    Config(Vec<ConfigError>),
    /// The name of a dialect of the host program is empty, reserved or in use.
    #[error(transparent)]
    DialectName(#[from] DialectNameError),
    /// A node of a cluster was built outside a Tokio runtime, in which its engine would run.
    #[error("a node of a cluster must be built in a Tokio runtime")]
    NoRuntime,
}

/// The errors with their causes, which `Error::source` cannot return, because there are several.
fn texts(errors: &[ConfigError]) -> String {
    let texts: Vec<_> = errors.iter().map(|error| error_chain(error)).collect();
    texts.join("; ")
}
