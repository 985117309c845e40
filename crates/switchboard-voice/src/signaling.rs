//! The signaling state of voice: two sans-IO state machines, [`Calls`] between two users and [`VoiceRooms`] of many.
//!
//! They keep rings, calls, connected microphones and headphones, and no audio. Their driver calls an input, then
//! `poll_event` and `poll_ended` until both are empty, before anything else. When `poll_timeout` returns a time, it
//! calls `handle_timeout` at or after that time.

mod call;
mod deadline;
mod direction;
mod voice_event;
mod voice_room;

pub use call::{CallError, CallLimits, Calls, RingOrigin};
pub use direction::Direction;
pub use voice_event::{Audience, VoiceEvent};
pub use voice_room::{RoomKey, RoomListing, VoiceRoomError, VoiceRoomLimits, VoiceRooms};
