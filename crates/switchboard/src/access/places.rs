//! The places of credentials that a dialect has of its own.

use switchboard_dialects::{Dialect, Handshake};

/// The credentials of a request besides those in the places that all dialects have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnPlaces<'h> {
    /// The dialect's own query parameter for a credential.
    pub(crate) parameter: Option<&'static str>,
    /// The credential in that parameter.
    pub(crate) credential: Option<&'h str>,
    /// Whether the first frame of the connection may carry a credential.
    pub(crate) in_first_frame: bool,
    /// Whether the request is answered without a credential.
    pub(crate) is_public: bool,
}

impl<'h> OwnPlaces<'h> {
    /// The places of a handshake of this dialect; `None` if its first frame will show the dialect.
    pub(crate) fn of_socket(
        dialect: Option<&'static dyn Dialect>,
        handshake: &'h Handshake,
    ) -> Self {
        let settings = &handshake.settings;
        let parameter = dialect.and_then(|dialect| dialect.credential_parameter(settings));
        Self {
            parameter,
            credential: parameter.and_then(|name| handshake.query.get(name)),
            in_first_frame: match dialect {
                Some(dialect) => dialect.has_credential_in_first_frame(),
                None => may_show_such_a_dialect(handshake),
            },
            is_public: false,
        }
    }

    /// The places of a plain request at an endpoint of this dialect.
    pub(crate) fn of_request(dialect: &'static dyn Dialect, handshake: &'h Handshake) -> Self {
        let parameter = dialect.credential_parameter(&handshake.settings);
        Self {
            parameter,
            credential: parameter.and_then(|name| handshake.query.get(name)),
            in_first_frame: false,
            is_public: dialect.is_public(handshake.endpoint),
        }
    }
}

/// Whether a first frame can show a dialect that has credentials in it.
fn may_show_such_a_dialect(handshake: &Handshake) -> bool {
    let settings = &handshake.settings;
    let mut dialects = settings.table().iter();
    dialects.any(|dialect| {
        let is_enabled = settings.is_enabled(dialect.traits().name);
        is_enabled && dialect.is_recognizable() && dialect.has_credential_in_first_frame()
    })
}
