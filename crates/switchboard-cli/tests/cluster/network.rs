//! A network namespace with two virtual links: one for clients, one for Redis. Either can be disconnected.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
};

/// A network namespace, removed on drop.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
}

/// One of the two virtual links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Clients,
    Redis,
}

impl Link {
    const ALL: [Self; 2] = [Self::Clients, Self::Redis];

    fn number(self) -> u8 {
        match self {
            Self::Clients => 0,
            Self::Redis => 1,
        }
    }
}

impl Network {
    /// Creates a namespace with its links.
    pub(crate) fn create() -> Result<Self, String> {
        let network = Self {
            name: format!("sb{}", std::process::id()),
        };
        ip(&format!("netns add {}", network.name))?;
        ip(&format!("-n {} link set lo up", network.name))?;
        for link in Link::ALL {
            network.create_link(link)?;
        }
        Ok(network)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The address of the end of a link on the host.
    pub(crate) fn host_address(link: Link) -> IpAddr {
        Self::address(link, 1)
    }

    /// The address of the end of a link in the namespace.
    pub(crate) fn namespace_address(link: Link) -> IpAddr {
        Self::address(link, 2)
    }

    /// An address in the range for benchmarks (RFC 2544), derived from the process id.
    fn address(link: Link, end: u8) -> IpAddr {
        let pid = std::process::id().to_le_bytes();
        Ipv4Addr::new(198, 18 + (pid[1] & 1), pid[0], 4 * link.number() + end).into()
    }

    fn create_link(&self, link: Link) -> Result<(), String> {
        let (name, outer, inner) = (
            &self.name,
            self.host_interface(link),
            format!("{}i", self.host_interface(link)),
        );
        let (host_address, namespace_address) =
            (Self::host_address(link), Self::namespace_address(link));
        ip(&format!(
            "link add {outer} type veth peer name {inner} netns {name}"
        ))?;
        ip(&format!("address add {host_address}/30 dev {outer}"))?;
        ip(&format!(
            "-n {name} address add {namespace_address}/30 dev {inner}"
        ))?;
        ip(&format!("-n {name} link set {inner} up"))?;
        self.restore(link)
    }

    /// The name of the interface at the end of a link on the host.
    fn host_interface(&self, link: Link) -> String {
        format!("{}c{}", self.name, link.number())
    }

    pub(crate) fn cut(&self, link: Link) {
        ip(&format!("link set {} down", self.host_interface(link))).expect("the link exists");
    }

    pub(crate) fn restore(&self, link: Link) -> Result<(), String> {
        ip(&format!("link set {} up", self.host_interface(link))).map(drop)
    }

    /// Whether a connection over the client link has unacknowledged data.
    pub(crate) fn has_unacknowledged_data(&self) -> Result<bool, String> {
        let outside = std::fs::read_to_string(CONNECTIONS).map_err(|error| error.to_string())?;
        let inside = ip(&format!("netns exec {} cat {CONNECTIONS}", self.name))?;
        let end = Self::namespace_address(Link::Clients);
        Ok(outside
            .lines()
            .chain(inside.lines())
            .any(|line| has_unacknowledged_bytes(line, end)))
    }
}

/// The list of TCP connections of the kernel.
const CONNECTIONS: &str = "/proc/net/tcp";

/// Whether a line is an open connection from or to `end` with unacknowledged data.
fn has_unacknowledged_bytes(line: &str, end: IpAddr) -> bool {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, local, remote, "01", queues, ..] = fields[..] else {
        return false;
    };
    let is_end = |address: &str| {
        let number = address.split(':').next().unwrap_or_default();
        let number = u32::from_str_radix(number, 16).map(u32::to_ne_bytes);
        number.is_ok_and(|bytes| IpAddr::from(bytes) == end)
    };
    (is_end(local) || is_end(remote)) && !queues.starts_with("00000000:")
}

impl Drop for Network {
    fn drop(&mut self) {
        // A link is removed with the namespace, except one that was not moved into it yet.
        for link in Link::ALL {
            drop(ip(&format!("link delete {}", self.host_interface(link))));
        }
        drop(ip(&format!("netns delete {}", self.name)));
    }
}

fn ip(arguments: &str) -> Result<String, String> {
    let mut command = Command::new("ip");
    let output = command
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("ip cannot be run (Debian: iproute2): {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}
