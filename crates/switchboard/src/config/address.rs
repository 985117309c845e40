//! Parses addresses to listen on, in the forms that other servers accept.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{ServerConfig, reason::Reason};

/// Parses an IP address, with or without brackets, or `localhost`.
pub(super) fn host(text: &str) -> Result<IpAddr, Reason> {
    let without_brackets = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    without_brackets
        .unwrap_or(text)
        .parse()
        .map_err(|_| Reason::unexpected(text, "an IP address or \"localhost\""))
}

/// Parses `ADDRESS:PORT`; or `:PORT` or `PORT`, which stand for the default address.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Reason> {
    let parsed = match split(text) {
        Some((address, port)) => host(&address).ok().zip(port.parse().ok()),
        None => text.parse().ok().map(|port| (default_host(), port)),
    };
    let expected = "\"ADDRESS:PORT\", \":PORT\" or \"PORT\" with an IP address or \"localhost\"";
    let parsed = parsed.map(SocketAddr::from);
    parsed.ok_or_else(|| Reason::unexpected(text, expected))
}

/// Splits `ADDRESS:PORT` or `:PORT` without checking the parts. `None` if there is no port.
pub(super) fn split(text: &str) -> Option<(String, String)> {
    let (address, port) = text.rsplit_once(':')?;
    if text.parse::<IpAddr>().is_ok() || port.ends_with(']') {
        return None;
    }
    let address = match address {
        "" => default_host().to_string(),
        _ => address.to_owned(),
    };
    Some((address, port.to_owned()))
}

fn default_host() -> IpAddr {
    ServerConfig::default().addr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_address_is_parsed_in_every_usual_form() {
        let all = default_host();
        for (text, expected) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("[::1]:5000", "[::1]:5000"),
            ("localhost:5000", "127.0.0.1:5000"),
            (":5000", &SocketAddr::new(all, 5000).to_string()),
            ("5000", &SocketAddr::new(all, 5000).to_string()),
        ] {
            let read = socket(text).map(|address| address.to_string());
            assert_eq!(read.expect(text), expected);
        }
        for bad in ["", ":", "::1", "1.2.3.4", "example.com:80", ":70000", "a:b"] {
            assert!(socket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn host_may_be_localhost_or_have_brackets() {
        for (text, expected) in [
            ("localhost", "127.0.0.1"),
            ("Localhost", "127.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("0.0.0.0", "0.0.0.0"),
        ] {
            let read = host(text).map(|address| address.to_string());
            assert_eq!(read.expect(text), expected);
            assert_eq!(split(text), None);
        }
        assert!(host("nowhere").is_err());
    }
}
