//! The causes of the end of a connection.

/// The end reason of a membership whose join was not answered.
pub(crate) const NO_ANSWER: &str = "no answer";

/// The cause of the end of a connection.
pub(crate) enum ConnectionEnd {
    /// The server closed it, or it was lost.
    Closed,
    /// The client closed it gracefully.
    Left,
    /// The client dropped it without a close frame.
    Dropped,
    /// The client stopped reading and writing, and left the connection open.
    Frozen,
    /// The join was not answered in time.
    NoAnswer,
}

impl ConnectionEnd {
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::Closed => "connection ended",
            Self::Left => "left",
            Self::Dropped => "died",
            Self::Frozen => "fell silent",
            Self::NoAnswer => NO_ANSWER,
        }
    }
}
