//! The addresses and names by which other machines reach this one. They are found without sending packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Pairs of an unspecified address, to bind a socket, and a documentation address, to connect it. A documentation
/// address is never assigned to a machine (RFC 5737, RFC 3849), so the route to it is the default route.
const ROUTE_PROBES: [(IpAddr, IpAddr); 2] = [
    (
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    ),
    (
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ),
];

/// Prefixes of the names of interfaces that lead only to containers and virtual machines on this machine.
const VIRTUAL: [&str; 6] = ["docker", "br-", "veth", "virbr", "cni", "podman"];

/// The most addresses that are reported.
const ADDRESSES_MAX: usize = 32;

/// The address by which other machines of the network reach a server that listens on `bound`: an IPv4 address if
/// there is one, else an IPv6 address. `None` if `bound` is a loopback address, or this machine has no network.
#[must_use]
pub fn reachable_address(bound: IpAddr) -> Option<IpAddr> {
    let bound = bound.to_canonical();
    if !bound.is_unspecified() {
        return Some(bound).filter(|bound| !bound.is_loopback());
    }
    // An IPv6 socket accepts IPv4 clients too.
    let is_served = |address: &IpAddr| bound.is_ipv6() || address.is_ipv4();
    addresses().into_iter().find(is_served)
}

/// The addresses of this machine in its networks: IPv4 before IPv6, and in each family the source address of the
/// default route first.
#[must_use]
pub fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let is_virtual = |name: &str| VIRTUAL.iter().any(|prefix| name.starts_with(prefix));
    let real = interfaces
        .iter()
        .filter(|interface| !is_virtual(&interface.name));
    let real = real.map(if_addrs::Interface::ip).filter(is_of_network);
    let of_routes = ROUTE_PROBES
        .iter()
        .filter_map(|(unspecified, to)| source_of(*unspecified, *to));
    let mut addresses = Vec::new();
    for address in of_routes.chain(real) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// The names of this machine: its host name, and its mDNS name with `.local`.
#[must_use]
pub fn host_names() -> Vec<String> {
    let name = gethostname::gethostname();
    let name = name.to_str().unwrap_or_default().to_ascii_lowercase();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    if name.is_empty() || name == "localhost" || !name.bytes().all(is_plain) {
        return Vec::new();
    }
    let short = name.split('.').next().unwrap_or_default();
    let local = format!("{short}.local");
    let mut names = vec![name];
    names.extend((!names.contains(&local)).then_some(local));
    names
}

/// The source address of packets from this machine to `to`, found with a socket that is bound to `unspecified`.
/// Connecting a UDP socket sends no packet, so any port will do.
fn source_of(unspecified: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(unspecified, 0)).ok()?;
    socket.connect(SocketAddr::new(to, 9)).ok()?;
    let source = socket.local_addr().ok()?.ip();
    is_of_network(&source).then_some(source)
}

/// Whether other machines can reach this address without a scope id: it is neither loopback, unspecified nor
/// link-local.
fn is_of_network(address: &IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !is_link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_address_is_not_reachable() {
        for bound in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(reachable_address(bound.parse().expect("an IP")), None);
        }
        let bound: IpAddr = "192.0.2.7".parse().expect("an IP");
        assert_eq!(reachable_address(bound), Some(bound));
    }

    #[test]
    fn ipv4_only_server_is_reachable_over_ipv4_only() {
        let of_all = |ip: &str| reachable_address(ip.parse().expect("an IP"));
        assert!(of_all("0.0.0.0").is_none_or(|address| address.is_ipv4()));
        for address in addresses().iter().chain(&of_all("::")) {
            assert!(is_of_network(address), "{address}");
        }
    }
}
