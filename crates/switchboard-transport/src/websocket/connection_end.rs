//! The ways in which a WebSocket connection ends.

use std::io::ErrorKind;

use bytestring::ByteString;
use switchboard_core::DisconnectReason;
use switchboard_dialects::CloseReason;

use crate::{connection_log::LoggedEnd, frame::CloseFrame};

/// The cause of the end of a connection.
pub(super) enum ConnectionEnd {
    /// The server closes the connection with a close frame.
    Close(CloseReason),
    /// The host program ends the session for this reason.
    EndedByHost(ByteString),
    /// The client has sent a close frame.
    Graceful,
    /// The client's socket was closed or reset without a close frame.
    Reset,
    /// The network has lost the connection.
    Lost,
}

impl ConnectionEnd {
    pub(super) fn disconnect_reason(&self) -> DisconnectReason {
        match self {
            Self::Close(close) => close.disconnect_reason(),
            Self::EndedByHost(_) => CloseReason::KICKED.disconnect_reason(),
            Self::Graceful => DisconnectReason::Graceful,
            Self::Reset => DisconnectReason::Reset,
            Self::Lost => DisconnectReason::Lost,
        }
    }

    pub(super) fn logged(&self) -> LoggedEnd<'_> {
        match self {
            Self::Close(close) => LoggedEnd::by_server(*close),
            Self::EndedByHost(reason) => LoggedEnd::by_host(CloseReason::KICKED, reason),
            Self::Graceful => LoggedEnd::GRACEFUL,
            Self::Reset => LoggedEnd::RESET,
            Self::Lost => LoggedEnd::LOST,
        }
    }

    /// The close frame of the server; `None` if the client has ended the connection.
    pub(super) fn close_frame(self) -> Option<CloseFrame> {
        let (code, reason) = match self {
            Self::Close(close) => (close.code, close.reason.into()),
            Self::EndedByHost(reason) => (CloseReason::KICKED.code, reason),
            Self::Graceful | Self::Reset | Self::Lost => return None,
        };
        Some(CloseFrame { code, reason })
    }

    /// The end of a connection whose stream failed with this error. A network error counts as a lost connection, so the
    /// client may reclaim its address. Any other error means that the client has closed its side.
    pub(super) fn of_error(error: ErrorKind) -> Self {
        let is_network = matches!(
            error,
            ErrorKind::TimedOut
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
        );
        if is_network { Self::Lost } else { Self::Reset }
    }
}
