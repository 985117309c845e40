//! The places of credentials that a dialect has of its own.

use switchboard_dialects::{Dialect, Handshake};

/// The credentials of a request besides those in the places that all dialects have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnPlaces<'h> {
    /// The credential in the dialect's own parameter of the path or query.
    pub(crate) credential: Option<&'h str>,
    /// Whether the request is answered without a credential.
    pub(crate) is_public: bool,
}

impl<'h> OwnPlaces<'h> {
    /// The places of a handshake of this dialect; `None` before its first frame has shown the dialect.
    pub(crate) fn of_socket(
        dialect: Option<&'static dyn Dialect>,
        handshake: &'h Handshake,
    ) -> Self {
        Self {
            credential: dialect.and_then(|dialect| dialect.credential(handshake)),
            is_public: false,
        }
    }

    /// The places of a plain request at an endpoint of this dialect.
    pub(crate) fn of_request(dialect: &'static dyn Dialect, handshake: &'h Handshake) -> Self {
        Self {
            credential: dialect.credential(handshake),
            is_public: dialect.is_public(handshake.endpoint),
        }
    }
}
