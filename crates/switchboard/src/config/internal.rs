//! The settings of the internal listener, which serves metrics, probes and the admin API.

use std::net::{Ipv4Addr, SocketAddr};

/// The port of the internal listener.
const PORT: u16 = 9091;

/// The settings of the internal listener.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InternalConfig {
    /// The address of the internal listener; `None` for no such listener.
    pub listen: Option<SocketAddr>,
    /// Host names by which the internal listener is reached, in addition to loopback names and IP addresses.
    pub allowed_hosts: Vec<String>,
}

impl Default for InternalConfig {
    fn default() -> Self {
        Self {
            listen: Some((Ipv4Addr::LOCALHOST, PORT).into()),
            allowed_hosts: Vec::new(),
        }
    }
}
