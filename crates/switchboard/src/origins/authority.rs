//! A host with a port, as in URLs and the header `Host`.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The longest host in bytes (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// A normalized host, and the port if it is not the default one. Names are in lower case and in ASCII (IDNA), without
/// the dot of the root at the end; IPv6 addresses are in brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// Parses `HOST` or `HOST:PORT`. `None` if it is neither, for example if it has a path or user information.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (normalize_name(&text[..end])?, &text[end..])
            }
        };
        Some(Self {
            host,
            port: parse_port(port)?,
        })
    }

    /// The host, without the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Removes the port if it is the default one.
    pub(super) fn without_port(self, default: Option<u16>) -> Self {
        let port = self.port.filter(|port| Some(*port) != default);
        Self { port, ..self }
    }

    /// Whether the host is a name, and not an address.
    pub(super) fn is_domain(&self) -> bool {
        !self.host.is_empty()
            && !self.host.starts_with('[')
            && self.host.parse::<Ipv4Addr>().is_err()
    }

    /// Whether the host is a name below this domain, on the same port.
    pub(super) fn is_below(&self, domain: &Self) -> bool {
        self.port == domain.port && self.is_host_below(domain)
    }

    /// Whether the host is a name below this domain. A domain without a port includes every port.
    pub(super) fn is_subdomain_of(&self, domain: &Self) -> bool {
        (domain.port.is_none() || domain.port == self.port) && self.is_host_below(domain)
    }

    /// Whether `other` has this host. A host without a port includes every port.
    pub(super) fn includes(&self, other: &Self) -> bool {
        self.host == other.host && (self.port.is_none() || self.port == other.port)
    }

    fn is_host_below(&self, domain: &Self) -> bool {
        let labels = self.host.strip_suffix(domain.host.as_str());
        labels.is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
    }
}

/// Parses the rest of an authority after the host: nothing, `:` or `:PORT`.
fn parse_port(text: &str) -> Option<Option<u16>> {
    match text.strip_prefix(':') {
        None => text.is_empty().then_some(None),
        Some("") => Some(None),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok().map(Some),
        Some(_) => None,
    }
}

/// The name in lower case and in ASCII. `None` if it is not the name of a host.
fn normalize_name(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let ascii = match name.is_ascii() {
        true => name.to_ascii_lowercase(),
        false => idna::domain_to_ascii(name).ok()?,
    };
    // `_` is in names of containers.
    let is_name_char = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !ascii.is_empty()
        && ascii.len() <= HOST_BYTES_MAX
        && ascii.bytes().all(is_name_char)
        && ascii.split('.').all(|label| !label.is_empty());
    is_name.then_some(ascii)
}
