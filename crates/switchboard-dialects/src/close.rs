//! The close codes and reasons that the server sends.

use switchboard_core::{DisconnectReason, ErrorCode};

/// A WebSocket close code and its reason (RFC 6455, section 7.4). The docs of the constants say whether and how soon a
/// client should connect again ("retry").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The close code.
    pub code: u16,
    /// The reason, at most 123 bytes of UTF-8.
    pub reason: &'static str,
}

impl CloseReason {
    /// The session has ended as its dialect provides, for example by a frame of the client. Do not retry.
    pub const DONE: Self = Self {
        code: 1000,
        reason: "goodbye",
    };
    /// The client violated the WebSocket protocol (RFC 6455). The reason may name the violation.
    pub const PROTOCOL_ERROR: Self = Self {
        code: 1002,
        reason: "protocol error",
    };
    /// A text frame from the client was not UTF-8.
    pub const INVALID_TEXT: Self = Self {
        code: 1007,
        reason: "text is not UTF-8",
    };
    /// The client violated a rule or exceeded a limit. Retry slowly.
    pub const POLICY: Self = Self {
        code: 1008,
        reason: "policy violation",
    };
    /// The client exceeded a rate limit for `flood_secs`. Retry slowly.
    pub const FLOOD: Self = Self {
        code: 1008,
        reason: "too many frames",
    };
    /// The client did not send its first frame in time.
    pub const SILENT: Self = Self {
        code: 1008,
        reason: "no first frame",
    };
    /// The client began a fragmented message and did not complete it in time.
    pub const NOT_COMPLETED: Self = Self {
        code: 1008,
        reason: "message not completed",
    };
    /// The host program closed the connection.
    pub const KICKED: Self = Self {
        code: 1008,
        reason: "removed from the room",
    };
    /// A newer connection of the same identity replaced this one. Do not retry.
    pub const REPLACED: Self = Self {
        code: 1008,
        reason: "replaced by a newer connection",
    };
    /// The access token of the client has expired. Retry with a new token.
    pub const TOKEN_EXPIRED: Self = Self {
        code: 4401,
        reason: "the access token has expired",
    };
    /// The client sent no valid access token. Retry with one.
    pub const TOKEN_REQUIRED: Self = Self {
        code: 4401,
        reason: "a valid access token is required",
    };
    /// The operator or the host program does not admit the client. Do not retry.
    pub const ACCESS_DENIED: Self = Self {
        code: 4403,
        reason: "access denied",
    };
    /// The client sent a frame larger than `frame_bytes`.
    pub const TOO_BIG: Self = Self {
        code: 1009,
        reason: "frame too large",
    };
    /// The server is stopping. Retry soon.
    pub const RESTART: Self = Self {
        code: 1012,
        reason: "server is restarting",
    };
    /// The outbox of the client is full, because the client does not read. Retry later.
    pub const SLOW: Self = Self {
        code: 1013,
        reason: "outbox full: the client does not read",
    };
    /// The client did not answer a heartbeat, or a challenge by another client that claims its name. Retry
    /// soon.
    pub const GONE: Self = Self {
        code: 1013,
        reason: "no sign of life",
    };
    /// The server cannot admit the client at the moment. Retry soon.
    pub const UNAVAILABLE: Self = Self {
        code: 1013,
        reason: "unavailable, try again",
    };

    /// The close code and reason for a client whose join was rejected. In dialects without error frames the reason is
    /// all that the client learns about the rejection.
    #[must_use]
    pub(crate) fn for_rejected_join(code: &ErrorCode) -> Self {
        let reason = match code {
            ErrorCode::Unavailable => return Self::UNAVAILABLE,
            ErrorCode::EmptyName(_) => "the name is missing or empty",
            ErrorCode::NameTooLong(_) => "the name is longer than limits.name_bytes",
            ErrorCode::InvisibleName(_) => "the name has no visible character",
            ErrorCode::Reserved => "the name is reserved for the server",
            ErrorCode::Taken => "the name is taken",
            ErrorCode::RoomFull => "the room is full",
            ErrorCode::TooManyRooms => "too many rooms: limits.rooms_per_peer",
            ErrorCode::Denied(_) => "not allowed to enter the room",
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

    /// The disconnect reason for the core: `Lost` for closes after which the client is expected to
    /// reconnect soon, else `Graceful`.
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
    fn closes_after_which_clients_reconnect_are_lost_connections() {
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
        let custom = CloseReason {
            code: 1000,
            reason: "",
        };
        for close in [
            CloseReason::DONE,
            CloseReason::KICKED,
            CloseReason::REPLACED,
            CloseReason::TOKEN_EXPIRED,
            CloseReason::TOKEN_REQUIRED,
            CloseReason::ACCESS_DENIED,
            custom,
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
            CloseReason::TOKEN_EXPIRED,
            CloseReason::TOKEN_REQUIRED,
            CloseReason::ACCESS_DENIED,
            CloseReason::TOO_BIG,
            CloseReason::RESTART,
            CloseReason::SLOW,
            CloseReason::GONE,
            CloseReason::UNAVAILABLE,
        ] {
            assert!(close.reason.len() <= 123, "{close:?}");
        }
        for code in [
            ErrorCode::EmptyName("room"),
            ErrorCode::NameTooLong("room"),
            ErrorCode::InvisibleName("room"),
            ErrorCode::Reserved,
            ErrorCode::Taken,
            ErrorCode::RoomFull,
            ErrorCode::TooManyRooms,
            ErrorCode::Denied(None),
            ErrorCode::BadField("room"),
        ] {
            let close = CloseReason::for_rejected_join(&code);
            assert!(
                close.code == 1008 && close != CloseReason::POLICY,
                "{code:?}"
            );
            assert!(close.reason.len() <= 123, "{close:?}");
        }
    }
}
