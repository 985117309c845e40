//! How connections end.

/// Why a stay ended: the client was told neither yes nor no.
pub(crate) const NO_ANSWER: &str = "no answer";
/// Why a connection is over.
pub(crate) enum End {
    /// The server closed it, or it broke.
    Closed,
    /// The client goes with a good-bye.
    Leaves,
    /// It goes without a word.
    Dies,
    FallsSilent,
    /// It asked for a place, and was told neither yes nor no.
    NoAnswer,
}

impl End {
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Closed => "connection ended",
            Self::Leaves => "left",
            Self::Dies => "died",
            Self::FallsSilent => "fell silent",
            Self::NoAnswer => NO_ANSWER,
        }
    }
}
