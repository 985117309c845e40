//! Voice calls and rooms of Switchboard for clients that speak only HTTP: the dialect `gostream`.
//!
//! A request is admitted by the application ([`VoiceHost`]), its parameters are read (`parameters`), its caller is
//! authenticated (`identity`), and `state` updates the state machines [`Calls`] and [`VoiceRooms`] and sends the
//! resulting events. Audio bypasses them: it goes from a source to its mixer (`room_mixer`), which runs on
//! threads of its own (`audio_threads`), and from there to the bounded queues of the listeners.
//!
//! [`Calls`] and [`VoiceRooms`] do no I/O and read no clock. Their driver (`state`; tests have their own) passes each
//! input with the current time, then polls `poll_event` and `poll_ended` until both return `None`, before the next
//! input. It calls `handle_timeout` at or after the time that `poll_timeout` returns.
//!
//! In a cluster, the elected voice leader serves all voice requests (`clustered`). The other nodes forward theirs to
//! it (`forwarder`).
#![warn(missing_docs)]

mod access;
mod answer;
mod attachment;
mod audio;
mod audio_threads;
mod backend;
mod calls;
mod clock;
mod clustered;
pub mod config;
mod connections;
mod cost;
mod display_names;
mod drain_on_drop;
mod endpoint;
mod event_stream;
mod forwarder;
pub mod gostream;
mod host;
mod id;
mod identity;
mod keys;
mod leader;
mod listener_queue;
mod metrics;
mod node_headers;
mod overview;
mod parameters;
mod room_mixer;
mod rooms;
mod service;
mod signaling;
mod site;
mod source_decoder;
mod state;
mod streams;
mod upload;
mod users;

pub use access::RequestAccess;
pub use backend::VoiceBackend;
pub use endpoint::{is_reserved_path, paths};
pub use host::{AdmittedRequest, ClusterContext, NodeSecret, UserBanned, VoiceContext, VoiceHost};
pub use id::{CallId, User, VoiceRoomId};
pub use keys::{PublicKey, SecretKey};
pub use leader::{Leader, Term};
pub use metrics::VoiceMetrics;
pub use node_headers::is_from_node;
pub use overview::{CallReport, RoomReport, VoiceReport};
pub use parameters::TOKEN_PARAMETERS;
pub use signaling::{
    Audience, CallError, CallLimits, Calls, Direction, RingOrigin, RoomKey, RoomListing,
    VoiceEvent, VoiceRoomError, VoiceRoomLimits, VoiceRooms,
};
