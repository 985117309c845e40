//! The reserved name of the server, and the escaping of member addresses that are equal to it.

/// The sender address in frames that the server itself sends.
const SERVER: &str = "server";

/// The prefix that distinguishes the address of a member that is named like the server from the server's address.
const MARK: char = '~';

/// Whether this name is reserved in dialects in which the server itself sends frames: `server` in any case, and the
/// names that [`escape_server_address`] makes of it.
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    let plain = name.trim_start_matches(MARK);
    plain.eq_ignore_ascii_case(SERVER)
}

/// The address of a member in dialects in which the server itself sends frames as `server`: `~server` for `server`,
/// `~~server` for `~server`, and any other address unchanged. So no member has the server's address, and no two
/// members share an address. Returns `None` if the address is unchanged.
#[must_use]
pub fn escape_server_address(address: &str) -> Option<String> {
    is_server_name(address).then(|| format!("{MARK}{address}"))
}

/// The inverse of [`escape_server_address`]: the address of the member that is shown as `shown`. `None` for the server.
#[must_use]
pub fn unescape_server_address(shown: &str) -> Option<&str> {
    match is_server_name(shown) {
        true => shown.strip_prefix(MARK),
        false => Some(shown),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn shown_addresses_differ_from_the_server_and_from_each_other() {
        let addresses = [
            "server", "Server", "SERVER", "~server", "~Server", "~~server", "server~", "~", "~~",
            "servers", " server", "a",
        ];
        let mut shown = BTreeSet::new();
        for address in addresses {
            let escaped = escape_server_address(address).unwrap_or_else(|| address.to_owned());
            assert!(!escaped.eq_ignore_ascii_case("server"), "{address}");
            assert_eq!(unescape_server_address(&escaped), Some(address));
            assert!(
                shown.insert(escaped),
                "two addresses are shown as {address}"
            );
        }
        assert_eq!(unescape_server_address("sErver"), None);
    }
}
