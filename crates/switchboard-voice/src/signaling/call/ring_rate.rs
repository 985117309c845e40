//! Rate limits of rings per caller and callee. A ring stays counted after it has ended.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::id::User;

/// Average time between two rings of a caller.
const INTERVAL: Duration = Duration::from_secs(1);

/// Max rings of a caller in quick succession. A client may ring again several times while the callee does not answer.
const BURST: u32 = 10;

/// Rate of all callers at one address together, as a multiple of the rate of one caller: a client can generate any
/// number of keys.
const CALLERS_PER_ADDRESS: u32 = 4;

/// Below this number of entries, expired entries are kept: searching for them would cost more than it saves.
const PRUNE_MIN: usize = 64;

/// For each caller (or address of callers) and callee, the time until which the rate is used up.
#[derive(Debug, Default)]
pub(crate) struct RingRates {
    used_until: BTreeMap<(RateKey, User), Instant>,
    /// The number of entries at which expired ones are removed.
    prune_at: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RateKey {
    Caller(User),
    Address(IpAddr),
}

impl RingRates {
    /// Counts a ring. Returns false if it exceeds a rate; it is not counted then.
    pub(crate) fn try_ring(
        &mut self,
        from: &User,
        to: &User,
        address: Option<IpAddr>,
        now: Instant,
    ) -> bool {
        self.prune(now);
        let caller = (RateKey::Caller(from.clone()), to.clone());
        let address = address.map(|address| (RateKey::Address(address), to.clone()));
        let Some(by_caller) = self.until_after_ring(&caller, INTERVAL, BURST, now) else {
            return false;
        };
        if let Some(address) = address {
            let interval = INTERVAL / CALLERS_PER_ADDRESS;
            let burst = BURST * CALLERS_PER_ADDRESS;
            let Some(by_address) = self.until_after_ring(&address, interval, burst, now) else {
                return false;
            };
            self.used_until.insert(address, by_address);
        }
        self.used_until.insert(caller, by_caller);
        true
    }

    /// The time until which the rate is used up if `key` rings once more at `now`. `None`: the ring exceeds the rate.
    fn until_after_ring(
        &self,
        key: &(RateKey, User),
        interval: Duration,
        burst: u32,
        now: Instant,
    ) -> Option<Instant> {
        let until = self.used_until.get(key).copied();
        let debt = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        (debt + interval <= interval * burst).then(|| now + debt + interval)
    }

    /// Removes expired entries each time the number of entries has doubled.
    fn prune(&mut self, now: Instant) {
        if self.used_until.len() < self.prune_at.max(PRUNE_MIN) {
            return;
        }
        self.used_until.retain(|_, until| *until > now);
        self.prune_at = self.used_until.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "`Instant` has no other constructor; the test uses only differences"
    )]
    fn expired_entries_are_removed() {
        let mut rates = RingRates::default();
        let start = Instant::now();
        let to = User::parse("bob").unwrap();
        for second in 0..10_000 {
            let from = User::parse(&format!("key-{second}")).unwrap();
            let now = start + Duration::from_secs(second);
            assert!(rates.try_ring(&from, &to, Some([192, 0, 2, 1].into()), now));
        }
        assert!(
            rates.used_until.len() <= PRUNE_MIN,
            "{}",
            rates.used_until.len()
        );
    }
}
