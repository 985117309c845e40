//! Delays the answers to wrong credentials by address, so that guessing is slow.
//!
//! A valid credential is checked first and never delayed. Delayed answers are bounded in total and for each address, so
//! that they use up neither memory nor connections.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use parking_lot::Mutex;

use crate::{
    address_rates::AddressBuckets,
    permits::{is_exempt, network},
};

/// The longest delay of an answer.
const DELAY_MAX: Duration = Duration::from_secs(25);

/// The time without a failure after which an address is one failure better off.
const FORGIVE_TIME: Duration = Duration::from_secs(60);

/// The number of failures that count: those after it have the longest delay.
const FAILURES_MAX: u32 = 7;

/// The number of addresses whose failures are known. If there are more, those that are forgiven first are forgotten.
const ADDRESSES_MAX: usize = 65_536;

/// The number of delayed answers of all addresses.
const HELD_MAX: usize = 1024;

/// The number of delayed answers of one address.
const HELD_PER_ADDRESS_MAX: usize = 8;

/// The failures of each IPv4 address and IPv6 /64, and the answers that wait. Loopback addresses and trusted proxies
/// are exempt, as in [`PermitPool`](crate::PermitPool).
#[derive(Debug)]
pub struct FailedAuth {
    exempt: Vec<IpNet>,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    /// The time at which all failures of an address are forgiven: the number of failures times [`FORGIVE_TIME`] away.
    forgiven: AddressBuckets,
    held: HashMap<IpAddr, usize>,
    held_count: usize,
}

/// The time at which the answer to a failure is sent.
#[derive(Debug)]
pub enum Delay {
    /// The answer is sent at once.
    None,
    /// The answer is sent after a time.
    Held(HeldAnswer),
    /// Too many answers are held: the client gets 429 at once, with this time in `Retry-After`.
    TooMany(Duration),
}

impl Delay {
    /// Waits until the answer may be sent.
    ///
    /// # Errors
    /// The time after which the client may try again, at once, if too many answers are held.
    pub async fn wait(self) -> Result<(), Duration> {
        match self {
            Self::None => Ok(()),
            Self::Held(held) => {
                tokio::time::sleep(held.time).await;
                Ok(())
            }
            Self::TooMany(retry_after) => Err(retry_after),
        }
    }

    /// The time until the answer may be sent, or until the client may try again.
    #[must_use]
    pub fn time(&self) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Held(held) => held.time,
            Self::TooMany(retry_after) => *retry_after,
        }
    }
}

/// An answer that waits. It is counted until it is dropped.
#[derive(Debug)]
pub struct HeldAnswer {
    time: Duration,
    address: IpAddr,
    failed: Arc<FailedAuth>,
}

impl Drop for HeldAnswer {
    fn drop(&mut self) {
        self.failed.failures.lock().release(self.address);
    }
}

impl FailedAuth {
    /// Without failures. Addresses in `exempt` are never delayed.
    #[must_use]
    pub fn new(exempt: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self {
            exempt,
            failures: Mutex::default(),
        })
    }

    /// Counts a wrong credential of this address. Returns the delay of its answer: none for the first failure, then
    /// 1 s, 2 s, 4 s and so on up to 25 s. An address is one failure better off after each minute without one.
    #[must_use = "the answer must wait"]
    pub fn on_failure(self: &Arc<Self>, address: Option<IpAddr>, now: Instant) -> Delay {
        let address = address.filter(|address| !is_exempt(address, &self.exempt));
        let Some(address) = address.map(network) else {
            return Delay::None;
        };
        let mut failures = self.failures.lock();
        let time = delay_after(failures.count(address, now));
        if time.is_zero() {
            return Delay::None;
        }
        if !failures.try_hold(address) {
            return Delay::TooMany(time);
        }
        Delay::Held(HeldAnswer {
            time,
            address,
            failed: self.clone(),
        })
    }
}

impl Failures {
    /// Counts a failure. Returns the number of earlier ones that are not forgiven.
    fn count(&mut self, address: IpAddr, now: Instant) -> u32 {
        let forgiven_in = self.forgiven.full_in(address, now);
        let count = forgiven_in.as_millis().div_ceil(FORGIVE_TIME.as_millis());
        let forgiven_in = (forgiven_in + FORGIVE_TIME).min(FORGIVE_TIME * FAILURES_MAX);
        self.forgiven.set(address, now + forgiven_in);
        self.forgiven.forget(now, ADDRESSES_MAX);
        u32::try_from(count).unwrap_or(FAILURES_MAX)
    }

    fn try_hold(&mut self, address: IpAddr) -> bool {
        let held = self.held.get(&address).copied().unwrap_or_default();
        if self.held_count >= HELD_MAX || held >= HELD_PER_ADDRESS_MAX {
            return false;
        }
        self.held.insert(address, held + 1);
        self.held_count += 1;
        true
    }

    fn release(&mut self, address: IpAddr) {
        self.held_count -= 1;
        let held = self.held.get_mut(&address).map(|held| {
            *held -= 1;
            *held
        });
        if held == Some(0) {
            self.held.remove(&address);
        }
    }
}

/// The delay of an answer after this number of earlier failures.
fn delay_after(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_secs(1 << doublings.min(FAILURES_MAX)).min(DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    fn seconds(failed: &Arc<FailedAuth>, address: &str, now: Instant) -> u64 {
        failed.on_failure(ip(address), now).time().as_secs()
    }

    #[test]
    fn delay_doubles_with_each_failure_up_to_25_seconds() {
        let (failed, now) = (FailedAuth::new(Vec::new()), Instant::now());
        let delays: Vec<_> = (0..9).map(|_| seconds(&failed, "192.0.2.1", now)).collect();
        assert_eq!(delays, [0, 1, 2, 4, 8, 16, 25, 25, 25]);
        assert_eq!(seconds(&failed, "192.0.2.2", now), 0, "another address");
    }

    #[test]
    fn delay_decays_without_failures() {
        let (failed, start) = (FailedAuth::new(Vec::new()), Instant::now());
        for _ in 0..20 {
            let _ = seconds(&failed, "192.0.2.1", start);
        }
        assert_eq!(seconds(&failed, "192.0.2.1", start + SECOND * 4 * 60), 4);
        assert_eq!(seconds(&failed, "192.0.2.1", start + SECOND * 60 * 60), 0);
        assert_eq!(failed.failures.lock().forgiven.full_at.len(), 1);
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_their_failures() {
        let (failed, now) = (FailedAuth::new(Vec::new()), Instant::now());
        assert_eq!(seconds(&failed, "2001:db8::1", now), 0);
        assert_eq!(seconds(&failed, "2001:db8::ffff:2", now), 1);
        assert_eq!(seconds(&failed, "2001:db8:0:1::1", now), 0);
        assert_eq!(seconds(&failed, "192.0.2.1", now), 0);
        assert_eq!(seconds(&failed, "::ffff:192.0.2.1", now), 1);
    }

    #[test]
    fn loopback_trusted_proxies_and_unknown_addresses_are_exempt() {
        let failed = FailedAuth::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        let now = Instant::now();
        for address in [ip("127.0.0.1"), ip("::1"), ip("10.1.2.3"), None] {
            for _ in 0..3 {
                assert!(
                    failed.on_failure(address, now).time().is_zero(),
                    "{address:?}"
                );
            }
        }
        assert_eq!(failed.failures.lock().forgiven.full_at.len(), 0);
    }

    #[test]
    fn held_answers_are_bounded_per_address_and_in_total_until_they_are_dropped() {
        let (failed, now) = (FailedAuth::new(Vec::new()), Instant::now());
        let fail = |number: usize| {
            let number = u32::try_from(number).expect("a small number");
            failed.on_failure(Some(IpAddr::V4(number.into())), now)
        };
        let mut held = Vec::new();
        for number in 0..HELD_MAX / HELD_PER_ADDRESS_MAX {
            drop(fail(number));
            held.extend((0..HELD_PER_ADDRESS_MAX).map(|_| fail(number)));
            assert!(matches!(fail(number), Delay::TooMany(DELAY_MAX)));
        }
        assert!(held.iter().all(|delay| matches!(delay, Delay::Held(_))));
        assert!(
            matches!(fail(5000), Delay::None),
            "a first failure is not held"
        );
        assert!(matches!(fail(5000), Delay::TooMany(_)), "all are held");
        held.pop();
        assert!(matches!(fail(5000), Delay::Held(_)));
        held.clear();
        let failures = failed.failures.lock();
        assert!(failures.held.is_empty() && failures.held_count == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_for_its_delay() {
        let (failed, now) = (FailedAuth::new(Vec::new()), Instant::now());
        let start = tokio::time::Instant::now();
        for expected in [0, 1, 3, 7] {
            let delay = failed.on_failure(ip("192.0.2.1"), now);
            assert_eq!(delay.wait().await, Ok(()));
            assert_eq!(start.elapsed(), SECOND * expected);
        }
        assert_eq!(failed.failures.lock().held_count, 0);
        assert_eq!(Delay::TooMany(SECOND).wait().await, Err(SECOND));
    }
}
