//! The events of voice calls and rooms. The module `gostream` encodes each as one Server-Sent Event of the stream
//! `/messages`; `Wire:` is the name of that event, or of one of its fields.

use bytestring::ByteString;
use switchboard_core::RoomName;

use super::direction::Direction;
use crate::id::{User, VoiceRoomId};

/// The receivers of an event of the voice rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All event streams of this user.
    User(User),
    /// All event streams of all users.
    AllUsers,
}

/// An event for a user. `from` is another user. Signatures and challenges are those that the other user sent,
/// unchanged; they are empty between users without keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoiceEvent {
    /// To the callee: `from` rings. Wire: `newCall`.
    Ringing {
        /// The user that calls.
        from: User,
        /// The challenge that the callee must sign next.
        challenge: ByteString,
    },
    /// To the caller: the callee has authenticated itself. Wire: `answer`.
    Answered {
        /// The user that is called.
        from: User,
        /// The signature over the challenge of [`VoiceEvent::Ringing`].
        signature: ByteString,
        /// The challenge that the caller must sign next.
        challenge: ByteString,
    },
    /// To the callee: the caller has authenticated itself. Wire: `answer2`.
    Confirmed {
        /// The user that calls.
        from: User,
        /// The signature over the challenge of [`VoiceEvent::Answered`].
        signature: ByteString,
        /// The challenge that the callee must sign to accept or reject.
        challenge: ByteString,
    },
    /// To the caller: the callee has accepted the call. Wire: `acceptedCall`.
    Accepted {
        /// The user that is called.
        from: User,
        /// The signature over the last challenge relayed to the callee.
        signature: ByteString,
    },
    /// The ring or the call has ended. Wire: `declineCall`.
    Declined {
        /// The other user.
        from: User,
        /// The signature over the last challenge relayed to the callee, if the callee rejected; empty after a hang-up
        /// and after a timeout.
        signature: ByteString,
    },
    /// The other user has connected or disconnected audio. The event has the state of both directions. Wire:
    /// `setAudioConf`.
    AudioState {
        /// The user of the microphone and headphones.
        from: User,
        /// The room. `None`: the call between `from` and the receiver.
        room: Option<VoiceRoomId>,
        /// Whether the microphone is connected. Wire: `in`.
        mic: bool,
        /// Whether the headphones are connected. Wire: `out`.
        headphones: bool,
    },
    /// To the user itself: a newer connection has replaced its microphone or headphones. Wire: `replaced`. The state
    /// machines do not return this event; the driver, which knows the connections, creates it.
    Replaced {
        /// The room; `None`: the call with `other`.
        room: Option<VoiceRoomId>,
        /// The other user of the call; `None` in a room.
        other: Option<User>,
        /// The microphone or the headphones.
        direction: Direction,
        /// The name that the client gave the replaced connection; empty if it gave none.
        connection: ByteString,
    },
    /// A room was created. Wire: `newRoom`.
    NewRoom {
        /// The room's id.
        id: VoiceRoomId,
        /// The room's name; for a numbered room, the number.
        name: RoomName,
        /// The number of users in it: 1, because only its creator is in it.
        count: usize,
    },
}

impl VoiceEvent {
    /// The other user, in the events that have one.
    #[must_use]
    pub fn sender(&self) -> Option<&User> {
        match self {
            Self::Ringing { from, .. }
            | Self::Answered { from, .. }
            | Self::Confirmed { from, .. }
            | Self::Accepted { from, .. }
            | Self::Declined { from, .. }
            | Self::AudioState { from, .. } => Some(from),
            Self::Replaced { .. } | Self::NewRoom { .. } => None,
        }
    }
}
