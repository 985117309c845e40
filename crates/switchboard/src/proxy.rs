//! The real address of a client behind reverse proxies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The address of every client for which a proxy sent something that is not an IP address. These clients share one
/// connection count. The proxy's own address is not used for them: proxies are exempt from the count.
const UNREADABLE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Whether a connection from this address comes from a trusted proxy.
pub(crate) fn is_trusted(peer: IpAddr, trusted: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|net| net.contains(&peer))
}

/// The client's address: the last one in `X-Forwarded-For` that is not a trusted proxy's, if the connection itself
/// comes from a trusted proxy. If all of them are trusted, the first one is used. The header of a connection from
/// elsewhere is ignored.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut address = peer.to_canonical();
    if !is_trusted(&address) {
        return address;
    }
    // Parsed as bytes: invalid text from the client must not hide the entry that the proxy appended.
    let values = headers.get_all("x-forwarded-for").iter().rev();
    for hop in values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')) {
        if !is_trusted(&address) {
            break;
        }
        match read_hop(hop) {
            Some(next) => address = next,
            None => return UNREADABLE,
        }
    }
    address
}

/// Parses an address in the header as proxies write it: with or without a port, IPv6 with or without brackets.
fn read_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = text.parse().ok().or_else(with_port);
    address
        .or_else(|| in_brackets().map(IpAddr::V6))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn resolved(peer: &str, forwarded: &str) -> String {
        resolved_of(peer, &[forwarded.as_bytes()])
    }

    fn resolved_of(peer: &str, forwarded: &[&[u8]]) -> String {
        let headers = forwarded.iter().map(|value| {
            (
                HeaderName::from_static("x-forwarded-for"),
                HeaderValue::from_bytes(value).unwrap(),
            )
        });
        let headers = HeaderMap::from_iter(headers);
        let trusted = [
            "127.0.0.0/8".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ];
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn forwarded_address_is_used_only_from_trusted_proxies() {
        assert_eq!(resolved("192.0.2.9", "198.51.100.1"), "192.0.2.9");
        assert_eq!(resolved("127.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(
            resolved("127.0.0.1", "203.0.113.5, 198.51.100.1, 10.0.0.7"),
            "198.51.100.1"
        );
        assert_eq!(resolved("127.0.0.1", "10.0.0.1"), "10.0.0.1");
        assert_eq!(resolved_of("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(
            resolved_of("127.0.0.1", &[b"203.0.113.5", b"198.51.100.1, 10.0.0.7"]),
            "198.51.100.1"
        );
    }

    #[test]
    fn forwarded_address_may_have_a_port_and_brackets() {
        for (hop, address) in [
            ("192.0.2.10:5555", "192.0.2.10"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[::ffff:192.0.2.10]:443", "192.0.2.10"),
        ] {
            assert_eq!(resolved("127.0.0.1", hop), address, "{hop}");
        }
    }

    #[test]
    fn client_with_an_invalid_forwarded_address_is_not_counted_as_the_proxy() {
        for hop in [
            "nonsense",
            "unknown",
            "",
            "198.51.100.1,",
            "[192.0.2.1]",
            "x, 10.0.0.7",
        ] {
            assert_eq!(resolved("127.0.0.1", hop), "0.0.0.0", "{hop:?}");
        }
        assert_eq!(resolved_of("127.0.0.1", &[b"\xff"]), "0.0.0.0");
    }

    #[test]
    fn invalid_header_of_the_client_does_not_hide_the_address_from_the_proxy() {
        let forwarded: &[&[u8]] = &[b"caf\xe9, 198.51.100.1"];
        assert_eq!(resolved_of("127.0.0.1", forwarded), "198.51.100.1");
    }
}
