//! The limits of callers that ring one user, per address and in total: callers with an event stream displace others.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use switchboard_voice::{CallError, CallLimits, Calls, RingOrigin, User, VoiceEvent};

use crate::script::{epoch, user};

const ADDRESS: [u8; 4] = [192, 0, 2, 1];
const OTHER_ADDRESS: [u8; 4] = [198, 51, 100, 1];

/// Callers that ring bob, and the users with open event streams.
struct Ringing {
    calls: Calls,
    listening: BTreeSet<User>,
    now: Instant,
}

impl Ringing {
    fn new(limits: CallLimits) -> Self {
        Self {
            calls: Calls::new(limits),
            listening: BTreeSet::new(),
            now: epoch(),
        }
    }

    fn open_stream(&mut self, name: &str) {
        self.listening.insert(user(name));
    }

    fn ring(&mut self, from: &str, address: impl Into<IpAddr>) -> Result<(), CallError> {
        let listening = &self.listening;
        let origin = RingOrigin {
            address: Some(address.into()),
            listens: &|user| listening.contains(user),
        };
        let challenge = from.to_owned().into();
        self.calls
            .ring(&user(from), &user("bob"), challenge, origin, self.now)
    }

    /// Rings with newly made keys from one address; returns the number of rings that are not refused.
    fn ring_with_new_keys(&mut self, count: usize, address: [u8; 4]) -> usize {
        let rings = (0..count).filter(|key| self.ring(&format!("key-{key}"), address).is_ok());
        rings.count()
    }

    /// The callers whose rings have ended, from the events of the callee.
    fn ended_callers(&mut self) -> Vec<String> {
        let mut declined = Vec::new();
        while let Some((to, event)) = self.calls.poll_event() {
            if let VoiceEvent::Declined { from, .. } = event
                && to == user("bob")
            {
                declined.push(from.to_string());
            }
        }
        declined
    }
}

#[test]
fn new_keys_at_one_address_do_not_block_callers_at_other_addresses() {
    let mut ringing = Ringing::new(CallLimits::default());
    assert_eq!(ringing.ring_with_new_keys(32, ADDRESS), 8);
    assert_eq!(
        ringing.ring("key-9", ADDRESS),
        Err(CallError::TooManyRingsFromAddress)
    );
    assert_eq!(ringing.ring("ann", OTHER_ADDRESS), Ok(()));
    assert_eq!(ringing.ended_callers(), [""; 0]);
}

#[test]
fn a_caller_with_an_event_stream_displaces_one_without_at_its_address() {
    let mut ringing = Ringing::new(CallLimits::default());
    ringing.open_stream("key-0");
    ringing.open_stream("ann");
    assert_eq!(ringing.ring_with_new_keys(32, ADDRESS), 8);
    assert_eq!(ringing.ring("cid", OTHER_ADDRESS), Ok(()));
    assert_eq!(ringing.ring("ann", ADDRESS), Ok(()));
    assert_eq!(ringing.ended_callers(), ["key-1"]);
    for key in 2..8 {
        ringing.open_stream(&format!("key-{key}"));
    }
    ringing.open_stream("eve");
    assert_eq!(
        ringing.ring("eve", ADDRESS),
        Err(CallError::TooManyRingsFromAddress)
    );
    assert_eq!(ringing.ended_callers(), [""; 0]);
}

#[test]
fn a_caller_with_an_event_stream_displaces_callers_without_one_at_many_addresses() {
    let mut ringing = Ringing::new(CallLimits::default());
    for key in 0..32 {
        let address = [203, 0, 113, key];
        assert_eq!(ringing.ring(&format!("key-{key}"), address), Ok(()));
    }
    assert_eq!(ringing.ring("ann", OTHER_ADDRESS), Err(CallError::Busy));
    ringing.open_stream("ann");
    assert_eq!(ringing.ring("ann", OTHER_ADDRESS), Ok(()));
    assert_eq!(ringing.ended_callers(), ["key-0"]);
}

#[test]
fn an_address_can_ring_again_after_its_rings_have_ended() {
    let limits = CallLimits {
        rings_per_address: 1,
        ..CallLimits::default()
    };
    let mut ringing = Ringing::new(limits);
    assert_eq!(ringing.ring("ann", ADDRESS), Ok(()));
    assert_eq!(
        ringing.ring("ann", ADDRESS),
        Ok(()),
        "a caller may always replace its own ring"
    );
    assert_eq!(
        ringing.ring("cid", ADDRESS),
        Err(CallError::TooManyRingsFromAddress)
    );
    ringing
        .calls
        .hang_up(&user("ann"), &user("bob"), ringing.now)
        .unwrap();
    assert_eq!(ringing.ring("cid", ADDRESS), Ok(()));
    ringing
        .calls
        .accept(&user("bob"), &user("cid"), "s".into(), ringing.now)
        .unwrap();
    assert_eq!(ringing.ring("dan", ADDRESS), Ok(()));
}

#[test]
fn new_keys_that_ring_and_hang_up_in_a_loop_are_limited_by_their_address() {
    let mut ringing = Ringing::new(CallLimits::default());
    let mut rings = 0;
    for key in 0..200 {
        let name = format!("key-{key}");
        match ringing.ring(&name, ADDRESS) {
            Ok(()) => rings += 1,
            Err(error) => {
                assert_eq!(error, CallError::RateExceeded);
                continue;
            }
        }
        let hung_up = ringing
            .calls
            .hang_up(&user(&name), &user("bob"), ringing.now);
        assert_eq!(hung_up, Ok(()));
    }
    assert_eq!(rings, 40);
    assert_eq!(ringing.ring("ann", OTHER_ADDRESS), Ok(()));
}
