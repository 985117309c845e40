//! `switchboard health`: checks that a server answers its health probe.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use hyper::http::uri::Authority;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use switchboard::Config;

use crate::voice::{Trust, tls_failure};

/// Time that the server has to accept the connection, and to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Checks a server on this machine that has the environment variables of this process, no flags and no settings file,
/// such as the server of the same container. Errors in the variables are ignored here, because the server does not
/// start with them. The certificate is not verified, because it need not name the loopback address.
pub(crate) fn check_own_server() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.read_environment(std::env::vars_os());
    let scheme = config.tls.scheme();
    let check = |ip| {
        let address = SocketAddr::new(ip, config.server.port);
        check_health(&format!("{scheme}://{address}/healthz"), &Trust::Anyone)
    };
    let (first, others) = own_addresses(config.server.addr);
    others.iter().fold(check(first), |result, other| {
        result.or_else(|error| check(*other).map_err(|_| error))
    })
}

/// The address by which this machine reaches a server that listens on `bound`, and the addresses to try if it does not
/// answer. A server that listens on `::` may have IPv4, IPv6 or both.
fn own_addresses(bound: IpAddr) -> (IpAddr, &'static [IpAddr]) {
    const IPV6: [IpAddr; 1] = [IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match bound.to_canonical() {
        bound if !bound.is_unspecified() => (bound, &[]),
        IpAddr::V4(_) => (Ipv4Addr::LOCALHOST.into(), &[]),
        IpAddr::V6(_) => (Ipv4Addr::LOCALHOST.into(), &IPV6),
    }
}

/// Succeeds if the server at `url` answers 200.
pub(crate) fn check_health(url: &str, trust: &Trust) -> anyhow::Result<()> {
    let (rest, tls) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (rest, None),
        (None, Some(rest)) => (rest, Some(trust.config_or_system()?)),
        (None, None) => return Err(anyhow!("{url} begins with neither http:// nor https://")),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, "healthz"));
    let authority = Authority::try_from(host).ok();
    let authority = authority
        .filter(|authority| !authority.host().is_empty())
        .with_context(|| format!("{url} has no valid HOST or HOST:PORT"))?;
    let response = request(&authority, path, tls);
    let response = response.map_err(|error| {
        let reason = tls_failure(&error).unwrap_or_else(|| error.to_string());
        anyhow!("{url} does not answer: {reason}")
    })?;
    let status = response.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(anyhow!("{url} answered {status:?} instead of status 200"))
    }
}

/// Connects to the first address of a host that accepts the connection. A name may have IPv6 and IPv4 addresses.
fn connect(host: &str) -> io::Result<TcpStream> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for address in host.to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, TIMEOUT);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn request(authority: &Authority, path: &str, tls: Option<ClientConfig>) -> io::Result<String> {
    let port = if tls.is_some() { 443 } else { 80 };
    let port = authority.port_u16().unwrap_or(port);
    let name = authority.host();
    let stream = connect(&format!("{name}:{port}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let Some(tls) = tls else {
        return exchange(stream, authority, path);
    };
    let name = name
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let connection = ClientConnection::new(Arc::new(tls), name).map_err(io::Error::other)?;
    exchange(StreamOwned::new(connection, stream), authority, path)
}

fn exchange(
    mut stream: impl Read + Write,
    authority: &Authority,
    path: &str,
) -> io::Result<String> {
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )?;
    stream.flush()?;
    let mut response = String::new();
    stream.take(4096).read_to_string(&mut response)?;
    Ok(response)
}
