//! Property test of calls: four users take random steps. After each step, the state machine must be in the same state
//! as the model and have the same outputs. The outputs must also satisfy invariants that are checked without the model.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytestring::ByteString;
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use switchboard_voice::{CallError, CallId, Calls, Direction, RingOrigin, User, VoiceEvent};

use crate::{
    call_model::{CallModel, CallStep, limits},
    script::{epoch, user},
};

const USERS: [&str; 4] = ["ann", "bob", "cid", "dan"];

/// Few challenges, because some steps must repeat the challenge of another user. The empty one is that of users without
/// keys (accounts of a website).
const CHALLENGES: [&str; 7] = ["", "c1", "c2", "c3", "c4", "c5", "c6"];

/// Indices of two users, or of one user twice. The first two users are preferred: otherwise few calls would reach the
/// late steps.
fn two_users() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![2 => (0..2_usize, 0..2_usize), 1 => (0..USERS.len(), 0..USERS.len())]
}

fn step() -> impl Strategy<Value = CallStep> {
    let direction = || prop_oneof![Just(Direction::Publish), Just(Direction::Subscribe)];
    let pair_and_challenge = || (two_users(), 0..CHALLENGES.len());
    let times = prop_oneof![5 => Just(1_usize), 1 => 2..12_usize];
    prop_oneof![
        6 => (pair_and_challenge(), times).prop_map(|(((by, to), challenge), times)| CallStep::Ring { by, to, challenge, times }),
        3 => pair_and_challenge().prop_map(|((by, to), challenge)| CallStep::Answer { by, to, challenge }),
        3 => pair_and_challenge().prop_map(|((by, to), challenge)| CallStep::Confirm { by, to, challenge }),
        8 => two_users().prop_map(|(by, to)| CallStep::Accept { by, to }),
        2 => two_users().prop_map(|(by, to)| CallStep::Reject { by, to }),
        1 => two_users().prop_map(|(by, to)| CallStep::HangUp { by, to }),
        8 => (two_users(), direction()).prop_map(|((by, to), direction)| CallStep::Connect { by, to, direction }),
        6 => (0..USERS.len(), 0..9_u64, direction()).prop_map(|(by, call, direction)| CallStep::Disconnect { by, call, direction }),
        4 => (0..8_u64).prop_map(|secs| CallStep::Wait { secs }),
        2 => Just(CallStep::Timer),
    ]
}

/// The steps ring, answer and confirm, which seldom follow each other among random steps.
fn handshake() -> impl Strategy<Value = Vec<CallStep>> {
    let steps = |((by, to), [ring, answer, confirm]): ((usize, usize), [usize; 3])| {
        vec![
            CallStep::Ring {
                by,
                to,
                challenge: ring,
                times: 1,
            },
            CallStep::Answer {
                by: to,
                to: by,
                challenge: answer,
            },
            CallStep::Confirm {
                by,
                to,
                challenge: confirm,
            },
        ]
    };
    let challenge = || 0..CHALLENGES.len();
    (two_users(), [challenge(), challenge(), challenge()]).prop_map(steps)
}

fn steps() -> impl Strategy<Value = Vec<Vec<CallStep>>> {
    let one = step().prop_map(|step| vec![step]);
    prop::collection::vec(prop_oneof![12 => one, 1 => handshake()], 1..100)
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/proptest-regressions/calls.txt",
        ))),
        max_shrink_iters: 20_000,
        ..ProptestConfig::with_cases(if cfg!(debug_assertions) { 1000 } else { 20_000 })
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn machine_agrees_with_the_model_and_keeps_its_invariants(calls_per_user in 0..4_usize, steps in steps()) {
        let mut run = CallRun::new(calls_per_user);
        for step in steps.iter().flatten() {
            run.step(step);
        }
        run.finish();
    }
}

struct CallRun {
    calls: Calls,
    model: CallModel,
    observer: CallObserver,
    users: Vec<User>,
    calls_per_user: usize,
    now: Instant,
    signatures_made: u64,
}

impl CallRun {
    fn new(calls_per_user: usize) -> Self {
        Self {
            calls: Calls::new(limits(calls_per_user)),
            model: CallModel::new(limits(calls_per_user)),
            observer: CallObserver::default(),
            users: USERS.map(user).into(),
            calls_per_user,
            now: epoch(),
            signatures_made: 0,
        }
    }

    /// A signature that is unique within the run, because an event must have the signature of its step.
    fn new_signature(&mut self) -> ByteString {
        self.signatures_made += 1;
        self.signatures_made.to_string().into()
    }

    fn step(&mut self, step: &CallStep) {
        self.apply_step(step);
        self.compare_outputs();
        self.compare_states();
    }

    fn apply_step(&mut self, step: &CallStep) {
        let now = self.now;
        let signature = self.new_signature();
        let s = signature.clone();
        let at = |index: &usize| user(USERS[*index]);
        let challenge_at = |index: &usize| ByteString::from_static(CHALLENGES[*index]);
        let (calls, model) = (&mut self.calls, &mut self.model);
        match step {
            CallStep::Ring {
                by,
                to,
                challenge,
                times,
            } => {
                let (by, to, c) = (at(by), at(to), challenge_at(challenge));
                for _ in 0..*times {
                    let expected = model.ring(&by, &to, &c, now);
                    assert_same_result(
                        calls.ring(&by, &to, c.clone(), RingOrigin::UNKNOWN, now),
                        expected,
                    );
                }
            }
            CallStep::Answer { by, to, challenge } => {
                let (by, to, c) = (at(by), at(to), challenge_at(challenge));
                let expected = model.answer(&by, &to, &signature, &c, now);
                assert_same_result(calls.answer(&by, &to, s, c, now), expected);
            }
            CallStep::Confirm { by, to, challenge } => {
                let (by, to, c) = (at(by), at(to), challenge_at(challenge));
                let expected = model.confirm(&by, &to, &signature, &c, now);
                assert_same_result(calls.confirm(&by, &to, s, c, now), expected);
            }
            CallStep::Accept { by, to } => {
                let (by, to) = (at(by), at(to));
                let accepted = calls.accept(&by, &to, s, now);
                assert_eq!(accepted.map(Some), model.accept(&by, &to, &signature, now));
                self.observer.accepted(accepted, &by, &to);
            }
            CallStep::Reject { by, to } => {
                let (by, to) = (at(by), at(to));
                assert_same_result(
                    calls.reject(&by, &to, s, now),
                    model.reject(&by, &to, &signature, now),
                );
            }
            CallStep::HangUp { by, to } => {
                let (by, to) = (at(by), at(to));
                assert_same_result(calls.hang_up(&by, &to, now), model.hang_up(&by, &to, now));
            }
            CallStep::Connect { by, to, direction } => {
                let (by, to) = (at(by), at(to));
                let connected = calls.connect(&by, &to, *direction, now);
                assert_eq!(
                    connected.map(Some),
                    model.connect(&by, &to, *direction, now)
                );
                self.observer.connected(connected, &by, &to, *direction);
            }
            CallStep::Disconnect {
                by,
                call,
                direction,
            } => {
                let (by, call) = (at(by), CallId::from(*call));
                calls.disconnect(&by, call, *direction, now);
                model.disconnect(&by, call, *direction, now);
                self.observer.connected.remove(&(call, by, *direction));
            }
            CallStep::Wait { secs } => self.now += Duration::from_secs(*secs),
            CallStep::Timer => {
                calls.handle_timeout(now);
                model.advance_to(now);
            }
        }
    }

    /// Compares the outputs without their order, because timeouts of the same time may fire in any order.
    fn compare_outputs(&mut self) {
        let mut events: Vec<_> = std::iter::from_fn(|| self.calls.poll_event()).collect();
        let mut ended: Vec<_> = std::iter::from_fn(|| self.calls.poll_ended()).collect();
        for (to, event) in &events {
            self.observer.check_event(to, event);
        }
        for id in &ended {
            self.observer.ended(*id);
        }
        let mut expected = std::mem::take(&mut self.model.events);
        events.sort_by_key(|event| format!("{event:?}"));
        expected.sort_by_key(|event| format!("{event:?}"));
        assert_eq!(events, expected);
        ended.sort();
        self.model.ended.sort();
        assert_eq!(ended, std::mem::take(&mut self.model.ended));
    }

    fn compare_states(&mut self) {
        assert_eq!(self.calls.poll_timeout(), self.model.next_time());
        for (by, other) in pairs_of(&self.users) {
            let (calls, model) = (&self.calls, &mut self.model);
            assert_eq!(
                calls.challenges_to_answer(by, other).ok(),
                model.challenges_to_answer(by, other)
            );
            assert_eq!(
                calls.challenges_to_confirm(by, other).ok(),
                model.challenges_to_confirm(by, other)
            );
            assert_eq!(
                calls.challenges_to_accept(by, other).ok(),
                model.challenges_to_accept(by, other)
            );
        }
        self.check_challenges_are_unique();
        let pairs = self.model.pairs();
        assert_eq!(
            pairs.len(),
            pairs.iter().collect::<BTreeSet<_>>().len(),
            "two users have two calls with each other"
        );
        assert_eq!(pairs.len(), self.observer.alive.len());
        for user in &self.users {
            let active = self.model.active_partners(user);
            let has_no_limit = self.calls_per_user == 0;
            assert!(
                has_no_limit || active <= self.calls_per_user,
                "{user} is over its limit of calls: it has rung or connected to {active} users"
            );
        }
    }

    /// Checks that no user may sign the same challenge for two other users.
    fn check_challenges_are_unique(&self) {
        let mut senders = BTreeMap::new();
        for (by, other) in pairs_of(&self.users) {
            let calls = &self.calls;
            let steps = [
                calls.challenges_to_answer(by, other),
                calls.challenges_to_confirm(by, other),
                calls.challenges_to_accept(by, other),
            ];
            for challenge in steps.into_iter().flatten().flatten() {
                let sender = senders.entry((by, challenge.clone())).or_insert(other);
                assert!(
                    challenge.is_empty() || *sender == other,
                    "{by} would sign {challenge} for two users"
                );
            }
        }
    }

    /// Disconnects all audio and waits for all timeouts, then checks that no state is left and every call has ended.
    fn finish(&mut self) {
        for (id, by, direction) in self.observer.connected.clone() {
            self.calls.disconnect(&by, id, direction, self.now);
            self.model.disconnect(&by, id, direction, self.now);
            self.observer.connected.remove(&(id, by, direction));
            self.compare_outputs();
        }
        while let Some(time) = self.calls.poll_timeout() {
            self.now = self.now.max(time);
            self.step(&CallStep::Timer);
        }
        assert!(self.calls.is_empty(), "{:?}", self.calls);
        assert!(self.observer.alive.is_empty());
    }
}

/// All pairs of two users, in both orders, and each user with itself.
fn pairs_of(users: &[User]) -> impl Iterator<Item = (&User, &User)> {
    users
        .iter()
        .flat_map(move |by| users.iter().map(move |other| (by, other)))
}

/// Compares the result of a step that does not return a call.
fn assert_same_result(actual: Result<(), CallError>, expected: Result<Option<CallId>, CallError>) {
    assert_eq!(actual.map(|()| None), expected);
}

/// Checks the invariants from results and events, without the model.
#[derive(Default)]
struct CallObserver {
    /// All calls so far, including ended ones.
    made: BTreeSet<CallId>,
    /// The calls that have not ended.
    alive: BTreeMap<CallId, [User; 2]>,
    connected: BTreeSet<(CallId, User, Direction)>,
    /// Callee and caller of every ring so far.
    rung: BTreeSet<(User, User)>,
}

impl CallObserver {
    fn accepted(&mut self, accepted: Result<CallId, CallError>, by: &User, from: &User) {
        let Ok(id) = accepted else { return };
        let rung = self.rung.contains(&(by.clone(), from.clone()));
        assert!(rung, "{by} accepted without a ring");
        match self.alive.get(&id) {
            Some(users) => assert!(users.contains(by) && users.contains(from)),
            None => {
                assert!(self.made.insert(id), "call id {id} is reused");
                self.alive.insert(id, [by.clone(), from.clone()]);
            }
        }
    }

    fn connected(
        &mut self,
        connected: Result<CallId, CallError>,
        by: &User,
        to: &User,
        direction: Direction,
    ) {
        let Ok(id) = connected else { return };
        let users = &self.alive[&id];
        assert!(by != to && users.contains(by) && users.contains(to));
        self.connected.insert((id, by.clone(), direction));
    }

    fn check_event(&mut self, to: &User, event: &VoiceEvent) {
        match event {
            VoiceEvent::Ringing { from, .. } => {
                assert_ne!(from, to);
                self.rung.insert((to.clone(), from.clone()));
            }
            VoiceEvent::Answered { from, .. } => {
                assert!(self.rung.contains(&(from.clone(), to.clone())))
            }
            VoiceEvent::Confirmed { from, .. } => {
                assert!(self.rung.contains(&(to.clone(), from.clone())))
            }
            VoiceEvent::Accepted { from, .. } => {
                assert!(self.call_of(from, to).is_some());
            }
            VoiceEvent::Declined { from, .. } => assert_ne!(from, to),
            VoiceEvent::AudioState {
                from,
                room,
                mic,
                headphones,
            } => {
                let id = self.call_of(from, to).expect("the two users have no call");
                let has = |direction| self.connected.contains(&(id, from.clone(), direction));
                let expected = (&None, has(Direction::Publish), has(Direction::Subscribe));
                assert_eq!((room, *mic, *headphones), expected);
            }
            VoiceEvent::NewRoom { .. } => panic!("calls do not return this event"),
            VoiceEvent::Replaced { .. } => panic!("calls do not return this event"),
        }
    }

    fn call_of(&self, one: &User, other: &User) -> Option<CallId> {
        let mut calls = self.alive.iter();
        let of_both =
            |users: &[User; 2]| one != other && users.contains(one) && users.contains(other);
        calls.find(|(_, users)| of_both(users)).map(|(id, _)| *id)
    }

    fn ended(&mut self, id: CallId) {
        assert!(
            self.alive.remove(&id).is_some(),
            "call {id} has ended twice"
        );
        self.connected.retain(|(call, ..)| *call != id);
    }
}
