//! How a connection is ended: every close code we send, in one table.

use switchboard_core::{Parting, Refusal};

/// A WebSocket close code and its reason (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: &'static str,
}

impl Close {
    /// The client said goodbye in its dialect. Do not retry.
    pub const DONE: Self = Self {
        code: 1000,
        reason: "goodbye",
    };
    /// The client broke the WebSocket protocol (RFC 6455). The reason may say how.
    pub const PROTOCOL_ERROR: Self = Self {
        code: 1002,
        reason: "protocol error",
    };
    /// A text frame of the client's was not UTF-8.
    pub const INVALID_TEXT: Self = Self {
        code: 1007,
        reason: "text is not UTF-8",
    };
    /// The client broke a rule or a limit. Retry slowly.
    pub const POLICY: Self = Self {
        code: 1008,
        reason: "policy violation",
    };
    /// The client stayed over a rate for `flood_secs`. Retry slowly.
    pub const FLOOD: Self = Self {
        code: 1008,
        reason: "too many frames",
    };
    /// The client did not say in time what it wants.
    pub const SILENT: Self = Self {
        code: 1008,
        reason: "no first frame",
    };
    /// The client began a message and did not go on with it.
    pub const NOT_COMPLETED: Self = Self {
        code: 1008,
        reason: "message not completed",
    };
    /// The host program has ended the connection.
    pub const KICKED: Self = Self {
        code: 1008,
        reason: "removed from the room",
    };
    /// A newer connection of the same identity has taken over. Do not retry.
    pub const REPLACED: Self = Self {
        code: 1008,
        reason: "replaced by a newer connection",
    };
    /// The client sent a frame over `frame_bytes`.
    pub const TOO_BIG: Self = Self {
        code: 1009,
        reason: "frame too large",
    };
    /// The server is stopping. Retry soon.
    pub const RESTART: Self = Self {
        code: 1012,
        reason: "server is restarting",
    };
    /// The client does not read what it is sent. Retry later.
    pub const SLOW: Self = Self {
        code: 1013,
        reason: "outbox full: the client does not read",
    };
    /// Nothing was heard of the client, or it did not answer when its name was claimed. Retry soon.
    pub const GONE: Self = Self {
        code: 1013,
        reason: "no sign of life",
    };
    /// The client cannot be let in just now. Retry soon.
    pub const UNAVAILABLE: Self = Self {
        code: 1013,
        reason: "unavailable, try again",
    };

    /// The close frame of a client that is not let in. The reason is for dialects without error messages.
    #[must_use]
    pub(crate) fn of_join(refused: &Refusal) -> Self {
        let reason = match refused {
            Refusal::Unavailable => return Self::UNAVAILABLE,
            Refusal::EmptyName(_) => "the name is missing or empty",
            Refusal::NameTooLong(_) => "the name is longer than limits.name_bytes",
            Refusal::InvisibleName(_) => "the name has no visible character",
            Refusal::Reserved => "the name is kept for the server",
            Refusal::Taken => "the name is taken",
            Refusal::RoomFull => "the room is full",
            Refusal::TooManyRooms => "too many rooms: limits.rooms_per_peer",
            Refusal::Denied => "not allowed to enter the room",
            Refusal::BadField(_) => "a parameter is missing or wrong",
            Refusal::Unreadable
            | Refusal::TooDeep
            | Refusal::TooLarge
            | Refusal::UnknownType
            | Refusal::TooManyFrames
            | Refusal::Silent
            | Refusal::NotInRoom
            | Refusal::NoSuchPeer
            | Refusal::Expired
            | Refusal::NotUnderstood => return Self::POLICY,
        };
        Self { code: 1008, reason }
    }

    /// Whether the client knows that it is over, or has been cut off and may want to come back.
    #[must_use]
    pub fn parting(self) -> Parting {
        if [Self::RESTART, Self::SLOW, Self::GONE, Self::UNAVAILABLE].contains(&self) {
            Parting::Lost
        } else {
            Parting::Said
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_to_come_back_has_not_said_goodbye() {
        for close in [Close::RESTART, Close::SLOW, Close::GONE, Close::UNAVAILABLE] {
            assert_eq!(close.parting(), Parting::Lost, "{close:?}");
        }
        let own = Close {
            code: 1000,
            reason: "",
        };
        for close in [Close::DONE, Close::KICKED, Close::REPLACED, own] {
            assert_eq!(close.parting(), Parting::Said, "{close:?}");
        }
    }

    #[test]
    fn reasons_fit_into_a_control_frame() {
        for close in [
            Close::DONE,
            Close::PROTOCOL_ERROR,
            Close::INVALID_TEXT,
            Close::POLICY,
            Close::FLOOD,
            Close::SILENT,
            Close::NOT_COMPLETED,
            Close::KICKED,
            Close::REPLACED,
            Close::TOO_BIG,
            Close::RESTART,
            Close::SLOW,
            Close::GONE,
            Close::UNAVAILABLE,
        ] {
            assert!(close.reason.len() <= 123, "{close:?}");
        }
        for refusal in [
            Refusal::EmptyName("room"),
            Refusal::NameTooLong("room"),
            Refusal::InvisibleName("room"),
            Refusal::Reserved,
            Refusal::Taken,
            Refusal::RoomFull,
            Refusal::TooManyRooms,
            Refusal::Denied,
            Refusal::BadField("room"),
        ] {
            let close = Close::of_join(&refusal);
            assert!(close.code == 1008 && close != Close::POLICY, "{refusal:?}");
            assert!(close.reason.len() <= 123, "{close:?}");
        }
    }
}
