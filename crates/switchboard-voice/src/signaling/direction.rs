//! The connected audio of a user in a call or room: at most one microphone and one pair of headphones. `Wire:` names
//! the HTTP paths of the dialect `gostream`.

use super::voice_event::VoiceEvent;
use crate::id::{User, VoiceRoomId};

/// The direction of the audio of a connection, seen from the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From a microphone to the server. Wire: `/upCall`, `/upRoom`.
    Publish,
    /// From the server to headphones. Wire: `/joinCall`, `/joinRoom`.
    Subscribe,
}

/// The audio directions that a user has connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectedAudio {
    pub(crate) mic: bool,
    pub(crate) headphones: bool,
}

impl ConnectedAudio {
    pub(crate) fn has(self, direction: Direction) -> bool {
        match direction {
            Direction::Publish => self.mic,
            Direction::Subscribe => self.headphones,
        }
    }

    pub(crate) fn is_none(self) -> bool {
        !self.mic && !self.headphones
    }

    /// Connects or disconnects one direction. Returns false if nothing has changed.
    pub(crate) fn set(&mut self, direction: Direction, on: bool) -> bool {
        let connected = match direction {
            Direction::Publish => &mut self.mic,
            Direction::Subscribe => &mut self.headphones,
        };
        std::mem::replace(connected, on) != on
    }

    /// The event that tells other users about this state.
    pub(crate) fn to_event(self, from: User, room: Option<VoiceRoomId>) -> VoiceEvent {
        VoiceEvent::AudioState {
            from,
            room,
            mic: self.mic,
            headphones: self.headphones,
        }
    }
}
