//! `switchboard health`: asks a server whether it is well.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, ToSocketAddrs},
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
    let host = match config.server.addr {
        IpAddr::V4(addr) if addr.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        IpAddr::V6(addr) if addr.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        IpAddr::V4(addr) => addr.to_string(),
        IpAddr::V6(addr) => format!("[{addr}]"),
    };
    format!("http://{host}:{}/healthz", config.server.port)
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

fn request(host: &str, path: &str) -> std::io::Result<String> {
    let address = host
        .to_socket_addrs()?
        .next()
        .ok_or(std::io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}
