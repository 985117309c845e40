//! The server that gets the load.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use tokio_tungstenite::tungstenite::http::Uri;

use crate::{BenchError, BenchOptions};

/// The address of the server, and the path of the dialect on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BenchTarget {
    pub(crate) address: SocketAddr,
    /// The host and port, for the request head.
    pub(crate) host: String,
    /// The path of the dialect, without a slash at its end.
    pub(crate) base: String,
}

impl BenchTarget {
    /// Resolves the URL of the options. A remote server needs [`BenchOptions::allow_remote`].
    pub(crate) fn resolve(options: &BenchOptions) -> Result<Self, BenchError> {
        let uri = parse_url(&options.url)?;
        let (addresses, host) = resolve_host(&uri)?;
        let mut remote = addresses
            .iter()
            .filter(|address| !is_loopback(address.ip()));
        if let (Some(address), false) = (remote.next(), options.allow_remote) {
            return Err(BenchError::Remote(*address));
        }
        let address = first_listening(&addresses);
        let path = Self::path_of(options)?;
        let path = path.unwrap_or_else(|| options.dialect.default_path().to_owned());
        let base = path.trim_end_matches('/').to_owned();
        Ok(Self {
            address,
            host,
            base,
        })
    }

    /// The path of the options, or that of their URL; `None` if neither has one.
    pub(crate) fn path_of(options: &BenchOptions) -> Result<Option<String>, BenchError> {
        let uri = parse_url(&options.url)?;
        let url_path = Some(uri.path()).filter(|path| *path != "/");
        let path = options.path.as_deref().or(url_path);
        Ok(path.map(str::to_owned))
    }

    /// The local address of the connection with this number; `None` for any.
    ///
    /// One address has about 28,000 ports for connections to one port. On IPv4 loopback there are more addresses.
    pub(crate) fn source(&self, number: usize) -> Option<SocketAddr> {
        let block = u8::try_from(number / PORTS_PER_SOURCE % SOURCES).unwrap_or_default();
        let is_ipv4_loopback = self.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + block), 0));
        (block > 0 && is_ipv4_loopback).then_some(source)
    }
}

/// Connections from one local address.
const PORTS_PER_SOURCE: usize = 20_000;

/// The local addresses in use. After the last one the first one is used again: its connections have been closed.
const SOURCES: usize = 200;

fn parse_url(url: &str) -> Result<Uri, BenchError> {
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let problem = |problem: &str| BenchError::option("URL", format!("{url} {problem}"));
    let parsed: Result<Uri, _> = with_scheme.parse();
    let uri = parsed.map_err(|error| problem(&format!("is not a URL: {error}")))?;
    match uri.scheme_str() {
        Some("http" | "ws") => Ok(uri),
        _ => Err(problem(
            "must begin with http:// or ws://: load without TLS only",
        )),
    }
}

/// The time that an address has to accept a connection before the next one is tried.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// The first address that accepts connections, or else the first one. `localhost` has one of IPv6 and one of IPv4, and many
/// servers listen on one of them. A single address is not tried.
///
/// # Panics
/// If there is no address.
fn first_listening(addresses: &[SocketAddr]) -> SocketAddr {
    let listens = |address: &&SocketAddr| TcpStream::connect_timeout(address, PROBE_MAX).is_ok();
    let (first, others) = addresses.split_first().expect("a host has an address");
    let found = (!others.is_empty()).then(|| addresses.iter().find(listens));
    *found.flatten().unwrap_or(first)
}

/// The addresses of the host, of which there is at least one, and its name with the port.
fn resolve_host(uri: &Uri) -> Result<(Vec<SocketAddr>, String), BenchError> {
    let name = uri.host().unwrap_or_default();
    let host = format!("{name}:{}", uri.port_u16().unwrap_or(80));
    match host.to_socket_addrs().map(Vec::from_iter) {
        Ok(addresses) if !addresses.is_empty() => Ok((addresses, host)),
        found => {
            let missing = || io::ErrorKind::NotFound.into();
            let source = found.err().unwrap_or_else(missing);
            Err(BenchError::Resolve { host, source })
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BenchDialect, Workload};

    fn target(
        url: &str,
        change: impl FnOnce(&mut BenchOptions),
    ) -> Result<BenchTarget, BenchError> {
        let mut options = BenchOptions::new(Workload::Relay, url, BenchDialect::Matchbox);
        change(&mut options);
        BenchTarget::resolve(&options)
    }

    #[test]
    fn remote_targets_need_a_flag() {
        for url in [
            "http://192.0.2.1:80",
            "192.0.2.1",
            "http://[2001:db8::1]:80",
        ] {
            let refused = target(url, |_| ());
            assert!(matches!(refused, Err(BenchError::Remote(_))), "{refused:?}");
            assert!(target(url, |options| options.allow_remote = true).is_ok());
        }
        for url in [
            "127.0.0.1:80",
            "ws://[::1]:80",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(target(url, |_| ()).is_ok(), "{url}");
        }
    }

    #[test]
    fn path_is_that_of_the_flag_or_the_url_or_the_dialect() {
        let base = |url, path: Option<&str>| {
            let path = path.map(str::to_owned);
            target(url, |options| options.path = path).expect(url).base
        };
        assert_eq!(base("ws://127.0.0.1:9", None), "/matchbox");
        assert_eq!(base("ws://127.0.0.1:9/rooms/", None), "/rooms");
        assert_eq!(base("ws://127.0.0.1:9/rooms", Some("/")), "");
    }

    #[test]
    fn other_urls_are_rejected() {
        for url in [
            "https://127.0.0.1",
            "wss://127.0.0.1",
            "ftp://127.0.0.1",
            "http://a b",
        ] {
            let rejected = target(url, |_| ());
            assert!(
                matches!(rejected, Err(BenchError::Option { .. })),
                "{rejected:?}"
            );
        }
    }

    #[test]
    fn address_that_listens_is_chosen() {
        let bind = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = |listener: &std::net::TcpListener| listener.local_addr().expect("an address");
        let (listening, closed) = (bind(), bind());
        let absent = address(&closed);
        drop(closed);
        let present = address(&listening);
        assert_eq!(first_listening(&[absent, present]), present);
        assert_eq!(first_listening(&[present, absent]), present);
        assert_eq!(first_listening(&[absent, absent]), absent);
    }

    #[test]
    fn many_connections_use_several_local_addresses() {
        let target = target("127.0.0.1:80", |_| ()).expect("an address");
        assert_eq!(target.source(PORTS_PER_SOURCE - 1), None);
        let source = target.source(PORTS_PER_SOURCE).expect("a source");
        assert_eq!(source.ip().to_string(), "127.0.0.2");
    }
}
