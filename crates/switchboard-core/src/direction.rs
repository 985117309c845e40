//! What of a user is connected, in a call as in a room: at most one microphone, at most one pair
//! of headphones.

use crate::{
    id::{User, VoiceRoomId},
    voice_event::VoiceEvent,
};

/// Which way the audio of a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From a microphone to the server. Wire: `/upCall`, `/upRoom`.
    Publish,
    /// From the server to headphones. Wire: `/joinCall`, `/joinRoom`.
    Subscribe,
}

/// Which of the two is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectedAudio {
    pub(crate) mic: bool,
    pub(crate) headphones: bool,
}

impl ConnectedAudio {
    pub(crate) fn has(self, way: Direction) -> bool {
        match way {
            Direction::Publish => self.mic,
            Direction::Subscribe => self.headphones,
        }
    }

    pub(crate) fn is_none(self) -> bool {
        !self.mic && !self.headphones
    }

    /// Connects or disconnects one; false if it was so before.
    pub(crate) fn set(&mut self, way: Direction, on: bool) -> bool {
        let end = match way {
            Direction::Publish => &mut self.mic,
            Direction::Subscribe => &mut self.headphones,
        };
        std::mem::replace(end, on) != on
    }

    /// What the others are told of it.
    pub(crate) fn of(self, from: User, room: Option<VoiceRoomId>) -> VoiceEvent {
        VoiceEvent::AudioConf {
            from,
            room,
            mic: self.mic,
            headphones: self.headphones,
        }
    }
}
