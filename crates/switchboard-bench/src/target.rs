//! The server that gets the load.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

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
        let (address, host) = resolve_host(&uri)?;
        if !is_loopback(address.ip()) && !options.allow_remote {
            return Err(BenchError::Remote(address));
        }
        let url_path = Some(uri.path()).filter(|path| *path != "/");
        let path = options.path.as_deref().or(url_path);
        let path = path.unwrap_or(options.dialect.default_path());
        let base = path.trim_end_matches('/').to_owned();
        Ok(Self {
            address,
            host,
            base,
        })
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

fn resolve_host(uri: &Uri) -> Result<(SocketAddr, String), BenchError> {
    let name = uri.host().unwrap_or_default();
    let host = format!("{name}:{}", uri.port_u16().unwrap_or(80));
    let missing = || std::io::ErrorKind::NotFound.into();
    let found = host
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or_else(missing));
    match found {
        Ok(address) => Ok((address, host)),
        Err(source) => Err(BenchError::Resolve { host, source }),
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
    fn many_connections_use_several_local_addresses() {
        let target = target("127.0.0.1:80", |_| ()).expect("an address");
        assert_eq!(target.source(PORTS_PER_SOURCE - 1), None);
        let source = target.source(PORTS_PER_SOURCE).expect("a source");
        assert_eq!(source.ip().to_string(), "127.0.0.2");
    }
}
