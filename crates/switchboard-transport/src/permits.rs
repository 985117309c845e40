//! Limits on the number of connections, in total and for each address. Also keeps the spent budgets (rate limits) of
//! ended connections, so that a client cannot renew its budgets by reconnecting.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use ipnet::{IpNet, Ipv4Net};
use parking_lot::{Mutex, MutexGuard};

use switchboard_session::SpentBudgets;

/// Counts connections. Loopback addresses and trusted proxies are exempt from the limit for each address,
/// because connections of many clients can come from a reverse proxy.
#[derive(Debug)]
pub struct PermitPool {
    counts: Mutex<PermitCounts>,
    exempt: Vec<IpNet>,
}

#[derive(Debug, Default)]
struct PermitCounts {
    /// The limit on the total number; 0: no limit.
    all_max: usize,
    /// The limit for each address; 0: no limit.
    per_address_max: usize,
    /// The number of connections in total.
    all: usize,
    /// The number of connections of each address that is not exempt.
    per_address: HashMap<IpAddr, usize>,
    kept_budgets: KeptBudgets,
}

/// The number of ended connections, of all addresses, whose spent budgets are kept.
const KEPT_MAX: usize = 64 * 1024;

/// The spent budgets of ended connections, by address. New connections of the address continue them.
#[derive(Debug, Default)]
struct KeptBudgets {
    spent: HashMap<IpAddr, Vec<SpentBudgets>>,
    count: usize,
}

impl KeptBudgets {
    /// Keeps the spent budgets of an ended connection, unless there are [`KEPT_MAX`] already.
    fn keep(&mut self, address: IpAddr, spent: SpentBudgets, now: Instant) {
        if self.count >= KEPT_MAX {
            self.forget_full(now);
        }
        if self.count < KEPT_MAX {
            self.spent.entry(address).or_default().push(spent);
            self.count += 1;
        }
    }

    /// Removes the budgets that are full again: no connection needs to continue them.
    fn forget_full(&mut self, now: Instant) {
        for spent in self.spent.values_mut() {
            spent.retain(|spent| spent.until() > Some(now));
        }
        self.spent.retain(|_, spent| !spent.is_empty());
        self.count = self.spent.values().map(Vec::len).sum();
    }

    /// Removes and returns the most spent budgets of this address: those that take longest to be full again.
    fn take(&mut self, address: IpAddr, now: Instant) -> Option<SpentBudgets> {
        let of_address = self.spent.get_mut(&address)?;
        let before = of_address.len();
        of_address.retain(|spent| spent.until() > Some(now));
        let most = (0..of_address.len()).max_by_key(|index| of_address[*index].until());
        let most = most.map(|index| of_address.swap_remove(index));
        self.count -= before - of_address.len();
        if of_address.is_empty() {
            self.spent.remove(&address);
        }
        most
    }
}

/// A reached limit on the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLimit {
    /// The limit `connections`.
    Total,
    /// The limit `connections_per_address`.
    PerAddress,
    /// The limit `connections_per_second`.
    Rate,
}

/// A permit for one connection, released when it is dropped.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<PermitPool>,
    /// Whether the count of the client's network includes the connection. The total always does.
    is_counted: AtomicBool,
    /// The address of the client, if it is known.
    client: Option<IpAddr>,
}

impl Permit {
    /// Removes the connection from the count of its address; the total still includes it. Used for a connection that
    /// forwards requests of other clients.
    pub fn uncount_address(&self) {
        let mut counts = self.permits.lock();
        let counted = self.counted();
        self.is_counted.store(false, Ordering::Relaxed);
        counts.uncount(counted);
    }

    /// The address of the client, for log lines.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Removes and returns the spent budgets of an ended connection of the same address. This connection continues
    /// them.
    pub(crate) fn take_spent(&self, now: Instant) -> Option<SpentBudgets> {
        let address = self.counted()?;
        self.permits.lock().kept_budgets.take(address, now)
    }

    /// Keeps the spent budgets of this connection at its end.
    pub(crate) fn keep_spent(&self, spent: SpentBudgets, now: Instant) {
        if let Some(address) = self.counted() {
            self.permits.lock().kept_budgets.keep(address, spent, now);
        }
    }

    /// The network whose count includes the connection. It changes only under the lock of the counts.
    fn counted(&self) -> Option<IpAddr> {
        let client = self
            .client
            .filter(|_| self.is_counted.load(Ordering::Relaxed));
        client.map(network)
    }
}

impl PermitPool {
    /// A pool with a limit in total and for each address (0: no limit). Addresses in `exempt` have no limit of
    /// their own.
    #[must_use]
    pub fn new(all_max: usize, per_address_max: usize, exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::new(PermitCounts {
                all_max,
                per_address_max,
                ..PermitCounts::default()
            }),
            exempt,
        })
    }

    /// Replaces the limits, as in [`PermitPool::new`], for later connections.
    pub fn set_limits(&self, all_max: usize, per_address_max: usize) {
        let mut counts = self.lock();
        counts.all_max = all_max;
        counts.per_address_max = per_address_max;
    }

    /// Acquires a permit for a connection from this address. A connection without an address is counted only in the
    /// total.
    ///
    /// # Errors
    /// The reached limit.
    pub fn try_acquire(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<Permit, ConnectionLimit> {
        let counted = address
            .filter(|address| !is_exempt(address, &self.exempt))
            .map(network);
        let mut counts = self.lock();
        if counts.all_max != 0 && counts.all >= counts.all_max {
            return Err(ConnectionLimit::Total);
        }
        if let Some(address) = counted {
            let max = counts.per_address_max;
            let count = counts.per_address.entry(address).or_default();
            if max != 0 && *count >= max {
                return Err(ConnectionLimit::PerAddress);
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(Permit {
            permits: self.clone(),
            is_counted: AtomicBool::new(counted.is_some()),
            client: address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, PermitCounts> {
        // No code under this lock panics in the middle of a change.
        self.counts.lock()
    }
}

impl PermitCounts {
    /// Subtracts one connection from the count of this address.
    fn uncount(&mut self, counted: Option<IpAddr>) {
        let Some(address) = counted else { return };
        let count = self.per_address.get_mut(&address).map(|count| {
            *count -= 1;
            *count
        });
        if count == Some(0) {
            self.per_address.remove(&address);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.permits.lock();
        counts.all -= 1;
        counts.uncount(self.counted());
    }
}

/// Converts a network of IPv4-mapped IPv6 addresses to the IPv4 network. Other networks are unchanged.
#[must_use]
pub fn canonical_net(net: IpNet) -> IpNet {
    /// The number of bits before the IPv4 address in an IPv4-mapped IPv6 address.
    const MAPPED_BITS: u8 = 96;
    let bits = net.prefix_len().checked_sub(MAPPED_BITS);
    match (net.addr().to_canonical(), bits) {
        (IpAddr::V4(v4), Some(bits)) if matches!(net, IpNet::V6(_)) => {
            Ipv4Net::new(v4, bits).map_or(net, IpNet::V4)
        }
        _ => net,
    }
}

/// Whether this address is exempt from the limits for each address.
pub(crate) fn is_exempt(address: &IpAddr, exempt: &[IpNet]) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || exempt.iter().any(|net| net.contains(&address))
}

/// The network that limits treat as one address: an IPv4 address, or an IPv6 /64, which one customer usually
/// has.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
        }
        plain @ (IpAddr::V4(_) | IpAddr::V6(_)) => plain,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn connections_are_counted_by_address_until_their_permits_are_dropped() {
        let permits = PermitPool::new(0, 1, Vec::new());
        let first = permits.try_acquire(ip("192.0.2.1")).expect("the first");
        assert_eq!(
            permits.try_acquire(ip("192.0.2.1")).err(),
            Some(ConnectionLimit::PerAddress)
        );
        assert!(permits.try_acquire(ip("192.0.2.2")).is_ok());
        drop(first);
        assert!(permits.try_acquire(ip("192.0.2.1")).is_ok());
        assert!(
            permits.lock().per_address.is_empty(),
            "counts of zero are removed"
        );
    }

    #[test]
    fn a_connection_removed_from_the_count_of_its_address_stays_in_the_total() {
        let permits = PermitPool::new(2, 1, Vec::new());
        let first = permits.try_acquire(ip("192.0.2.1")).expect("the first");
        first.uncount_address();
        first.uncount_address();
        let second = permits
            .try_acquire(ip("192.0.2.1"))
            .expect("the address is free");
        assert_eq!(
            permits.try_acquire(ip("192.0.2.2")).err(),
            Some(ConnectionLimit::Total)
        );
        drop((first, second));
        let counts = permits.lock();
        assert!(counts.all == 0 && counts.per_address.is_empty());
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let permits = PermitPool::new(0, 1, Vec::new());
        let _first = permits.try_acquire(ip("2001:db8::1")).expect("the first");
        assert_eq!(
            permits.try_acquire(ip("2001:db8::ffff:2")).err(),
            Some(ConnectionLimit::PerAddress)
        );
        assert!(permits.try_acquire(ip("2001:db8:0:1::1")).is_ok());
        let _mapped = permits
            .try_acquire(ip("::ffff:192.0.2.1"))
            .expect("IPv4 in IPv6");
        assert_eq!(
            permits.try_acquire(ip("192.0.2.1")).err(),
            Some(ConnectionLimit::PerAddress)
        );
    }

    #[test]
    fn trusted_proxies_are_exempt_by_address() {
        let permits = PermitPool::new(0, 1, vec!["10.0.0.0/8".parse().unwrap()]);
        let _two = [
            permits.try_acquire(ip("10.0.0.1")),
            permits.try_acquire(ip("10.0.0.1")),
        ]
        .map(Result::unwrap);
    }

    #[test]
    fn a_network_of_ipv4_mapped_addresses_becomes_an_ipv4_network() {
        for (written, read) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::/0", "::/0"),
            ("2001:db8::/96", "2001:db8::/96"),
        ] {
            let net = canonical_net(written.parse().expect("a network"));
            assert_eq!(net.to_string(), read);
        }
    }

    #[test]
    fn loopback_is_exempt_by_address_but_counts_in_total() {
        let permits = PermitPool::new(2, 1, Vec::new());
        let _two = [
            permits.try_acquire(ip("::ffff:127.0.0.1")),
            permits.try_acquire(ip("::1")),
        ]
        .map(Result::unwrap);
        assert_eq!(
            permits.try_acquire(ip("127.0.0.1")).err(),
            Some(ConnectionLimit::Total)
        );
    }

    fn spent(secs: u64, now: Instant) -> SpentBudgets {
        SpentBudgets::of_frames(now + Duration::from_secs(secs))
    }

    #[test]
    fn a_connection_continues_the_most_spent_budgets_of_its_address() {
        let now = Instant::now();
        let permits = PermitPool::new(0, 0, Vec::new());
        let admit = |address: &str| permits.try_acquire(Some(address.parse().expect("an address")));
        let [ada, bob, local] = ["203.0.113.7", "203.0.113.8", "127.0.0.1"].map(admit);
        let [ada, bob, local] = [ada, bob, local].map(|permit| permit.expect("no limit"));
        for secs in [3, 9, 5] {
            ada.keep_spent(spent(secs, now), now);
            local.keep_spent(spent(secs, now), now);
        }
        assert_eq!(bob.take_spent(now), None);
        assert_eq!(
            local.take_spent(now),
            None,
            "budgets of an exempt address must not be kept"
        );
        assert_eq!(ada.take_spent(now), Some(spent(9, now)));
        let later = now + Duration::from_secs(4);
        assert_eq!(ada.take_spent(later), Some(spent(5, now)));
        assert_eq!(
            ada.take_spent(later),
            None,
            "the last budgets are full again after 3 seconds"
        );
        assert_eq!(permits.lock().kept_budgets.count, 0);
    }

    #[test]
    fn the_number_of_kept_ended_connections_is_bounded() {
        let now = Instant::now();
        let address = IpAddr::from([203, 0, 113, 7]);
        let mut kept = KeptBudgets::default();
        for _ in 0..KEPT_MAX {
            kept.keep(address, spent(1, now), now);
        }
        kept.keep(address, spent(2, now), now);
        assert_eq!(kept.count, KEPT_MAX);
        let later = now + Duration::from_secs(1);
        kept.keep(address, spent(2, now), later);
        assert_eq!(kept.count, 1, "budgets that are full again must be removed");
    }
}
