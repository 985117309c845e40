//! Errors of the store.

use std::{borrow::Cow, fmt, time::Duration};

use redis::{RedisError, ServerError};
use thiserror::Error;

use super::{DATA_FORMAT, DATA_FORMAT_EXPIRY_SECS};

/// An error of the store. The texts are for operators and contain no password.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum StoreError {
    /// The address of the store has no host.
    #[error("no host is configured")]
    NoHost,
    /// A server cannot be reached, or its connection was lost.
    #[error("Redis at {server} cannot be reached")]
    Unreachable {
        /// The host and port of the server.
        server: String,
        /// The error of the connection.
        source: RedisError,
    },
    /// A server did not answer in time.
    #[error("Redis at {server} did not answer within {limit:?}")]
    Timeout {
        /// The host and port of the server.
        server: String,
        /// The time limit.
        limit: Duration,
    },
    /// A server closed the connection of the pushes.
    #[error("the connection to Redis was closed")]
    Closed,
    /// The connection has ended already, because of an earlier error.
    #[error("the connection to Redis has ended: {reason}")]
    Ended {
        /// The text of the first error.
        reason: String,
    },
    /// No slot of the Redis Cluster has a server. (Redis Cluster divides the keys into 16384 slots.)
    #[error("the Redis Cluster at {server} has no slots assigned")]
    NoSlots {
        /// The host and port of the queried server.
        server: String,
    },
    /// A slot of the Redis Cluster has no server.
    #[error("no server of the Redis Cluster owns slot {0}")]
    UnownedSlot(u16),
    /// A slot moves to a server that was not part of the Redis Cluster.
    #[error("the Redis Cluster has a new server {server}: reconnecting")]
    NewServer {
        /// The host and port of the server.
        server: String,
    },
    /// Redis ended a subscription without a command.
    #[error("Redis ended a subscription: its slot is moving to another server")]
    Unsubscribed,
    /// The login is missing.
    #[error("Redis requires a password")]
    NoPassword,
    /// The login is wrong.
    #[error("Redis rejected the user or the password")]
    WrongLogin,
    /// A server is older than required.
    #[error(
        "Redis at {server} has version {version}; Redis {least}.0 or newer, or Valkey, is required"
    )]
    Version {
        /// The host and port of the server.
        server: String,
        /// Its version.
        version: String,
        /// The least major version.
        least: u32,
    },
    /// The address is that of a Redis Cluster, and the server is not part of one.
    #[error("Redis at {server} is not a Redis Cluster: use one host with redis:// or rediss://")]
    NotACluster {
        /// The host and port of the server.
        server: String,
    },
    /// A server refused a command.
    #[error("Redis at {server} refused the command")]
    Refused {
        /// The host and port of the server.
        server: String,
        /// The error of the client library.
        source: RedisError,
    },
    /// The reply to a command is an error.
    #[error("Redis refused the command")]
    Rejected(#[from] ServerError),
    /// The scripts were flushed between two commands of a batch.
    #[error("the scripts in Redis were flushed during a batch")]
    ScriptsFlushed,
    /// A reply does not have the expected format.
    #[error("unexpected reply from Redis: expected {expected}")]
    UnexpectedReply {
        /// The expected value.
        expected: Cow<'static, str>,
    },
    /// A script has found malformed data, or a key has another type.
    #[error("corrupt data in Redis: {detail}")]
    Corrupt {
        /// The report of the script.
        detail: String,
    },
    /// A field of a packed record is malformed.
    #[error("corrupt data in Redis: field `{field}` of `{record}` is malformed")]
    CorruptField {
        /// The kind of the record.
        record: &'static str,
        /// The name of its field.
        field: &'static str,
    },
    /// The nodes of this prefix keep their data in the format of another release.
    #[error(
        "the nodes of this `engine.prefix` use format {} of the data in Redis, and this release uses format {own}: stop \
         them and wait {expiry} s, or set another `engine.prefix`",
        found.escape_default()
    )]
    DataFormat {
        /// The format version of those nodes.
        found: String,
        /// The format version of this release.
        own: &'static str,
        /// The seconds after which a format that no node uses is forgotten.
        expiry: u32,
    },
    /// An event has the format of another release.
    #[error(
        "event of unknown version `{}`: the nodes of this prefix run different releases",
        version.escape_default()
    )]
    EventVersion {
        /// The version of the event.
        version: String,
    },
    /// The data of this key, or a message of this channel, is malformed. The source is the reason.
    #[error("cannot read `{key}`")]
    InKey {
        /// The key or the channel.
        key: String,
        /// The reason, about a field or a reply.
        source: Box<Self>,
    },
}

impl StoreError {
    /// The error for a reply that is not as expected. `expected` completes "expected …".
    pub(super) fn expected(expected: impl Into<Cow<'static, str>>) -> Self {
        let expected = expected.into();
        Self::UnexpectedReply { expected }
    }

    /// The error for data of nodes with the format version `found`.
    pub(super) fn data_format(found: &str) -> Self {
        Self::DataFormat {
            found: found.to_owned(),
            own: DATA_FORMAT,
            expiry: DATA_FORMAT_EXPIRY_SECS,
        }
    }

    /// The error for a failed command or connection to this server.
    pub(super) fn of_server(
        server: &impl fmt::Display,
        limit: Duration,
        source: RedisError,
    ) -> Self {
        let code = source.code().and_then(authentication_error);
        if let Some(error) = code {
            return error;
        }
        let server = server.to_string();
        if source.is_timeout() {
            return Self::Timeout { server, limit };
        }
        if source.is_io_error() || source.is_connection_dropped() || source.is_connection_refusal()
        {
            return Self::Unreachable { server, source };
        }
        Self::Refused { server, source }
    }

    /// The error for an error reply to a command.
    pub(super) fn of_reply(reply: &ServerError) -> Self {
        match reply.code() {
            "GARBAGE" | "WRONGTYPE" => Self::Corrupt {
                detail: reply.details().unwrap_or_default().to_owned(),
            },
            "FORMAT" => {
                let details = reply.details().unwrap_or_default();
                // Redis appends the name of the script.
                Self::data_format(details.split(" script: ").next().unwrap_or_default())
            }
            code => authentication_error(code).unwrap_or_else(|| Self::Rejected(reply.clone())),
        }
    }

    /// Adds the key to an error about malformed data. Other errors stay as they are.
    pub(super) fn in_key(self, key: &str) -> Self {
        if !self.is_malformed() {
            return self;
        }
        Self::InKey {
            key: key.to_owned(),
            source: Box::new(self),
        }
    }

    /// Whether the store cannot be reached, did not answer in time, or ended the connection.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NoHost
                | Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Closed
                | Self::Ended { .. }
                | Self::NoSlots { .. }
                | Self::UnownedSlot(_)
                | Self::NewServer { .. }
                | Self::Unsubscribed
        )
    }

    /// Whether stored data or a reply does not have the format that Switchboard writes.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(
            self,
            Self::UnexpectedReply { .. }
                | Self::Corrupt { .. }
                | Self::CorruptField { .. }
                | Self::EventVersion { .. }
                | Self::InKey { .. }
        )
    }
}

/// The error for an error code of Redis that concerns the login; `None` for other codes.
fn authentication_error(code: &str) -> Option<StoreError> {
    match code {
        "NOAUTH" => Some(StoreError::NoPassword),
        "WRONGPASS" => Some(StoreError::WrongLogin),
        _ => None,
    }
}
