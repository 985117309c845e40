//! The domain of Switchboard: rooms, members, introductions and claimed addresses.
//!
//! The crate has no sockets, clock, runtime or wire formats. A [`Hub`] is a sans-IO state machine:
//! [`Hub::handle`] takes an [`Input`] and the current time, [`Hub::poll_effect`] returns the resulting
//! [`Effect`]s. The engine, a component outside this crate, commits the membership changes of all nodes in one
//! order. The driver is the code that owns the hub and does its I/O. It must:
//!
//! 1. call `handle` (or `handle_timeout`), then `poll_effect` until it is empty, before anything else;
//! 2. apply the effects in order. Invariants 2 and 3 of `ARCHITECTURE.md` (introduced before heard, one order)
//!    hold only if each receiver's queue gets its events in that order;
//! 3. pass each [`Effect::Propose`] to the engine, and answer it by one [`Input::Committed`] or [`Input::Rejected`],
//!    in the order of the engine's commits;
//! 4. when `poll_timeout` returns a time, call `handle_timeout` at or after it.
//!
//! A driver that keeps its hub under a lock calls [`Hub::try_handle`]: it returns an input whose frame must be parsed,
//! so that the driver can parse it without the lock.
//!
//! Each connection has a [`Peer`]. It records the rooms and names that the connection holds, so that they are
//! released when the connection ends.
#![warn(missing_docs)]

mod alias;
mod challenge;
mod command;
mod deferred;
mod error;
mod event;
mod grants;
mod hub;
mod id;
mod introduction;
mod limits;
mod log;
mod message;
mod peer;
mod reservation;
mod reserved;
mod room;
mod room_policy;
mod seeded_hash;
mod shared_frames;
mod visible;

pub use alias::Aliases;
pub use command::{
    Change, Charge, Claimant, Command, Effect, HubRequest, Input, JoinOptions, LeaveKind,
    ResourceKey, Target,
};
pub use error::{ErrorCode, RequestError, error_chain};
pub use event::{Event, EvictionReason};
pub use grants::{Grant, GrantError, Grants, Power, PowerSet, RoomPattern};
pub use hub::{Deliveries, EventReceivers, Hub, UnparsedInput};
pub use id::{
    Address, Alias, DialectName, DisplayName, ElectionId, JoinId, NameError, NameId, PEER_ID_BYTES,
    PeerId, PeerIdError, Position, RoomId, RoomName, RoomScope, SpaceName,
};
pub use introduction::{
    DialectTraits, Group, Identity, Member, OfferPolicy, OfferRole, Token, offer_role,
};
pub use limits::{Limits, exceeds, lower_limit};
pub use log::{
    Entry, LeaveCause, LogId, MembershipRef, NodeId, NodeIdError, NodeMessage, NodeMessageBody,
    Recipient, RejectReason,
};
pub use message::{MessageKind, RelayedMessage};
pub use peer::{DisconnectReason, Peer};
pub use reserved::{escape_server_address, is_server_name, unescape_server_address};
pub use room_policy::{
    ClientPattern, ClientPatternError, DuplicateIdentity, JoinRefusal, JoiningClient, RoomPolicies,
    RoomPolicy, SharedRoomPolicies,
};
pub use seeded_hash::{PeerIdHasher, PeerIdMap, PeerIdSet, SeededHash};
pub use shared_frames::SharedFrames;
