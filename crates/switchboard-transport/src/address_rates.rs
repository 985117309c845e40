//! AddressRate limits per client address: of expensive requests, of HTTP requests and of new connections.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::permits::{is_exempt, network};

/// The number of addresses with a bucket, about 100 bytes each. If there are more, the bucket that will be full
/// first is dropped.
const ADDRESSES_MAX: usize = 65_536;

/// A token bucket for every IPv4 address and IPv6 /64. Loopback addresses and trusted proxies have no
/// limit, as with [`PermitPool`](crate::PermitPool).
#[derive(Debug)]
pub struct AddressRates {
    rate: RwLock<AddressRate>,
    addresses_max: usize,
    exempt: Vec<IpNet>,
    buckets: Mutex<AddressBuckets>,
}

/// The rate of one address.
#[derive(Clone, Copy, Debug)]
struct AddressRate {
    /// The time in which one token is refilled; `None` for no limit.
    refill_time: Option<Duration>,
    /// The burst, as the time in which an empty bucket is refilled.
    burst: Duration,
}

impl AddressRate {
    fn new(per_second: u32, burst: u32) -> Self {
        let is_limited = per_second != 0 && burst != 0;
        let refill_time = is_limited.then(|| Duration::from_secs(1) / per_second);
        Self {
            refill_time,
            burst: refill_time.unwrap_or_default() * burst,
        }
    }
}

/// The buckets that are not full. Each is stored as the time at which it is full again, as in the generic
/// cell rate algorithm.
#[derive(Debug, Default)]
pub(crate) struct AddressBuckets {
    pub(crate) full_at: HashMap<IpAddr, Instant>,
    by_time: BTreeSet<(Instant, IpAddr)>,
}

/// The bytes of a list in a response that count as one expensive request.
const LIST_BYTES_PER_REQUEST: u64 = 64 * 1024;

impl AddressRates {
    /// The number of expensive requests that a list of this many bytes counts as, besides the request itself.
    #[must_use]
    pub fn cost_of_list(bytes: u64) -> u32 {
        u32::try_from(bytes / LIST_BYTES_PER_REQUEST).unwrap_or(u32::MAX)
    }

    /// A limit of `per_second` requests with a burst of `burst` (0: no limit). Addresses in `exempt` have no
    /// limit.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, exempt: Vec<IpNet>) -> Self {
        Self {
            rate: RwLock::new(AddressRate::new(per_second, burst)),
            addresses_max: ADDRESSES_MAX,
            exempt,
            buckets: Mutex::default(),
        }
    }

    /// Replaces the limit, as in [`AddressRates::new`], for later requests.
    pub fn set_rate(&self, per_second: u32, burst: u32) {
        *self.rate.write() = AddressRate::new(per_second, burst);
    }

    /// Takes a token for a request from this address.
    ///
    /// # Errors
    /// The time until a token is available, if there is none.
    pub fn try_charge(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let Some((address, refill_time, burst)) = self.limited(address) else {
            return Ok(());
        };
        let mut buckets = self.lock();
        let full_in = buckets.full_in(address, now) + refill_time;
        if full_in > burst {
            return Err(full_in - burst);
        }
        buckets.set(address, now + full_in);
        buckets.forget(now, self.addresses_max);
        Ok(())
    }

    /// Takes `count` more tokens for a request that was more expensive. The debt is at most one burst.
    pub fn charge_more(&self, address: Option<IpAddr>, count: u32, now: Instant) {
        let Some((address, refill_time, burst)) = self.limited(address) else {
            return;
        };
        let mut buckets = self.lock();
        let full_in = buckets.full_in(address, now) + refill_time.saturating_mul(count);
        buckets.set(address, now + full_in.min(burst * 2));
        buckets.forget(now, self.addresses_max);
    }

    /// Returns the token of a request that was cheap.
    pub fn refund(&self, address: Option<IpAddr>, now: Instant) {
        let Some((address, refill_time, _)) = self.limited(address) else {
            return;
        };
        let mut buckets = self.lock();
        let full_in = buckets.full_in(address, now).saturating_sub(refill_time);
        buckets.set(address, now + full_in);
        buckets.forget(now, self.addresses_max);
    }

    /// The network of this address, the refill time of one token, and the burst; `None` if there is no limit.
    fn limited(&self, address: Option<IpAddr>) -> Option<(IpAddr, Duration, Duration)> {
        let address = address.filter(|address| !is_exempt(address, &self.exempt))?;
        let AddressRate { refill_time, burst } = *self.rate.read();
        Some((network(address), refill_time?, burst))
    }

    fn lock(&self) -> MutexGuard<'_, AddressBuckets> {
        // No code under this lock panics in the middle of a change.
        self.buckets.lock()
    }
}

impl AddressBuckets {
    /// The time until the bucket of this address is full.
    pub(crate) fn full_in(&self, address: IpAddr, now: Instant) -> Duration {
        let full_at = self.full_at.get(&address);
        full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    pub(crate) fn set(&mut self, address: IpAddr, full_at: Instant) {
        if let Some(before) = self.full_at.insert(address, full_at) {
            self.by_time.remove(&(before, address));
        }
        self.by_time.insert((full_at, address));
    }

    /// Drops the buckets that are full. If there are still too many, drops those that will be full first.
    pub(crate) fn forget(&mut self, now: Instant, addresses_max: usize) {
        while let Some(&(full_at, address)) = self.by_time.first()
            && (full_at <= now || self.full_at.len() > addresses_max)
        {
            self.by_time.pop_first();
            self.full_at.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    fn charges(rates: &AddressRates, address: &str, now: Instant) -> usize {
        let charge = |_: &i32| rates.try_charge(ip(address), now).is_ok();
        (0..100).filter(charge).count()
    }

    #[test]
    fn an_address_has_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let rates = AddressRates::new(2, 10, Vec::new());
        assert_eq!(charges(&rates, "192.0.2.1", start), 10);
        let wait = Duration::from_millis(500);
        assert_eq!(rates.try_charge(ip("192.0.2.1"), start), Err(wait));
        assert_eq!(charges(&rates, "192.0.2.2", start), 10, "another address");
        assert_eq!(charges(&rates, "192.0.2.1", start + 2 * wait), 2);
        assert_eq!(charges(&rates, "192.0.2.1", start + 100 * wait), 10);
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket_and_so_do_ipv4_and_its_mapped_form() {
        let start = Instant::now();
        let rates = AddressRates::new(1, 1, Vec::new());
        assert_eq!(charges(&rates, "2001:db8::1", start), 1);
        assert_eq!(charges(&rates, "2001:db8::ffff:2", start), 0);
        assert_eq!(charges(&rates, "2001:db8:0:1::1", start), 1);
        assert_eq!(charges(&rates, "192.0.2.1", start), 1);
        assert_eq!(charges(&rates, "::ffff:192.0.2.1", start), 0);
    }

    #[test]
    fn loopback_proxies_and_unknown_addresses_have_no_limit() {
        let start = Instant::now();
        let proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        let rates = AddressRates::new(1, 1, proxies);
        for exempt in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3"] {
            assert_eq!(charges(&rates, exempt, start), 100, "{exempt}");
        }
        assert!((0..100).all(|_| rates.try_charge(None, start).is_ok()));
        assert!(rates.lock().full_at.is_empty());
    }

    #[test]
    fn zero_is_no_limit() {
        for (per_second, burst) in [(0, 1), (1, 0)] {
            let rates = AddressRates::new(per_second, burst, Vec::new());
            assert_eq!(charges(&rates, "192.0.2.1", Instant::now()), 100);
        }
    }

    #[test]
    fn a_cheap_request_is_refunded_and_an_expensive_one_makes_a_bounded_debt() {
        let start = Instant::now();
        let rates = AddressRates::new(1, 10, Vec::new());
        let address = ip("192.0.2.1");
        for _ in 0..100 {
            assert_eq!(rates.try_charge(address, start), Ok(()));
            rates.refund(address, start);
        }
        rates.refund(address, start);
        assert_eq!(
            charges(&rates, "192.0.2.1", start),
            10,
            "no more than a burst"
        );
        rates.charge_more(address, u32::MAX, start);
        let wait = Duration::from_secs(11);
        assert_eq!(rates.try_charge(address, start), Err(wait));
        assert_eq!(rates.try_charge(address, start + wait), Ok(()));
    }

    #[test]
    fn the_most_empty_buckets_are_kept_when_there_are_too_many() {
        let start = Instant::now();
        let mut rates = AddressRates::new(1, 10, Vec::new());
        rates.addresses_max = 3;
        assert_eq!(charges(&rates, "192.0.2.1", start), 10);
        for last in 2..200 {
            assert_eq!(
                rates.try_charge(ip(&format!("192.0.2.{last}")), start),
                Ok(())
            );
        }
        assert_eq!(charges(&rates, "192.0.2.1", start), 0);
        let buckets = rates.lock();
        assert_eq!((buckets.full_at.len(), buckets.by_time.len()), (3, 3));
        drop(buckets);
        let later = start + Duration::from_secs(60);
        assert_eq!(rates.try_charge(ip("198.51.100.1"), later), Ok(()));
        assert_eq!(rates.lock().full_at.len(), 1, "full buckets are forgotten");
    }
}
