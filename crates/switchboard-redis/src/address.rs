//! The URL of the Redis server or cluster, as configured.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    str::FromStr,
};

use percent_encoding::percent_decode_str;
use thiserror::Error;

/// The port of a host without a port.
const PORT: u16 = 6379;

/// The URL of Redis: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS.
/// Several hosts, separated by commas, or the schemes `redis-cluster://` and `rediss-cluster://`,
/// mean a Redis Cluster. Its `Display` output omits the login.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    pub(super) is_cluster: bool,
    pub(super) has_tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) hosts: Vec<RedisHost>,
    pub(super) database: u32,
}

/// One host of a [`RedisAddress`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RedisHost {
    pub(super) name: String,
    pub(super) port: u16,
}

impl fmt::Display for RedisHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// The reason why a text is not a [`RedisAddress`]. It does not repeat the text, which may contain a
/// password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisAddressError {
    /// The scheme is missing or unknown.
    #[error("the URL must begin with redis://, rediss://, redis-cluster:// or rediss-cluster://")]
    Scheme,
    /// The URL has a query or a fragment.
    #[error("the URL must not contain `?` or `#` (in a password, write %3F and %23)")]
    Query,
    /// The database is not a number.
    #[error("the database is not a number: write /0, /1, … after the host")]
    Database,
    /// The URL of a Redis Cluster has a database.
    #[error("the URL has a database, but a Redis Cluster has only the database 0")]
    ClusterDatabase,
    /// The user or the password is not UTF-8.
    #[error("the user or the password is not UTF-8")]
    LoginNotUtf8,
    /// There is a user without a password.
    #[error("the user has no password: write USER:PASSWORD@, or :PASSWORD@")]
    NoPassword,
    /// There is no host.
    #[error("the URL has no host")]
    NoHost,
    /// The port is not a number in range.
    #[error("the port is not a number from 1 to 65535 (write an IPv6 address in brackets)")]
    Port,
}

impl RedisAddress {
    /// The local IP address from which this machine reaches the first host. May query DNS; sends no
    /// other traffic.
    #[must_use]
    pub fn local_ip(&self) -> Option<IpAddr> {
        let host = self.hosts.first()?;
        let remote = (&*host.name, host.port).to_socket_addrs().ok()?.next()?;
        let unspecified: SocketAddr = match remote {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        // Connecting a datagram socket sends nothing.
        let socket = UdpSocket::bind(unspecified).ok()?;
        socket.connect(remote).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    }
}

impl FromStr for RedisAddress {
    type Err = RedisAddressError;

    fn from_str(text: &str) -> Result<Self, RedisAddressError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (is_cluster, has_tls) = match scheme {
            "redis" => (false, false),
            "rediss" => (false, true),
            "redis-cluster" => (true, false),
            "rediss-cluster" => (true, true),
            _ => return Err(RedisAddressError::Scheme),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisAddressError::Query);
        }
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) = parse_login(login)?;
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = hosts.split(',').map(parse_host);
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        let is_cluster = is_cluster || hosts.len() > 1;
        let database = match database.trim_end_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| RedisAddressError::Database)?,
        };
        if is_cluster && database != 0 {
            return Err(RedisAddressError::ClusterDatabase);
        }
        Ok(Self {
            is_cluster,
            has_tls,
            user,
            password,
            hosts,
            database,
        })
    }
}

fn parse_login(login: &str) -> Result<(Option<String>, Option<String>), RedisAddressError> {
    let decode = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(text.into_owned())),
        Err(_) => Err(RedisAddressError::LoginNotUtf8),
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (user, password) = (decode(user)?, decode(password)?);
    if user.is_some() && password.is_none() {
        return Err(RedisAddressError::NoPassword);
    }
    Ok((user, password))
}

fn parse_host(text: &str) -> Result<RedisHost, RedisAddressError> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, rest)) => (name, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    if name.is_empty() {
        return Err(RedisAddressError::NoHost);
    }
    let port = port.map_or(Some(PORT), |port| {
        port.parse().ok().filter(|port| *port != 0)
    });
    Ok(RedisHost {
        name: name.to_owned(),
        port: port.ok_or(RedisAddressError::Port)?,
    })
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.is_cluster, self.has_tls) {
            (false, false) => "redis://",
            (false, true) => "rediss://",
            (true, false) => "redis-cluster://",
            (true, true) => "rediss-cluster://",
        })?;
        for (i, host) in self.hosts.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        match self.database {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(text: &str) -> String {
        match text.parse::<RedisAddress>() {
            Ok(address) => address.to_string(),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn an_address_is_displayed_without_its_password() {
        for (text, expected) in [
            ("redis://cache", "redis://cache:6379"),
            ("rediss://u:p%40ss@cache:1/2", "rediss://cache:1/2"),
            ("redis://:geheim@[::1]:7000", "redis://[::1]:7000"),
            ("redis://a,b:7001", "redis-cluster://a:6379,b:7001"),
            ("rediss-cluster://a/", "rediss-cluster://a:6379"),
        ] {
            assert_eq!(display(text), expected, "{text}");
            assert!(!format!("{:?}", text.parse::<RedisAddress>()).contains("geheim"));
        }
        let address: RedisAddress = "redis://u:p%40ss@h@cache".parse().expect("an address");
        assert_eq!(address.user.as_deref(), Some("u"));
        assert_eq!(address.password.as_deref(), Some("p@ss@h"));
    }

    #[test]
    fn errors_of_malformed_addresses_do_not_repeat_the_text() {
        for text in [
            "",
            "cache:6379",
            "http://geheim",
            "redis://",
            "redis://:geheim@",
            "redis://a:b",
            "redis://a:0",
            "redis://a/geheim",
            "redis://a,b/1",
            "redis://geheim@a",
            "redis://a?geheim",
            "redis://::1",
            "redis://a,,b",
            "redis://%FF:x@a",
        ] {
            let error = text.parse::<RedisAddress>().expect_err(text).to_string();
            assert!(!error.is_empty() && !error.contains("geheim"), "{error}");
        }
    }
}
