//! A reference model of calls: the same rules as the state machine, as plain lists and linear searches.
//!
//! The steps of the setup are ring, answer, confirm, and accept or reject. The first three carry a challenge, which the
//! other user signs in its next step. Answer and confirm may be left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytestring::ByteString;
use switchboard_voice::{CallError, CallId, CallLimits, Direction, User, VoiceEvent};

/// A step of the property test. `by`, `to` and `challenge` are indices into the lists of the test.
#[derive(Clone, Debug)]
pub(crate) enum CallStep {
    /// Rings several times in a row.
    Ring {
        by: usize,
        to: usize,
        challenge: usize,
        times: usize,
    },
    Answer {
        by: usize,
        to: usize,
        challenge: usize,
    },
    Confirm {
        by: usize,
        to: usize,
        challenge: usize,
    },
    Accept {
        by: usize,
        to: usize,
    },
    Reject {
        by: usize,
        to: usize,
    },
    HangUp {
        by: usize,
        to: usize,
    },
    Connect {
        by: usize,
        to: usize,
        direction: Direction,
    },
    Disconnect {
        by: usize,
        call: u64,
        direction: Direction,
    },
    /// Time passes, without a call of `handle_timeout`.
    Wait {
        secs: u64,
    },
    /// `handle_timeout` is called, as by the timer of the server.
    Timer,
}

struct ModelRing {
    from: User,
    to: User,
    /// The caller's challenge in the ring.
    first_challenge: ByteString,
    /// The challenges of the callee's clients.
    answers: Vec<ByteString>,
    /// The caller's challenges in its confirmations.
    confirmations: Vec<ByteString>,
    /// The time at which the ring ends if it is not accepted.
    until: Instant,
}

struct ModelCall {
    id: CallId,
    /// Each of the two users, with the challenges of which it has signed one to accept. Empty for a user that has only
    /// rung.
    users: BTreeMap<User, Vec<ByteString>>,
    connected: BTreeSet<(User, Direction)>,
    /// The time at which the call ends, if no audio is connected.
    until: Option<Instant>,
}

pub(crate) struct CallModel {
    limits: CallLimits,
    rings: Vec<ModelRing>,
    calls: Vec<ModelCall>,
    /// Pairs of a user that has rung or connected audio, and the other user. Only such pairs use up the user's limit of
    /// calls.
    active: BTreeSet<(User, User)>,
    /// Caller, callee and time of each ring.
    rung_at: Vec<(User, User, Instant)>,
    /// The number of calls so far, which is the id of the last one.
    made: u64,
    /// The events that the state machine must have returned since the last comparison.
    pub(crate) events: Vec<(User, VoiceEvent)>,
    /// The calls that must have ended since the last comparison.
    pub(crate) ended: Vec<CallId>,
}

type CallOutcome = Result<Option<CallId>, CallError>;

impl CallModel {
    pub(crate) fn new(limits: CallLimits) -> Self {
        Self {
            limits,
            rings: Vec::new(),
            calls: Vec::new(),
            active: BTreeSet::new(),
            rung_at: Vec::new(),
            made: 0,
            events: Vec::new(),
            ended: Vec::new(),
        }
    }

    pub(crate) fn ring(
        &mut self,
        from: &User,
        to: &User,
        challenge: &ByteString,
        now: Instant,
    ) -> CallOutcome {
        self.advance_to(now);
        if from == to {
            return Err(CallError::SelfCall);
        }
        self.remove_idle_pairs();
        let max = self.limits.calls_per_user;
        let is_active = self.active.contains(&(from.clone(), to.clone()));
        if max != 0 && !is_active && self.active_partners(from) >= max {
            return Err(CallError::TooManyCalls);
        }
        let is_full = self.active_partners(to) >= max || self.unsolicited_rings(to) >= 4 * max;
        if max != 0 && !self.partners(from).contains(to) && is_full {
            return Err(CallError::Busy);
        }
        if self.is_challenge_in_use(to, from, challenge) {
            return Err(CallError::ChallengeInUse);
        }
        if self.rings_too_often(from, to, now) {
            return Err(CallError::RateExceeded);
        }
        self.active.insert((from.clone(), to.clone()));
        self.rung_at.push((from.clone(), to.clone(), now));
        self.rings
            .retain(|ring| (&ring.from, &ring.to) != (from, to));
        self.rings.push(ModelRing {
            from: from.clone(),
            to: to.clone(),
            first_challenge: challenge.clone(),
            answers: Vec::new(),
            confirmations: Vec::new(),
            until: now + self.limits.ring,
        });
        let (from, challenge) = (from.clone(), challenge.clone());
        self.push_event(to, VoiceEvent::Ringing { from, challenge });
        Ok(None)
    }

    pub(crate) fn answer(
        &mut self,
        by: &User,
        to: &User,
        signature: &ByteString,
        challenge: &ByteString,
        now: Instant,
    ) -> CallOutcome {
        self.advance_to(now);
        self.ring_of(to, by).ok_or(CallError::NoSuchCall)?;
        if self.is_challenge_in_use(to, by, challenge) {
            return Err(CallError::ChallengeInUse);
        }
        let ring = self.ring_of(to, by).expect("checked above");
        push_newest(&mut ring.answers, challenge);
        let event = VoiceEvent::Answered {
            from: by.clone(),
            signature: signature.clone(),
            challenge: challenge.clone(),
        };
        self.push_event(to, event);
        Ok(None)
    }

    pub(crate) fn confirm(
        &mut self,
        by: &User,
        to: &User,
        signature: &ByteString,
        challenge: &ByteString,
        now: Instant,
    ) -> CallOutcome {
        self.advance_to(now);
        let ring = self.ring_of(by, to).ok_or(CallError::NoSuchCall)?;
        if ring.answers.is_empty() {
            return Err(CallError::NoSuchCall);
        }
        let is_signed = !challenge.is_empty() && ring.first_challenge == *challenge;
        if is_signed || self.is_challenge_in_use(to, by, challenge) {
            return Err(CallError::ChallengeInUse);
        }
        let ring = self.ring_of(by, to).expect("checked above");
        push_newest(&mut ring.confirmations, challenge);
        let event = VoiceEvent::Confirmed {
            from: by.clone(),
            signature: signature.clone(),
            challenge: challenge.clone(),
        };
        self.push_event(to, event);
        Ok(None)
    }

    pub(crate) fn accept(
        &mut self,
        by: &User,
        from: &User,
        signature: &ByteString,
        now: Instant,
    ) -> CallOutcome {
        self.advance_to(now);
        if let Some(ring) = self.ring_of(from, by) {
            ring.challenges_to_accept().ok_or(CallError::NotConfirmed)?;
            self.establish_call(by, from, now);
        }
        let call = self.call_of(by, from).ok_or(CallError::NoSuchCall)?;
        if call.users[by].is_empty() {
            return Err(CallError::NoSuchCall);
        }
        let id = call.id;
        let event = VoiceEvent::Accepted {
            from: by.clone(),
            signature: signature.clone(),
        };
        self.push_event(from, event);
        Ok(Some(id))
    }

    fn establish_call(&mut self, by: &User, from: &User, now: Instant) {
        if self.call_of(by, from).is_none() {
            self.made += 1;
            self.calls.push(ModelCall {
                id: self.made.into(),
                users: [(by.clone(), Vec::new()), (from.clone(), Vec::new())].into(),
                connected: BTreeSet::new(),
                until: None,
            });
        }
        let linger = now + self.limits.linger;
        let pair = [by, from];
        let (over, rings) = std::mem::take(&mut self.rings)
            .into_iter()
            .partition::<Vec<_>, _>(|ring| pair.contains(&&ring.from) && pair.contains(&&ring.to));
        self.rings = rings;
        let call = self.call_of(by, from).expect("it was made above");
        for ring in over {
            let accepted = ring.challenges_to_accept().unwrap_or_default();
            call.users.insert(ring.to, accepted);
        }
        if call.connected.is_empty() {
            call.until = Some(linger);
        }
    }

    pub(crate) fn reject(
        &mut self,
        by: &User,
        from: &User,
        signature: &ByteString,
        now: Instant,
    ) -> CallOutcome {
        self.advance_to(now);
        let ring = self.ring_of(from, by).ok_or(CallError::NoSuchCall)?;
        ring.challenges_to_accept().ok_or(CallError::NotConfirmed)?;
        self.rings
            .retain(|ring| (&ring.from, &ring.to) != (from, by));
        self.decline(from, by, signature);
        Ok(None)
    }

    pub(crate) fn hang_up(&mut self, by: &User, other: &User, now: Instant) -> CallOutcome {
        self.advance_to(now);
        if !self.partners(by).contains(other) {
            return Err(CallError::NoSuchCall);
        }
        self.rings.retain(|ring| {
            (&ring.from, &ring.to) != (by, other) && (&ring.from, &ring.to) != (other, by)
        });
        if let Some(id) = self.call_of(by, other).map(|call| call.id) {
            self.finish(id);
        }
        self.decline(other, by, &ByteString::new());
        Ok(None)
    }

    pub(crate) fn connect(
        &mut self,
        by: &User,
        other: &User,
        direction: Direction,
        now: Instant,
    ) -> CallOutcome {
        self.advance_to(now);
        self.remove_idle_pairs();
        let max = self.limits.calls_per_user;
        let pair = (by.clone(), other.clone());
        let is_at_limit =
            max != 0 && !self.active.contains(&pair) && self.active_partners(by) >= max;
        let call = self.call_of(by, other).ok_or(CallError::NoSuchCall)?;
        if is_at_limit {
            return Err(CallError::TooManyCalls);
        }
        let is_new = call.connected.insert((by.clone(), direction));
        self.active.insert(pair);
        let call = self.call_of(by, other).expect("checked above");
        if !is_new {
            return Ok(Some(call.id));
        }
        call.until = None;
        let (id, event) = (call.id, call.state_of(by));
        self.push_event(other, event);
        Ok(Some(id))
    }

    pub(crate) fn disconnect(&mut self, by: &User, id: CallId, direction: Direction, now: Instant) {
        self.advance_to(now);
        let until = now + self.limits.linger;
        let Some(call) = self.calls.iter_mut().find(|call| call.id == id) else {
            return;
        };
        if !call.connected.remove(&(by.clone(), direction)) {
            return;
        }
        if call.connected.is_empty() {
            call.until = Some(until);
        }
        let other = call.users.keys().find(|user| *user != by).cloned();
        let event = call.state_of(by);
        self.push_event(&other.expect("a call has two users"), event);
    }

    /// Fires the timeouts up to `now`.
    pub(crate) fn advance_to(&mut self, now: Instant) {
        let (over, rings) = std::mem::take(&mut self.rings)
            .into_iter()
            .partition::<Vec<_>, _>(|ring| ring.until <= now);
        self.rings = rings;
        for ring in over {
            self.decline(&ring.from, &ring.to, &ByteString::new());
            self.decline(&ring.to, &ring.from, &ByteString::new());
        }
        while let Some(call) = self
            .calls
            .iter()
            .find(|call| call.until.is_some_and(|it| it <= now))
        {
            self.finish(call.id);
        }
    }

    pub(crate) fn next_time(&self) -> Option<Instant> {
        let rings = self.rings.iter().map(|ring| ring.until);
        rings
            .chain(self.calls.iter().filter_map(|call| call.until))
            .min()
    }

    pub(crate) fn challenges_to_answer(
        &mut self,
        by: &User,
        caller: &User,
    ) -> Option<Vec<ByteString>> {
        Some(vec![self.ring_of(caller, by)?.first_challenge.clone()])
    }

    pub(crate) fn challenges_to_confirm(
        &mut self,
        by: &User,
        callee: &User,
    ) -> Option<Vec<ByteString>> {
        let answers = self.ring_of(by, callee)?.answers.clone();
        Some(answers).filter(|answers| !answers.is_empty())
    }

    pub(crate) fn challenges_to_accept(
        &mut self,
        by: &User,
        caller: &User,
    ) -> Option<Vec<ByteString>> {
        if let Some(ring) = self.ring_of(caller, by) {
            return ring.challenges_to_accept();
        }
        let accepted = self.call_of(by, caller)?.users[by].clone();
        Some(accepted).filter(|accepted| !accepted.is_empty())
    }

    fn push_event(&mut self, to: &User, event: VoiceEvent) {
        self.events.push((to.clone(), event));
    }

    fn decline(&mut self, to: &User, from: &User, signature: &ByteString) {
        let (from, signature) = (from.clone(), signature.clone());
        self.push_event(to, VoiceEvent::Declined { from, signature });
    }

    fn finish(&mut self, id: CallId) {
        self.calls.retain(|call| call.id != id);
        self.ended.push(id);
    }

    fn ring_of(&mut self, from: &User, to: &User) -> Option<&mut ModelRing> {
        self.rings
            .iter_mut()
            .find(|ring| (&ring.from, &ring.to) == (from, to))
    }

    fn call_of(&mut self, one: &User, other: &User) -> Option<&mut ModelCall> {
        let is_of = |user, call: &ModelCall| call.users.contains_key(user);
        self.calls
            .iter_mut()
            .find(|call| one != other && is_of(one, call) && is_of(other, call))
    }

    /// Removes the pairs without a call or ring from the active ones.
    fn remove_idle_pairs(&mut self) {
        let active = std::mem::take(&mut self.active);
        let exists = |user: &User, other: &User| self.partners(user).contains(other);
        let active = active.into_iter().filter(|(by, to)| exists(by, to));
        self.active = active.collect();
    }

    /// Whether another user than `sender` has sent `signer` this challenge.
    fn is_challenge_in_use(&self, signer: &User, sender: &User, challenge: &ByteString) -> bool {
        let mut rings = self.rings.iter();
        let in_ring = rings.any(|ring| {
            let is_called = &ring.to == signer && &ring.from != sender;
            let is_caller = &ring.from == signer && &ring.to != sender;
            is_called
                && (ring.first_challenge == *challenge || ring.confirmations.contains(challenge))
                || is_caller && ring.answers.contains(challenge)
        });
        let mut calls = self.calls.iter();
        let in_call = calls.any(|call| {
            let accepted = call.users.get(signer);
            !call.users.contains_key(sender) && accepted.is_some_and(|it| it.contains(challenge))
        });
        !challenge.is_empty() && (in_ring || in_call)
    }

    /// Whether one more ring exceeds the rate: in a time span of n seconds, a caller may ring a callee n + 10 times.
    fn rings_too_often(&self, from: &User, to: &User, now: Instant) -> bool {
        let mine = self
            .rung_at
            .iter()
            .filter(|it| (&it.0, &it.1) == (from, to));
        let times: Vec<Instant> = mine.map(|(.., at)| *at).collect();
        let mut starts = times.iter().enumerate();
        starts.any(|(index, start)| {
            let rings = Duration::from_secs((times.len() - index) as u64 + 1);
            rings > Duration::from_secs(10) + (now - *start)
        })
    }

    /// The number of users with which `user` has a ring or call and has itself rung or connected audio.
    pub(crate) fn active_partners(&self, user: &User) -> usize {
        let exists = |(by, other): &&(User, User)| by == user && self.partners(by).contains(other);
        self.active.iter().filter(exists).count()
    }

    /// The number of rings to `user` from callers that it has not rung and is not connected to.
    fn unsolicited_rings(&self, user: &User) -> usize {
        let is_only_rung = |ring: &&ModelRing| {
            &ring.to == user && !self.active.contains(&(user.clone(), ring.from.clone()))
        };
        self.rings.iter().filter(is_only_rung).count()
    }

    /// The users with which a user has a ring or a call.
    pub(crate) fn partners(&self, user: &User) -> BTreeSet<User> {
        let rings = self
            .rings
            .iter()
            .map(|ring| [ring.from.clone(), ring.to.clone()]);
        let calls = self.calls.iter().map(|call| {
            let mut users = call.users.keys().cloned();
            [users.next(), users.next()].map(|user| user.expect("a call has two users"))
        });
        let mine = rings.chain(calls).filter(|pair| pair.contains(user));
        mine.flatten().filter(|other| other != user).collect()
    }

    /// The two users of every call.
    pub(crate) fn pairs(&self) -> Vec<Vec<User>> {
        let users = |call: &ModelCall| call.users.keys().cloned().collect();
        self.calls.iter().map(users).collect()
    }
}

impl ModelRing {
    fn challenges_to_accept(&self) -> Option<Vec<ByteString>> {
        match (self.answers.is_empty(), self.confirmations.is_empty()) {
            (true, _) => Some(vec![self.first_challenge.clone()]),
            (false, true) => None,
            (false, false) => Some(self.confirmations.clone()),
        }
    }
}

/// Appends a challenge without duplicates and keeps the newest eight.
fn push_newest(challenges: &mut Vec<ByteString>, challenge: &ByteString) {
    challenges.retain(|it| it != challenge);
    challenges.push(challenge.clone());
    let old = challenges.len().saturating_sub(8);
    challenges.drain(..old);
}

impl ModelCall {
    fn state_of(&self, user: &User) -> VoiceEvent {
        let has = |direction| self.connected.contains(&(user.clone(), direction));
        VoiceEvent::AudioState {
            from: user.clone(),
            room: None,
            mic: has(Direction::Publish),
            headphones: has(Direction::Subscribe),
        }
    }
}

/// Limits with short times: some steps must happen after a timeout.
pub(crate) fn limits(calls_per_user: usize) -> CallLimits {
    CallLimits {
        calls_per_user,
        rings_per_address: 8,
        ring: Duration::from_secs(6),
        linger: Duration::from_secs(3),
    }
}
