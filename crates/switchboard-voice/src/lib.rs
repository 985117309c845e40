//! Voice calls and rooms of Switchboard for clients that speak only HTTP: the dialect `gostream`.
//!
//! [`Calls`] and [`VoiceRooms`] are sans-IO state machines: the current time is an argument of their inputs.
//! [`gostream`] encodes their events.
#![warn(missing_docs)]

pub mod gostream;
mod id;
mod signaling;

pub use id::{CallId, User, VoiceRoomId};
pub use signaling::{
    Audience, CallError, CallLimits, Calls, Direction, RingOrigin, RoomKey, RoomListing,
    VoiceEvent, VoiceRoomError, VoiceRoomLimits, VoiceRooms,
};
