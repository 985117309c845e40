//! How a connection is ended: every close code we send, in one table.

use switchboard_core::{DisconnectReason, ErrorCode};

/// A WebSocket close code and its reason (RFC 6455, section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The code.
    pub code: u16,
    /// The reason, at most 123 bytes.
    pub reason: &'static str,
}

impl CloseReason {
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
    pub(crate) fn for_rejected_join(refused: &ErrorCode) -> Self {
        let reason = match refused {
            ErrorCode::Unavailable => return Self::UNAVAILABLE,
            ErrorCode::EmptyName(_) => "the name is missing or empty",
            ErrorCode::NameTooLong(_) => "the name is longer than limits.name_bytes",
            ErrorCode::InvisibleName(_) => "the name has no visible character",
            ErrorCode::Reserved => "the name is kept for the server",
            ErrorCode::Taken => "the name is taken",
            ErrorCode::RoomFull => "the room is full",
            ErrorCode::TooManyRooms => "too many rooms: limits.rooms_per_peer",
            ErrorCode::Denied => "not allowed to enter the room",
            ErrorCode::BadField(_) => "a parameter is missing or wrong",
            ErrorCode::Malformed
            | ErrorCode::TooDeep
            | ErrorCode::TooLarge
            | ErrorCode::UnknownType
            | ErrorCode::TooManyFrames
            | ErrorCode::FirstFrameTimeout
            | ErrorCode::NotInRoom
            | ErrorCode::NoSuchPeer
            | ErrorCode::Expired
            | ErrorCode::Untranslatable => return Self::POLICY,
        };
        Self { code: 1008, reason }
    }

    /// Whether the client knows that it is over, or has been cut off and may want to come back.
    #[must_use]
    pub fn disconnect_reason(self) -> DisconnectReason {
        if [Self::RESTART, Self::SLOW, Self::GONE, Self::UNAVAILABLE].contains(&self) {
            DisconnectReason::Lost
        } else {
            DisconnectReason::Graceful
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_to_come_back_has_not_said_goodbye() {
        for close in [
            CloseReason::RESTART,
            CloseReason::SLOW,
            CloseReason::GONE,
            CloseReason::UNAVAILABLE,
        ] {
            assert_eq!(
                close.disconnect_reason(),
                DisconnectReason::Lost,
                "{close:?}"
            );
        }
        let own = CloseReason {
            code: 1000,
            reason: "",
        };
        for close in [
            CloseReason::DONE,
            CloseReason::KICKED,
            CloseReason::REPLACED,
            own,
        ] {
            assert_eq!(
                close.disconnect_reason(),
                DisconnectReason::Graceful,
                "{close:?}"
            );
        }
    }

    #[test]
    fn reasons_fit_into_a_control_frame() {
        for close in [
            CloseReason::DONE,
            CloseReason::PROTOCOL_ERROR,
            CloseReason::INVALID_TEXT,
            CloseReason::POLICY,
            CloseReason::FLOOD,
            CloseReason::SILENT,
            CloseReason::NOT_COMPLETED,
            CloseReason::KICKED,
            CloseReason::REPLACED,
            CloseReason::TOO_BIG,
            CloseReason::RESTART,
            CloseReason::SLOW,
            CloseReason::GONE,
            CloseReason::UNAVAILABLE,
        ] {
            assert!(close.reason.len() <= 123, "{close:?}");
        }
        for refusal in [
            ErrorCode::EmptyName("room"),
            ErrorCode::NameTooLong("room"),
            ErrorCode::InvisibleName("room"),
            ErrorCode::Reserved,
            ErrorCode::Taken,
            ErrorCode::RoomFull,
            ErrorCode::TooManyRooms,
            ErrorCode::Denied,
            ErrorCode::BadField("room"),
        ] {
            let close = CloseReason::for_rejected_join(&refusal);
            assert!(
                close.code == 1008 && close != CloseReason::POLICY,
                "{refusal:?}"
            );
            assert!(close.reason.len() <= 123, "{close:?}");
        }
    }
}
