//! Bounds on the callers that ring one user, from one address and in all, and their order of precedence.

use std::{collections::BTreeSet, net::IpAddr, time::Instant};

use switchboard_core::{CallError, CallLimits, Calls, RingOrigin, User, VoiceEvent};

use crate::script::{epoch, user};

const HERE: [u8; 4] = [192, 0, 2, 1];
const THERE: [u8; 4] = [198, 51, 100, 1];

/// Calls, and the users that have event streams open.
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

    fn listen(&mut self, name: &str) {
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

    /// Made-up keys ring from one address; how many of them do.
    fn flood(&mut self, count: usize, address: [u8; 4]) -> usize {
        let rung = (0..count).filter(|key| self.ring(&format!("key-{key}"), address).is_ok());
        rung.count()
    }

    /// The callers whose rings have ended, as the callee is told.
    fn declined(&mut self) -> Vec<String> {
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
fn made_up_keys_at_one_address_leave_room_for_callers_elsewhere() {
    let mut ringing = Ringing::new(CallLimits::default());
    assert_eq!(ringing.flood(32, HERE), 8);
    assert_eq!(
        ringing.ring("key-9", HERE),
        Err(CallError::TooManyFromAddress)
    );
    assert_eq!(ringing.ring("ann", THERE), Ok(()));
    assert_eq!(ringing.declined(), [""; 0]);
}

#[test]
fn a_caller_that_listens_comes_before_one_of_its_address_that_does_not() {
    let mut ringing = Ringing::new(CallLimits::default());
    ringing.listen("key-0");
    ringing.listen("ann");
    assert_eq!(ringing.flood(32, HERE), 8);
    assert_eq!(ringing.ring("cid", THERE), Ok(()));
    assert_eq!(ringing.ring("ann", HERE), Ok(()));
    assert_eq!(ringing.declined(), ["key-1"]);
    for key in 2..8 {
        ringing.listen(&format!("key-{key}"));
    }
    ringing.listen("eve");
    assert_eq!(
        ringing.ring("eve", HERE),
        Err(CallError::TooManyFromAddress)
    );
    assert_eq!(ringing.declined(), [""; 0]);
}

#[test]
fn a_caller_that_listens_comes_before_made_up_keys_at_many_addresses() {
    let mut ringing = Ringing::new(CallLimits::default());
    for key in 0..32 {
        let address = [203, 0, 113, key];
        assert_eq!(ringing.ring(&format!("key-{key}"), address), Ok(()));
    }
    assert_eq!(ringing.ring("ann", THERE), Err(CallError::Busy));
    ringing.listen("ann");
    assert_eq!(ringing.ring("ann", THERE), Ok(()));
    assert_eq!(ringing.declined(), ["key-0"]);
}

#[test]
fn an_address_can_ring_again_when_its_rings_are_over() {
    let limits = CallLimits {
        rings_per_address: 1,
        ..CallLimits::default()
    };
    let mut ringing = Ringing::new(limits);
    assert_eq!(ringing.ring("ann", HERE), Ok(()));
    assert_eq!(
        ringing.ring("ann", HERE),
        Ok(()),
        "it may always ring again"
    );
    assert_eq!(
        ringing.ring("cid", HERE),
        Err(CallError::TooManyFromAddress)
    );
    ringing
        .calls
        .hang_up(&user("ann"), &user("bob"), ringing.now)
        .unwrap();
    assert_eq!(ringing.ring("cid", HERE), Ok(()));
    ringing
        .calls
        .accept(&user("bob"), &user("cid"), "s".into(), ringing.now)
        .unwrap();
    assert_eq!(ringing.ring("dan", HERE), Ok(()));
}

#[test]
fn new_keys_that_ring_and_hang_up_in_a_loop_are_limited_by_their_address() {
    let mut ringing = Ringing::new(CallLimits::default());
    let mut rung = 0;
    for key in 0..200 {
        let name = format!("key-{key}");
        match ringing.ring(&name, HERE) {
            Ok(()) => rung += 1,
            Err(refusal) => {
                assert_eq!(refusal, CallError::TooOften);
                continue;
            }
        }
        let hung_up = ringing
            .calls
            .hang_up(&user(&name), &user("bob"), ringing.now);
        assert_eq!(hung_up, Ok(()));
    }
    assert_eq!(rung, 40);
    assert_eq!(ringing.ring("ann", THERE), Ok(()));
}
