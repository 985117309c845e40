//! WebRTC signaling in every wire dialect that clients already speak, for your own program.
//!
//! An existing axum app gets signaling in a few lines, with its own access check:
//!
//! ```no_run
#![doc = include_str!("../examples/embed.rs")]
//! ```
//!
//! Without hooks every client may connect and join. The binary `switchboard` is this crate with a command line
//! and no hooks.
#![warn(missing_docs)]

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Compiles the examples of `docs/embedding.md`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct Embedding;

mod access;
mod admin;
mod app_state;
mod build_error;
pub mod cluster;
pub mod config;
mod cors;
pub mod dialect;
mod election;
pub mod engine;
mod events;
mod handlers;
mod http_fetch;
mod ice;
mod internal;
pub mod network;
mod operator_rules;
mod origins;
mod probes;
mod proxy;
mod reload;
mod request_guard;
mod room_locks;
mod rooms;
mod route_table;
mod router;
mod server;
mod sessions;
mod shards;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
mod web;
mod web_root;
mod webhooks;

/// The version of axum whose types are in the API of this crate.
pub use axum;

pub use access::{Admission, ConnectRequest, Denial, HostContext, JoinRequest, verify_token};
pub use admin::{AdminKey, AdminKeyError};
pub use build_error::BuildError;
pub use config::Config;
pub use events::{ClientInfo, Events, ServerEvent};
pub use internal::url as internal_url;
pub use reload::{ReloadError, ReloadReport};
pub use rooms::{Rooms, SendError, room, room_of_dialect};
pub use server::{Builder, Server};
pub use sessions::{SessionInfo, Sessions};
pub use switchboard_auth::{AuthError, Principal, SigningKey, TOKEN_BYTES_MAX, TokenHeader};
// A space (`SpaceName`) is a namespace of rooms.
pub use switchboard_core::{
    Address, ClientPattern, ClientPatternError, DisplayName, DuplicateIdentity, EvictionReason,
    Grant, GrantError, Grants, Identity, JoinRefusal, JoiningClient, LeaveCause, LeaveKind, Limits,
    Member, NameError, PeerId, PeerIdError, Power, RoomId, RoomName, RoomPattern, RoomPolicies,
    RoomPolicy, RoomScope, SharedRoomPolicies, SpaceName,
};
pub use switchboard_transport::{
    ConnectionLimit, Heartbeat, ListenError, Listener, RefusalReason, Tls,
};
pub use switchboard_voice::{PublicKey, SecretKey};
