//! `switchboard health`: asks a server whether it is well.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use switchboard::Config;

/// A server that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a server listens that has the same environment and neither flags nor a file: in a
/// container, the server itself. It does not start with a mistake, so none is told here.
pub(crate) fn own_url() -> String {
    let mut config = Config::default();
    config.read_environment(std::env::vars_os());
    let address = match config.server.addr.to_canonical() {
        // A server on all addresses also listens on this one, with or without IPv6.
        all if all.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        one => one,
    };
    let address = SocketAddr::new(address, config.server.port);
    format!("http://{address}/healthz")
}

/// Succeeds if the server at `url` answers 200.
pub(crate) fn ask(url: &str) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| format!("{url} does not begin with http://"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "healthz"));
    let answer = request(host, path).map_err(|error| format!("{url} does not answer: {error}"))?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(format!("{url} answers: {status}"))
    }
}

/// Connects to the first address of a host that takes the connection: a name may have one of IPv6 and one of
/// IPv4.
fn connect(host: &str) -> io::Result<TcpStream> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for address in host.to_socket_addrs()? {
        result = TcpStream::connect_timeout(&address, PATIENCE);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn request(host: &str, path: &str) -> io::Result<String> {
    let mut stream = connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}
