//! Calls between two users: rings, accepted calls, and their connected audio.
//!
//! The call setup between users that are public keys. Each step carries a signature over the challenge that the other
//! user sent in the previous step:
//!
//! ```text
//! caller ── ring ────▶ Ringing    ──▶ callee
//! caller ◀── Answered  ◀──── answer ── callee
//! caller ── confirm ─▶ Confirmed  ──▶ callee
//! caller ◀── Accepted  ◀──── accept ── callee        or Declined, after a reject or a timeout
//! ```
//!
//! The callee may accept or reject without answering: users of a website have no keys, so their calls have no answer
//! and confirm steps. After the callee has answered, it must wait for the caller to confirm: until then the only
//! challenge is the one of the ring, and the caller already has the callee's signature over it. Several clients of
//! one callee may answer, each with its own challenge.
//!
//! A ring has a direction, and both users may ring each other at the same time. A call has no direction; the accept
//! that creates it ends both rings. The driver (the code that does the I/O and calls this state machine) verifies the
//! signatures, against the challenges that [`Calls::challenges_to_answer`], [`Calls::challenges_to_confirm`] and
//! [`Calls::challenges_to_accept`] return.

mod pair;
mod ring_rate;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use bytestring::ByteString;
use switchboard_core::exceeds;
use thiserror::Error;

use self::{
    pair::{ActiveCall, CallLoad, PairSide, PairState, RingState, UserPair, UserShare},
    ring_rate::RingRates,
};
use super::{deadline::Deadlines, direction::Direction, voice_event::VoiceEvent};
use crate::{
    id::{CallId, User},
    overview::CallReport,
};

/// The limits of calls, set by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Max other users that a user rings or is in a call with (0: no limit). Each other user counts once, so a client
    /// that reloads can ring again. A ring to the user is not counted, and a call is counted only after the user has
    /// rung or connected audio: other users cannot use up the limit of a user. A user may be rung by four times as many
    /// callers.
    pub calls_per_user: usize,
    /// Max callers at one address that ring one user at the same time (0: no limit).
    pub rings_per_address: usize,
    /// The time after which a ring that is not accepted ends.
    pub ring: Duration,
    /// The time after which a call without connected audio ends, counted from the accept or from the last
    /// disconnect.
    pub linger: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            calls_per_user: 8,
            rings_per_address: 8,
            ring: Duration::from_secs(60),
            linger: Duration::from_secs(30),
        }
    }
}

/// The reason why a request about a call has failed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// The two users have no such ring or call.
    #[error("there is no such ring or call between these users")]
    NoSuchCall,
    /// The other user is at the limit `calls_per_user`, or is rung by four times as many callers.
    #[error("the other user has reached its limit of calls")]
    Busy,
    /// The requesting user is at the limit `calls_per_user`.
    #[error("the user has reached its limit of calls")]
    TooManyCalls,
    /// The callee has answered and the caller has not confirmed. The caller already has the callee's signature over the
    /// only challenge so far, so that signature does not prove that the callee accepts or rejects.
    #[error("the callee has answered, and the caller has not confirmed yet")]
    NotConfirmed,
    /// A user cannot call itself.
    #[error("a user cannot call itself")]
    SelfCall,
    /// Another user has already asked the same signer to sign this challenge.
    #[error("another user has asked the signer to sign this challenge")]
    ChallengeInUse,
    /// The caller exceeds the ring rate for this callee (burst of 10, then one a second), or all callers at its
    /// address together do (burst of 40, then four a second).
    #[error("the caller, or the callers at its address, ring too often")]
    RateExceeded,
    /// `rings_per_address` callers at this address ring the callee already.
    #[error("too many callers at this address ring the callee")]
    TooManyRingsFromAddress,
}

/// Facts that the limits of rings need and [`Calls`] does not know: the address of the caller, and which users have an
/// event stream open.
#[derive(Clone, Copy)]
pub struct RingOrigin<'a> {
    /// The caller's IPv4 address or IPv6 network (/64, which one customer usually has). `None`: unknown; the limits per
    /// address do not apply.
    pub address: Option<IpAddr>,
    /// Whether a user has an event stream open. A caller without one cannot receive an answer.
    pub listens: &'a dyn Fn(&User) -> bool,
}

impl RingOrigin<'static> {
    /// An unknown address; all users are taken to have an event stream open.
    pub const UNKNOWN: Self = Self {
        address: None,
        listens: &|_| true,
    };
}

impl fmt::Debug for RingOrigin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingOrigin")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Max callers that ring one user at the same time, as a multiple of `calls_per_user`.
const RINGS_PER_CALL: usize = 4;

/// A sans-IO state machine of all calls. The crate documentation says how to drive it.
///
/// Every input first handles the timeouts up to its `now`, so the result is the same if the driver's timer is late. The
/// length of challenges and signatures is not checked here; the driver must limit it.
#[derive(Debug, Default)]
pub struct Calls {
    limits: CallLimits,
    pair_states: HashMap<UserPair, PairState>,
    pair_by_call: HashMap<CallId, UserPair>,
    /// The number of pairs of each user; users without a ring or call have no entry.
    loads: HashMap<User, CallLoad>,
    /// The callers that ring each user, in the order of their rings.
    callers: HashMap<User, Vec<User>>,
    ring_rates: RingRates,
    /// For each signer and challenge, the user that sent the challenge. Updated from the [`PairState::share`] of each
    /// pair. Each signer gets a challenge from one user only: otherwise another user could send the same challenge, and
    /// use the signature in the signer's name.
    pending_challenges: HashMap<(User, ByteString), User>,
    deadlines: Deadlines<CallTimer>,
    calls_made: u64,
    events: VecDeque<(User, VoiceEvent)>,
    ended: VecDeque<CallId>,
}

impl Calls {
    /// A state machine without calls.
    #[must_use]
    pub fn new(limits: CallLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Starts a ring of `from` to `to`, which gets [`VoiceEvent::Ringing`]. A repeated ring replaces the earlier one
    /// and its challenges. Users in a call may ring each other; the call continues.
    ///
    /// At the limit of callers, in total or per address, a caller with an event stream displaces the first caller
    /// without one, which could not receive an answer. The displaced ring ends as after its timeout.
    ///
    /// # Errors
    /// `SelfCall`, `TooManyCalls`, `Busy`, `TooManyRingsFromAddress`, `ChallengeInUse`, `RateExceeded`: no ring starts
    /// and none is replaced.
    pub fn ring(
        &mut self,
        from: &User,
        to: &User,
        challenge: ByteString,
        origin: RingOrigin<'_>,
        now: Instant,
    ) -> Result<(), CallError> {
        self.handle_timeout(now);
        if from == to {
            return Err(CallError::SelfCall);
        }
        let (pair, caller) = UserPair::of(from, to);
        let displaced = self.check_ring_limits(&pair, caller, origin)?;
        self.check_challenge(from, to, &challenge)?;
        if !self.ring_rates.try_ring(from, to, origin.address, now) {
            return Err(CallError::RateExceeded);
        }
        if let Some(displaced) = displaced {
            let (pair, side) = UserPair::of(&displaced, to);
            self.expire_ring(&pair, side);
        }
        let ring = RingState {
            first_challenge: challenge.clone(),
            answers: Vec::new(),
            confirmations: Vec::new(),
            address: origin.address,
        };
        let due = CallTimer::Ring(pair.clone(), caller);
        self.deadlines.set(due, now, self.limits.ring);
        self.change_pair(&pair, |state| {
            state.rings[caller as usize] = Some(ring);
            state.has_acted[caller as usize] = true;
        });
        let from = from.clone();
        self.push_event(to, VoiceEvent::Ringing { from, challenge });
        Ok(())
    }

    /// The challenge that `by` must sign to answer the ring of `caller`. It is returned as a list, because the other
    /// steps have several challenges.
    ///
    /// # Errors
    /// `NoSuchCall`: `caller` does not ring `by`.
    pub fn challenges_to_answer(
        &self,
        by: &User,
        caller: &User,
    ) -> Result<Vec<ByteString>, CallError> {
        Ok(vec![self.ring_of(caller, by)?.first_challenge.clone()])
    }

    /// The challenges of which `by` must sign one to confirm its ring of `callee`: one for each client of the callee
    /// that has answered.
    ///
    /// # Errors
    /// `NoSuchCall`: `by` does not ring `callee`, or `callee` has not answered.
    pub fn challenges_to_confirm(
        &self,
        by: &User,
        callee: &User,
    ) -> Result<Vec<ByteString>, CallError> {
        let answers = &self.ring_of(by, callee)?.answers;
        (!answers.is_empty())
            .then(|| answers.clone())
            .ok_or(CallError::NoSuchCall)
    }

    /// The challenges of which `by` must sign one to accept or reject the ring of `caller`. During a call these are
    /// the challenges of its accept, so that a repeated accept can be verified again.
    ///
    /// # Errors
    /// `NoSuchCall`: `caller` does not ring `by`, and did not ring it before their current call.
    /// `NotConfirmed`: `by` has answered, and `caller` has not sent a new challenge.
    pub fn challenges_to_accept(
        &self,
        by: &User,
        caller: &User,
    ) -> Result<Vec<ByteString>, CallError> {
        let (state, side) = self.pair_state(by, caller).ok_or(CallError::NoSuchCall)?;
        match (&state.rings[side.other() as usize], &state.call) {
            (Some(ring), _) => ring.challenges_to_accept(),
            (None, Some(call)) if !call.accepted[side as usize].is_empty() => {
                Ok(call.accepted[side as usize].clone())
            }
            (None, Some(_) | None) => Err(CallError::NoSuchCall),
        }
    }

    /// The callee answers with its signature and a challenge; the caller gets [`VoiceEvent::Answered`]. Up to eight
    /// clients of the callee may answer, each with its own challenge.
    ///
    /// # Errors
    /// `NoSuchCall`: `to` does not ring `by`. `ChallengeInUse`: another user uses this challenge.
    pub fn answer(
        &mut self,
        by: &User,
        to: &User,
        signature: ByteString,
        challenge: ByteString,
        now: Instant,
    ) -> Result<(), CallError> {
        self.handle_timeout(now);
        self.ring_of(to, by)?;
        self.check_challenge(by, to, &challenge)?;
        self.change_ring(to, by, |ring| ring.add_answer(challenge.clone()));
        let from = by.clone();
        let event = VoiceEvent::Answered {
            from,
            signature,
            challenge,
        };
        self.push_event(to, event);
        Ok(())
    }

    /// The caller confirms with its signature and a challenge; the callee gets [`VoiceEvent::Confirmed`]. The caller
    /// may confirm to several clients of the callee; a signature over any of these challenges accepts the call.
    ///
    /// # Errors
    /// `NoSuchCall`: `by` does not ring `to`, or `to` has not answered. `ChallengeInUse`: another user uses this
    /// challenge, or `to` has signed it to answer.
    pub fn confirm(
        &mut self,
        by: &User,
        to: &User,
        signature: ByteString,
        challenge: ByteString,
        now: Instant,
    ) -> Result<(), CallError> {
        self.handle_timeout(now);
        self.challenges_to_confirm(by, to)?;
        self.check_challenge(by, to, &challenge)?;
        if self.ring_of(by, to)?.has_signed(&challenge) {
            return Err(CallError::ChallengeInUse);
        }
        self.change_ring(by, to, |ring| ring.add_confirmation(challenge.clone()));
        let from = by.clone();
        let event = VoiceEvent::Confirmed {
            from,
            signature,
            challenge,
        };
        self.push_event(to, event);
        Ok(())
    }

    /// The callee accepts the call; the caller gets [`VoiceEvent::Accepted`]. This creates the call, or continues
    /// the call that the two users have. A repeated accept sends the event again and changes nothing else. If both
    /// users have rung and both accept, the second accept is treated as a repeated one.
    ///
    /// # Errors
    /// `NoSuchCall`: `from` does not ring `by`, and did not ring it before their current call.
    /// `NotConfirmed`: `from` already has the signature that `by` would send.
    pub fn accept(
        &mut self,
        by: &User,
        from: &User,
        signature: ByteString,
        now: Instant,
    ) -> Result<CallId, CallError> {
        self.handle_timeout(now);
        self.challenges_to_accept(by, from)?;
        let (pair, callee) = UserPair::of(by, from);
        let state = self.pair_states.get(&pair);
        // Without a ring, this is a repeated accept.
        let without_ring = state.filter(|state| state.rings[callee.other() as usize].is_none());
        let id = match without_ring.and_then(|state| state.call.as_ref()) {
            Some(call) => call.id,
            None => self.establish_call(pair, now),
        };
        let event = VoiceEvent::Accepted {
            from: by.clone(),
            signature,
        };
        self.push_event(from, event);
        Ok(id)
    }

    /// The callee rejects the ring; the caller gets [`VoiceEvent::Declined`]. A call of the two users and a ring in
    /// the other direction continue.
    ///
    /// # Errors
    /// `NoSuchCall`: `from` does not ring `by`. `NotConfirmed` as for [`Calls::accept`].
    pub fn reject(
        &mut self,
        by: &User,
        from: &User,
        signature: ByteString,
        now: Instant,
    ) -> Result<(), CallError> {
        self.handle_timeout(now);
        self.ring_of(from, by)?.challenges_to_accept()?;
        let (pair, caller) = UserPair::of(from, by);
        self.end_ring(&pair, caller);
        self.push_declined(from, by, signature);
        Ok(())
    }

    /// Ends the call and the rings of the two users; the other user gets [`VoiceEvent::Declined`] without a
    /// signature.
    ///
    /// # Errors
    /// `NoSuchCall`: the two users have neither a call nor a ring.
    pub fn hang_up(&mut self, by: &User, other: &User, now: Instant) -> Result<(), CallError> {
        self.handle_timeout(now);
        let (pair, side) = UserPair::of(by, other);
        let state = self.pair_states.get(&pair).ok_or(CallError::NoSuchCall)?;
        if let Some(call) = &state.call {
            self.end_call(call.id);
        }
        self.end_ring(&pair, side);
        self.end_ring(&pair, side.other());
        self.push_declined(other, by, ByteString::new());
        Ok(())
    }

    /// The call of these two users.
    ///
    /// # Errors
    /// `NoSuchCall`: they have no call.
    pub fn find(&self, by: &User, other: &User) -> Result<CallId, CallError> {
        let state = self.pair_state(by, other);
        let call = state.and_then(|(state, _)| state.call.as_ref());
        call.map(|call| call.id).ok_or(CallError::NoSuchCall)
    }

    /// Connects a microphone or headphones of `by` to the call with `other`, which gets [`VoiceEvent::AudioState`]. If
    /// `by` has connected this direction before, nothing changes and no event is sent: the driver ends the older
    /// connection, and calls [`Calls::disconnect`] only when the newer one ends.
    ///
    /// # Errors
    /// `NoSuchCall`: the two users have no call. `TooManyCalls`: `by` is at its limit of calls, and this call is not
    /// counted yet, because `by` has neither rung nor connected audio.
    pub fn connect(
        &mut self,
        by: &User,
        other: &User,
        direction: Direction,
        now: Instant,
    ) -> Result<CallId, CallError> {
        self.handle_timeout(now);
        let (pair, side) = UserPair::of(by, other);
        let state = self.pair_states.get(&pair);
        let state = state.filter(|state| state.call.is_some());
        let state = state.ok_or(CallError::NoSuchCall)?;
        if !state.has_acted[side as usize] && self.is_at_call_limit(by) {
            return Err(CallError::TooManyCalls);
        }
        let connected = self.change_pair(&pair, |state| {
            let call = state.call.as_mut()?;
            let audio = &mut call.audio[side as usize];
            let is_new = audio.set(direction, true);
            let event = is_new.then(|| audio.to_event(by.clone(), None));
            state.has_acted[side as usize] = true;
            Some((call.id, event))
        });
        let (id, event) = connected.ok_or(CallError::NoSuchCall)?;
        self.deadlines.clear(&CallTimer::Call(id));
        if let Some(event) = event {
            self.push_event(other, event);
        }
        Ok(id)
    }

    /// Disconnects a microphone or headphones of `by`; the other user gets [`VoiceEvent::AudioState`]. When neither
    /// user has audio connected any more, the `linger` timer starts. Does nothing if the call has ended.
    pub fn disconnect(&mut self, by: &User, call: CallId, direction: Direction, now: Instant) {
        self.handle_timeout(now);
        if let Some((other, event)) = self.mark_disconnected(by, call, direction, now) {
            self.push_event(&other, event);
        }
    }

    /// Ends the rings and the calls without audio whose time is over at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.deadlines.pop_due(now) {
            match due {
                CallTimer::Call(id) => self.end_call(id),
                CallTimer::Ring(pair, caller) => self.expire_ring(&pair, caller),
            }
        }
    }

    /// The time of the next deadline, at or after which [`Calls::handle_timeout`] must be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Removes and returns the next event and its receiver.
    pub fn poll_event(&mut self) -> Option<(User, VoiceEvent)> {
        self.events.pop_front()
    }

    /// Removes and returns the next ended call. The driver must then end the audio connections of this call.
    pub fn poll_ended(&mut self) -> Option<CallId> {
        self.ended.pop_front()
    }

    /// The rings and calls, sorted by their users.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the list is sorted")]
    pub fn list(&self) -> Vec<CallReport> {
        let pairs = self.pair_states.iter();
        let mut reports: Vec<_> = pairs
            .filter_map(|(pair, state)| state.report(pair))
            .collect();
        reports.sort();
        reports
    }

    /// The number of calls so far, including ended ones.
    #[must_use]
    pub fn calls_made(&self) -> u64 {
        self.calls_made
    }

    /// Whether there are no rings, no calls, and no events to poll.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let queues = self.events.is_empty() && self.ended.is_empty();
        let states = self.pair_states.is_empty() && self.pair_by_call.is_empty();
        let counts =
            self.loads.is_empty() && self.pending_challenges.is_empty() && self.callers.is_empty();
        queues && states && counts && self.deadlines.is_empty()
    }

    fn push_event(&mut self, to: &User, event: VoiceEvent) {
        self.events.push_back((to.clone(), event));
    }

    fn push_declined(&mut self, to: &User, from: &User, signature: ByteString) {
        let from = from.clone();
        self.push_event(to, VoiceEvent::Declined { from, signature });
    }

    /// The state of a pair, and the side of `by` in it.
    fn pair_state(&self, by: &User, other: &User) -> Option<(&PairState, PairSide)> {
        let (pair, side) = UserPair::of(by, other);
        Some((self.pair_states.get(&pair)?, side))
    }

    fn ring_of(&self, caller: &User, callee: &User) -> Result<&RingState, CallError> {
        let state = self.pair_state(caller, callee);
        let ring = state.and_then(|(state, side)| state.rings[side as usize].as_ref());
        ring.ok_or(CallError::NoSuchCall)
    }

    fn load(&self, user: &User) -> CallLoad {
        self.loads.get(user).copied().unwrap_or_default()
    }

    fn is_at_call_limit(&self, user: &User) -> bool {
        exceeds(self.load(user).active + 1, self.limits.calls_per_user)
    }

    /// Checks the limits for a ring of this side. The limits of the callee apply only if the pair has no ring and no
    /// call yet. Returns the caller whose ring must end for the new one, if any.
    fn check_ring_limits(
        &self,
        pair: &UserPair,
        caller: PairSide,
        origin: RingOrigin<'_>,
    ) -> Result<Option<User>, CallError> {
        let (from, to) = (pair.user(caller), pair.user(caller.other()));
        let state = self.pair_states.get(pair);
        if !state.is_some_and(|state| state.has_acted[caller as usize])
            && self.is_at_call_limit(from)
        {
            return Err(CallError::TooManyCalls);
        }
        if state.is_some() {
            return Ok(None);
        }
        if self.is_at_call_limit(to) {
            return Err(CallError::Busy);
        }
        let Some((rivals, error)) = self.ring_limit_conflict(to, origin.address) else {
            return Ok(None);
        };
        if !(origin.listens)(from) {
            return Err(error);
        }
        let displaced = rivals.into_iter().find(|rival| !(origin.listens)(rival));
        displaced.cloned().map(Some).ok_or(error)
    }

    /// If a limit of rings to `to` is reached, returns the callers that use it up, and its error: one of these callers
    /// must be displaced, or the new ring is refused with the error. `None`: one more caller may ring.
    fn ring_limit_conflict(
        &self,
        to: &User,
        address: Option<IpAddr>,
    ) -> Option<(Vec<&User>, CallError)> {
        let rivals = self.unsolicited_callers(to);
        if address.is_some() {
            let is_same_address = |caller: &&&User| {
                self.ring_of(caller, to)
                    .is_ok_and(|ring| ring.address == address)
            };
            let from_address: Vec<&User> = rivals.iter().filter(is_same_address).copied().collect();
            if exceeds(from_address.len() + 1, self.limits.rings_per_address) {
                return Some((from_address, CallError::TooManyRingsFromAddress));
            }
        }
        let rings_max = self.limits.calls_per_user.saturating_mul(RINGS_PER_CALL);
        exceeds(rivals.len() + 1, rings_max).then_some((rivals, CallError::Busy))
    }

    /// The callers that ring `to`, except those with which `to` itself wants a call: it has rung them or connected
    /// audio.
    fn unsolicited_callers(&self, to: &User) -> Vec<&User> {
        let is_unsolicited = |caller: &&User| {
            let state = self.pair_state(to, caller);
            state.is_some_and(|(state, side)| !state.has_acted[side as usize])
        };
        let callers = self.callers.get(to).into_iter().flatten();
        callers.filter(is_unsolicited).collect()
    }

    /// Fails with `ChallengeInUse` if another user than `by` has sent `signer` this challenge.
    fn check_challenge(
        &self,
        by: &User,
        signer: &User,
        challenge: &ByteString,
    ) -> Result<(), CallError> {
        let pending = self
            .pending_challenges
            .get(&(signer.clone(), challenge.clone()));
        if pending.is_some_and(|sender| sender != by) {
            return Err(CallError::ChallengeInUse);
        }
        Ok(())
    }

    /// Applies `change` to the state of a pair, creating the state if missing and removing it if idle, and updates the
    /// counts of both users.
    fn change_pair<T>(&mut self, pair: &UserPair, change: impl FnOnce(&mut PairState) -> T) -> T {
        let state = self.pair_states.entry(pair.clone()).or_default();
        let before = [PairSide::Low, PairSide::High].map(|side| state.share(side));
        let rang_before = state.is_ringing();
        let result = change(state);
        let after = [PairSide::Low, PairSide::High].map(|side| state.share(side));
        let rings = state.is_ringing();
        if state.is_idle() {
            self.pair_states.remove(pair);
        }
        for caller in [PairSide::Low, PairSide::High] {
            match (rang_before[caller as usize], rings[caller as usize]) {
                (false, true) => self.add_caller(pair.user(caller.other()), pair.user(caller)),
                (true, false) => self.remove_caller(pair.user(caller.other()), pair.user(caller)),
                (false, false) | (true, true) => {}
            }
        }
        let changes = before.into_iter().zip(after);
        for (side, (before, after)) in [PairSide::Low, PairSide::High].into_iter().zip(changes) {
            self.replace_share(pair, side, before, after);
        }
        result
    }

    fn add_caller(&mut self, callee: &User, caller: &User) {
        let callers = self.callers.entry(callee.clone()).or_default();
        callers.push(caller.clone());
    }

    fn remove_caller(&mut self, callee: &User, caller: &User) {
        if let Some(callers) = self.callers.get_mut(callee) {
            callers.retain(|known| known != caller);
            if callers.is_empty() {
                self.callers.remove(callee);
            }
        }
    }

    fn change_ring(&mut self, caller: &User, callee: &User, change: impl FnOnce(&mut RingState)) {
        let (pair, side) = UserPair::of(caller, callee);
        self.change_pair(&pair, |state| {
            state.rings[side as usize].as_mut().map(change)
        });
    }

    /// Replaces the contribution of a pair to the counts and challenges of one user. No two pairs have the same
    /// challenge for one signer ([`Calls::check_challenge`]), so removing a challenge does not affect another pair.
    fn replace_share(
        &mut self,
        pair: &UserPair,
        side: PairSide,
        before: UserShare,
        after: UserShare,
    ) {
        let (signer, sender) = (pair.user(side), pair.user(side.other()));
        self.update_load(signer, before.load, after.load);
        for challenge in before.challenges {
            self.pending_challenges.remove(&(signer.clone(), challenge));
        }
        for challenge in after.challenges {
            let key = (signer.clone(), challenge);
            self.pending_challenges.insert(key, sender.clone());
        }
    }

    fn update_load(&mut self, user: &User, before: CallLoad, after: CallLoad) {
        let current = self.load(user);
        let load = CallLoad {
            active: current.active + after.active - before.active,
            rung: current.rung + after.rung - before.rung,
        };
        if load == CallLoad::default() {
            self.loads.remove(user);
        } else if load != current {
            self.loads.insert(user.clone(), load);
        }
    }

    /// Ends a ring that was not accepted, and notifies both users.
    fn expire_ring(&mut self, pair: &UserPair, caller: PairSide) {
        self.end_ring(pair, caller);
        let (from, to) = (pair.user(caller), pair.user(caller.other()));
        self.push_declined(from, to, ByteString::new());
        self.push_declined(to, from, ByteString::new());
    }

    fn end_ring(&mut self, pair: &UserPair, caller: PairSide) {
        self.deadlines.clear(&CallTimer::Ring(pair.clone(), caller));
        self.change_pair(pair, |state| state.rings[caller as usize] = None);
    }

    fn end_call(&mut self, id: CallId) {
        let Some(pair) = self.pair_by_call.remove(&id) else {
            return;
        };
        self.deadlines.clear(&CallTimer::Call(id));
        self.change_pair(&pair, |state| state.call = None);
        self.ended.push_back(id);
    }

    /// Ends the rings of a pair, and creates its call if it has none. Without connected audio, the `linger` timer
    /// starts.
    fn establish_call(&mut self, pair: UserPair, now: Instant) -> CallId {
        let next = CallId::from(self.calls_made + 1);
        let (id, has_no_audio) = self.change_pair(&pair, |state| {
            let call = state.call.get_or_insert_with(|| ActiveCall::new(next));
            for caller in [PairSide::Low, PairSide::High] {
                if let Some(ring) = state.rings[caller as usize].take() {
                    // The ring in the other direction ends too, even if it is not confirmed.
                    call.accepted[caller.other() as usize] =
                        ring.challenges_to_accept().unwrap_or_default();
                }
            }
            (call.id, call.has_no_audio())
        });
        self.calls_made = self.calls_made.max(id.get());
        for caller in [PairSide::Low, PairSide::High] {
            self.deadlines.clear(&CallTimer::Ring(pair.clone(), caller));
        }
        if has_no_audio {
            self.deadlines
                .set(CallTimer::Call(id), now, self.limits.linger);
        }
        self.pair_by_call.insert(id, pair);
        id
    }

    /// The transition of [`Calls::disconnect`]. Returns the event with its receiver, if anything has changed.
    fn mark_disconnected(
        &mut self,
        by: &User,
        id: CallId,
        direction: Direction,
        now: Instant,
    ) -> Option<(User, VoiceEvent)> {
        let pair = self.pair_by_call.get(&id)?;
        let side = pair.side(by)?;
        let call = self.pair_states.get_mut(pair)?.call.as_mut()?;
        let audio = &mut call.audio[side as usize];
        if !audio.set(direction, false) {
            return None;
        }
        let event = audio.to_event(by.clone(), None);
        if call.has_no_audio() {
            self.deadlines
                .set(CallTimer::Call(id), now, self.limits.linger);
        }
        Some((pair.user(side.other()).clone(), event))
    }
}

/// The key of a deadline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CallTimer {
    /// The ring whose caller is at this side expires.
    Ring(UserPair, PairSide),
    /// The call ends, after it has had no connected audio for `linger`.
    Call(CallId),
}
