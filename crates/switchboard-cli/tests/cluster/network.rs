//! A network namespace with two cables into it: one for clients, one for Redis. Either can be cut.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
};

/// A namespace, gone when dropped.
#[derive(Debug)]
pub(crate) struct Network {
    name: String,
}

/// One of the two cables.
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
    /// Makes one, or says why it cannot.
    pub(crate) fn make() -> Result<Self, String> {
        let network = Self {
            name: format!("sb{}", std::process::id()),
        };
        ip(&format!("netns add {}", network.name))?;
        ip(&format!("-n {} link set lo up", network.name))?;
        for cable in Link::ALL {
            network.lay(cable)?;
        }
        Ok(network)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The address of a cable's end outside.
    pub(crate) fn outside(cable: Link) -> IpAddr {
        Self::address(cable, 1)
    }

    /// The address of a cable's end inside.
    pub(crate) fn inside(cable: Link) -> IpAddr {
        Self::address(cable, 2)
    }

    /// Of the networks that are kept for measurements, one by the number of this process.
    fn address(cable: Link, end: u8) -> IpAddr {
        let pid = std::process::id().to_le_bytes();
        Ipv4Addr::new(198, 18 + (pid[1] & 1), pid[0], 4 * cable.number() + end).into()
    }

    fn lay(&self, cable: Link) -> Result<(), String> {
        let (name, outer, inner) = (&self.name, self.end(cable), format!("{}i", self.end(cable)));
        let (outside, inside) = (Self::outside(cable), Self::inside(cable));
        ip(&format!(
            "link add {outer} type veth peer name {inner} netns {name}"
        ))?;
        ip(&format!("address add {outside}/30 dev {outer}"))?;
        ip(&format!("-n {name} address add {inside}/30 dev {inner}"))?;
        ip(&format!("-n {name} link set {inner} up"))?;
        self.join(cable)
    }

    fn end(&self, cable: Link) -> String {
        format!("{}c{}", self.name, cable.number())
    }

    pub(crate) fn cut(&self, cable: Link) {
        ip(&format!("link set {} down", self.end(cable))).expect("the cable is there");
    }

    pub(crate) fn join(&self, cable: Link) -> Result<(), String> {
        ip(&format!("link set {} up", self.end(cable))).map(drop)
    }
}

impl Network {
    /// Whether something that was sent over the clients' cable has not been taken at its other end.
    pub(crate) fn holds_back(&self) -> Result<bool, String> {
        let outside = std::fs::read_to_string(CONNECTIONS).map_err(|error| error.to_string())?;
        let inside = ip(&format!("netns exec {} cat {CONNECTIONS}", self.name))?;
        let end = Self::inside(Link::Clients);
        Ok(outside
            .lines()
            .chain(inside.lines())
            .any(|line| waits(line, end)))
    }
}

/// Where the kernel lists its connections.
const CONNECTIONS: &str = "/proc/net/tcp";

/// Whether this line is of an open connection from or to `end`, and with something unacknowledged.
fn waits(line: &str, end: IpAddr) -> bool {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [_, local, remote, "01", queues, ..] = fields[..] else {
        return false;
    };
    let is_of = |address: &str| {
        let number = address.split(':').next().unwrap_or_default();
        let number = u32::from_str_radix(number, 16).map(u32::to_ne_bytes);
        number.is_ok_and(|bytes| IpAddr::from(bytes) == end)
    };
    (is_of(local) || is_of(remote)) && !queues.starts_with("00000000:")
}

impl Drop for Network {
    fn drop(&mut self) {
        // A cable goes with its end inside, but for one that was being laid.
        for cable in Link::ALL {
            drop(ip(&format!("link delete {}", self.end(cable))));
        }
        drop(ip(&format!("netns delete {}", self.name)));
    }
}

fn ip(words: &str) -> Result<String, String> {
    let mut command = Command::new("ip");
    let output = command
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| format!("ip cannot be run (Debian: iproute2): {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "ip {words}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}
