//! What callers and the members of voice rooms are told. One event is one event of the stream
//! `/messages` (wire page `gostream`, "Events"); its names and texts are the encoder's matter.

use bytestring::ByteString;

use crate::{
    direction::Direction,
    id::{RoomName, User, VoiceRoomId},
};

/// To whom an event of the voice rooms goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// All streams of this user.
    User(User),
    /// All streams of everybody.
    Everybody,
}

/// What happened. `from` is the other user, set by the machine. Signatures and challenges are
/// handed on as they came, and are empty where there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoiceEvent {
    /// To the callee: `from` calls. Wire: `newCall`.
    Ringing {
        /// The caller.
        from: User,
        /// What the callee must sign next.
        challenge: ByteString,
    },
    /// To the caller: the callee has shown who it is. Wire: `answer`.
    Answered {
        /// The callee.
        from: User,
        /// Over the challenge of [`VoiceEvent::Ringing`].
        signature: ByteString,
        /// What the caller must sign next.
        challenge: ByteString,
    },
    /// To the callee: the caller has shown who it is. Wire: `answer2`.
    Confirmed {
        /// The caller.
        from: User,
        /// Over the challenge of [`VoiceEvent::Answered`].
        signature: ByteString,
        /// What the callee must sign to accept or reject.
        challenge: ByteString,
    },
    /// To the caller: there is a call now. Wire: `acceptedCall`.
    Accepted {
        /// The callee.
        from: User,
        /// Over the last challenge relayed to the callee.
        signature: ByteString,
    },
    /// The ringing is over, or the call. Wire: `declineCall`.
    Declined {
        /// The other one.
        from: User,
        /// Over the last challenge relayed to the callee, if it was the callee who rejected;
        /// empty after a hang-up and when nobody took the call in time.
        signature: ByteString,
    },
    /// What of `from` is connected now: all of it, not only what changed. Wire: `setAudioConf`.
    AudioConf {
        /// Whose microphone and headphones.
        from: User,
        /// In which room; `None`: in the call with him.
        room: Option<VoiceRoomId>,
        /// Whether he can be heard. Wire: `in`.
        mic: bool,
        /// Whether he hears. Wire: `out`.
        headphones: bool,
    },
    /// To the user itself: a newer connection has taken over its microphone or headphones. Wire:
    /// `replaced`. Made by the driver, which knows the connections.
    Replaced {
        /// In which room; `None`: in the call with `other`.
        room: Option<VoiceRoomId>,
        /// The other user of the call; `None` in a room.
        other: Option<User>,
        /// The microphone or the headphones.
        direction: Direction,
        /// The name that the client gave the connection that has ended; empty if it gave none.
        connection: ByteString,
    },
    /// A room was made. Wire: `newRoom`.
    NewRoom {
        /// Its number.
        id: VoiceRoomId,
        /// Its name; of a numbered room, the number.
        name: RoomName,
        /// Users in it: the one who made it.
        count: usize,
    },
}

impl VoiceEvent {
    /// The user that the event is about, if it is another than its receiver.
    #[must_use]
    pub fn sender(&self) -> Option<&User> {
        match self {
            Self::Ringing { from, .. }
            | Self::Answered { from, .. }
            | Self::Confirmed { from, .. }
            | Self::Accepted { from, .. }
            | Self::Declined { from, .. }
            | Self::AudioConf { from, .. } => Some(from),
            Self::Replaced { .. } | Self::NewRoom { .. } => None,
        }
    }
}
