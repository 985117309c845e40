//! What of a user is connected, in a call as in a room: at most one microphone, at most one pair
//! of headphones.

use crate::{
    id::{User, VoiceRoomId},
    voice_event::VoiceEvent,
};

/// Which way the audio of a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From a microphone to the server. Wire: `/upCall`, `/upRoom`.
    In,
    /// From the server to headphones. Wire: `/joinCall`, `/joinRoom`.
    Out,
}

/// Which of the two is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) mic: bool,
    pub(crate) headphones: bool,
}

impl Ends {
    pub(crate) fn has(self, way: Way) -> bool {
        match way {
            Way::In => self.mic,
            Way::Out => self.headphones,
        }
    }

    pub(crate) fn is_none(self) -> bool {
        !self.mic && !self.headphones
    }

    /// Connects or disconnects one; false if it was so before.
    pub(crate) fn set(&mut self, way: Way, on: bool) -> bool {
        let end = match way {
            Way::In => &mut self.mic,
            Way::Out => &mut self.headphones,
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
