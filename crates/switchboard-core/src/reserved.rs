//! The name of the server, and the names by which a dialect tells members from it.

/// The name that server-made frames carry as their sender.
const SERVER: &str = "server";

/// The prefix of the name of a member that is called like the server.
const MARK: char = '~';

/// Whether a dialect in which the server itself speaks keeps this name: `server` in any case, and the names that
/// [`beside_server`] makes of it.
#[must_use]
pub fn is_server_name(name: &str) -> bool {
    let plain = name.trim_start_matches(MARK);
    plain.eq_ignore_ascii_case(SERVER)
}

/// The address of a member where the server itself speaks as `server`: `~server` for `server`, `~~server`
/// for `~server`, and any other unchanged. So no member has the server's address, and no two members
/// share an address. Returns `None` if the address is unchanged.
#[must_use]
pub fn beside_server(address: &str) -> Option<String> {
    is_server_name(address).then(|| format!("{MARK}{address}"))
}

/// The address of the member that [`beside_server`] shows as this one; `None` for the server itself.
#[must_use]
pub fn behind_server(shown: &str) -> Option<&str> {
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
    fn no_member_is_shown_as_the_server_and_no_two_are_shown_alike() {
        let addresses = [
            "server", "Server", "SERVER", "~server", "~Server", "~~server", "server~", "~", "~~",
            "servers", " server", "a",
        ];
        let mut shown = BTreeSet::new();
        for address in addresses {
            let here = beside_server(address).unwrap_or_else(|| address.to_owned());
            assert!(!here.eq_ignore_ascii_case("server"), "{address}");
            assert_eq!(behind_server(&here), Some(address));
            assert!(shown.insert(here), "{address}");
        }
        assert_eq!(behind_server("sErver"), None);
    }
}
