//! The real address of a client behind reverse proxies.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The client's address: the last one in `X-Forwarded-For` that is not a trusted proxy's, if the
/// connection itself comes from a trusted proxy. Anybody else may write what he likes there.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut address = peer.to_canonical();
    let values = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let hops: Vec<_> = values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    for hop in hops.into_iter().rev() {
        if !is_trusted(&address) {
            break;
        }
        match hop.parse::<IpAddr>() {
            Ok(next) => address = next.to_canonical(),
            Err(_) => break,
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(peer: &str, forwarded: &str) -> String {
        let headers = HeaderMap::from_iter([(
            "x-forwarded-for".parse().unwrap(),
            forwarded.parse().unwrap(),
        )]);
        let trusted = [
            "127.0.0.0/8".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ];
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(resolved("192.0.2.9", "198.51.100.1"), "192.0.2.9");
        assert_eq!(resolved("127.0.0.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(
            resolved("127.0.0.1", "203.0.113.5, 198.51.100.1, 10.0.0.7"),
            "198.51.100.1"
        );
        assert_eq!(resolved("127.0.0.1", "nonsense"), "127.0.0.1");
        assert_eq!(resolved("127.0.0.1", "10.0.0.1"), "10.0.0.1");
    }
}
