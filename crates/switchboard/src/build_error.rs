//! The errors of building a server.

use std::fmt;

use crate::config::ConfigError;

/// The reason why a server cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// Settings contradict each other, or no client can be served with them. Never empty.
    Config(Vec<ConfigError>),
    /// A node of a cluster was built outside a Tokio runtime, in which its engine would run.
    NoRuntime,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => {
                let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
                write!(f, "invalid settings: {}", texts.join("; "))
            }
            Self::NoRuntime => f.write_str("a node of a cluster must be built in a Tokio runtime"),
        }
    }
}

impl std::error::Error for BuildError {}
