//! The signature of a webhook request. It covers the time and the body, so an old request cannot be sent again later.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The header with the time of the request, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "switchboard-timestamp";

/// The header with the signature, `v1=HEX`.
pub const SIGNATURE_HEADER: &str = "switchboard-signature";

/// The header with the id of the event. A retry has the same id.
pub const EVENT_ID_HEADER: &str = "switchboard-event-id";

/// A receiver should refuse a request whose time differs by more seconds from its own.
pub const SIGNATURE_WINDOW_SECS: u64 = 300;

/// The signature of a request: `v1=` and the HMAC-SHA256 of `TIMESTAMP.BODY` in hexadecimal digits.
#[must_use]
pub fn sign(secret: &[u8], timestamp: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(format!("{timestamp}.").as_bytes());
    mac.update(body);
    format!(
        "v1={}",
        base16ct::lower::encode_string(&mac.finalize().into_bytes())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests are from Python's `hmac.new(secret, message, "sha256").hexdigest()`.
    #[test]
    fn signature_covers_time_and_body() {
        for (secret, timestamp, body, digest) in [
            (
                "0123456789abcdef",
                1_700_000_000,
                "{}",
                "e4f8e2ecae2295b2ddb2f0b5584c8275e226c0ebe9b3b819e70156bb67122e3e",
            ),
            (
                "0123456789abcdef",
                1_700_000_001,
                "{}",
                "94ac527507450ba4dd24bd985db9b12c94a3957de6fc85cfe2220e984fcc9524",
            ),
            (
                "0123456789abcdeg",
                1_700_000_000,
                "{}",
                "07e81ba4e3b35cc045745d8de96d67be9293fcc2d1035fbf02933c413fbd9f32",
            ),
            (
                "0123456789abcdef",
                1_700_000_000,
                "{\"event\":\"join\"}",
                "1833b284506f20a23befaa930f81408f677abae816f6bfeb549d03b108c5a984",
            ),
        ] {
            let signature = sign(secret.as_bytes(), timestamp, body.as_bytes());
            assert_eq!(signature, format!("v1={digest}"), "{timestamp}.{body}");
        }
    }
}
