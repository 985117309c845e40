//! The domain of Switchboard: rooms, members, introductions and claimed addresses.
//!
//! Nothing here knows a socket, a clock, a runtime or a wire format. A [`Hub`] is a machine:
//! [`Hub::handle`] takes an [`Input`] and the current time, [`Hub::poll_effect`] gives out what
//! follows from it. The contract of its driver:
//!
//! 1. call `handle` (or `handle_timeout`), then `poll_effect` until it is empty, before anything else;
//! 2. perform the effects in the order given. Promises 2 and 3 (introduced before heard, one
//!    order) hold only if each receiver's queue gets its events in that order;
//! 3. answer each [`Effect::Propose`] by one [`Input::Committed`] or [`Input::Rejected`], in the
//!    order the engine gave;
//! 4. when `poll_timeout` gives a time, call `handle_timeout` at or after it.
//!
//! Per connection there is a [`Peer`], which knows the rooms and names it holds, so that they
//! can be given back when the connection ends.
//!
//! Voice has two machines of its own: [`Calls`] of two and [`VoiceRooms`] of many. They know who
//! rings, who speaks and who hears, and no audio. Their driver calls an input, then `poll_event`
//! and `poll_ended` until both are empty, and keeps their timeouts as above.
#![warn(missing_docs)]

mod alias;
mod call;
mod challenge;
mod command;
mod deadline;
mod deferred;
mod direction;
mod error;
mod event;
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
mod visible;
mod voice_event;
mod voice_room;

pub use alias::Aliases;
pub use call::{CallError, CallLimits, Calls, RingOrigin};
pub use command::{
    Change, Charge, Command, Effect, HubRequest, Input, JoinOptions, LeaveKind, ResourceKey, Target,
};
pub use direction::Direction;
pub use error::{ErrorCode, RequestError};
pub use event::{Event, EvictionReason};
pub use hub::Hub;
pub use id::{
    Address, Alias, CallId, DialectName, DisplayName, ElectionId, JoinId, NameError, NameId,
    PeerId, Position, RoomId, RoomName, RoomScope, SpaceName, User, VoiceRoomId,
};
pub use introduction::{
    DialectTraits, Group, Identity, Member, OfferPolicy, OfferRole, Token, offer_role,
};
pub use limits::Limits;
pub use log::{
    Entry, LeaveCause, LogId, MembershipRef, NodeId, NodeMessage, NodeMessageBody, Recipient,
    RejectReason,
};
pub use message::{MessageKind, RelayedMessage};
pub use peer::{DisconnectReason, Peer};
pub use reserved::{behind_server, beside_server, is_server_name};
pub use voice_event::{Audience, VoiceEvent};
pub use voice_room::{RoomKey, RoomListing, VoiceRoomError, VoiceRoomLimits, VoiceRooms};
