//! The signaling state of voice: two sans-IO state machines, [`Calls`] between two users and [`VoiceRooms`] of many.
//!
//! They know which users ring, are in calls, and have a microphone or headphones connected; audio does not pass through
//! them. The crate documentation says how a driver calls them.

mod call;
mod deadline;
mod direction;
mod voice_event;
mod voice_room;

pub use call::{CallError, CallLimits, Calls, RingOrigin};
pub use direction::Direction;
pub use voice_event::{Audience, VoiceEvent};
pub use voice_room::{RoomKey, RoomListing, VoiceRoomError, VoiceRoomLimits, VoiceRooms};
