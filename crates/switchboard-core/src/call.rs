//! Calls of two: who rings whom, who has accepted, who speaks and hears.
//!
//! The conversation (wire page `gostream`, "Identity: keys"), in which each step carries a
//! signature over the challenge of the one before:
//!
//! ```text
//! caller ── ring ────▶ Ringing    ──▶ callee
//! caller ◀── Answered  ◀──── answer ── callee
//! caller ── confirm ─▶ Confirmed  ──▶ callee
//! caller ◀── Accepted  ◀──── accept ── callee        or Declined, by reject or by time
//! ```
//!
//! The callee may accept or reject at once: clients of sites know no other steps. Once it has answered,
//! it waits for the caller to confirm, because what it signed last is in the caller's hands. Several
//! clients of one callee may answer, each with a challenge of its own. A ring has a direction, and
//! both may ring at once; the call that the first accept makes has none, and ends the other ring.
//! Checking signatures is the driver's: [`Calls::to_answer`], [`Calls::to_confirm`] and
//! [`Calls::to_accept`] say over what they must be.

mod pair;
mod ring_rate;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use bytestring::ByteString;

use self::{
    pair::{ActiveCall, CallLoad, PairSide, PairState, RingState, UserPair, UserShare},
    ring_rate::RingRates,
};
use crate::{
    deadline::Deadlines,
    direction::Direction,
    id::{CallId, User},
    limits::exceeds,
    voice_event::VoiceEvent,
};

/// The bounds of calls, as the operator sets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// With how many others a user may be in calls, those he rings included (0: no limit). What is
    /// between the same two counts once, so that a client that reloads can ring again. What others
    /// do alone, ring him, or accept in his name what they have rung, is not counted as his: it
    /// shall not keep him from calling. Of those who ring him there may be four times as many.
    pub calls_per_user: usize,
    /// Callers at one address that may ring one user at the same time (0: no limit).
    pub rings_per_address: usize,
    /// How long it rings.
    pub ring: Duration,
    /// How long a call waits for either of the two to connect: from the accept, and from when
    /// neither has anything connected any more.
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

/// Why something about a call was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Nothing of that kind is between the two: no ring to answer, no call to speak in.
    NoSuchCall,
    /// The other one is in `calls_per_user` calls, or rung by four times as many.
    Busy,
    /// The one who asks is in `calls_per_user` calls.
    TooMany,
    /// The callee has answered, and the caller has not confirmed: what the callee signed last, the
    /// caller has in hand, and it shows nothing new.
    NotConfirmed,
    /// Nobody calls himself.
    WithOneself,
    /// The one who is to sign this challenge has it from another already.
    ChallengeInUse,
    /// The caller has rung this callee ten times at once, and goes on more than once a second; or
    /// all callers at its address together forty times, and more than four times a second.
    TooOften,
    /// Callers at this address ring the callee `rings_per_address` times.
    TooManyFromAddress,
}

/// The address of a caller, and a test for callers that can be answered.
#[derive(Clone, Copy)]
pub struct RingOrigin<'a> {
    /// The caller's address, or its network where one customer has many addresses. `None`: not
    /// known, and not bounded by address.
    pub address: Option<IpAddr>,
    /// Whether a user has an event stream open. A caller without one never learns of an answer.
    pub listens: &'a dyn Fn(&User) -> bool,
}

impl RingOrigin<'static> {
    /// An unknown address, and callers that all have event streams open.
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

/// Callers that may ring a user at the same time, for each call of `calls_per_user`.
const RINGS_PER_CALL: usize = 4;

/// All calls, as a machine. See the crate's page for how to drive it.
///
/// Every input first lets happen what is due at its `now`, so that nothing depends on how late
/// a timer is. The texts it is given are bounded by the driver (wire: challenges have 1 to 32 bytes).
#[derive(Debug, Default)]
pub struct Calls {
    limits: CallLimits,
    pair_states: HashMap<UserPair, PairState>,
    pairs: HashMap<CallId, UserPair>,
    /// Of each user who has any lines.
    loads: HashMap<User, CallLoad>,
    /// The callers that ring each user, in the order in which they began.
    callers: HashMap<User, Vec<User>>,
    ring_rates: RingRates,
    /// Who has been asked to sign what, and by whom: of each line what [`PairState::share`] says.
    pending_challenges: HashMap<(User, ByteString), User>,
    deadlines: Deadlines<CallTimer>,
    calls_made: u64,
    events: VecDeque<(User, VoiceEvent)>,
    ended: VecDeque<CallId>,
}

impl Calls {
    /// No calls yet.
    #[must_use]
    pub fn new(limits: CallLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// `from` calls `to`, which is told ([`VoiceEvent::Ringing`]). Ringing again starts over, with
    /// this challenge. In a call one may ring too; the call goes on meanwhile.
    ///
    /// When as many ring the callee as may, in all or from this address, a caller with an event
    /// stream takes the place of the first one without, whose ring ends as if its time were over.
    ///
    /// # Errors
    /// `WithOneself`, `TooMany`, `RequestActivity`, `TooManyFromAddress`, `ChallengeInUse`, `TooOften`: nothing has
    /// changed, and no event is sent.
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
            return Err(CallError::WithOneself);
        }
        let (pair, caller) = UserPair::of(from, to);
        let displaced = self.may_ring(&pair, caller, origin)?;
        self.check_challenge(from, to, &challenge)?;
        if !self.ring_rates.try_ring(from, to, origin.address, now) {
            return Err(CallError::TooOften);
        }
        if let Some(displaced) = displaced {
            let (pair, side) = UserPair::of(&displaced, to);
            self.ring_unanswered(&pair, side);
        }
        let ring = RingState {
            first_challenge: challenge.clone(),
            answers: Vec::new(),
            confirmations: Vec::new(),
            address: origin.address,
        };
        let due = CallTimer::Ring(pair.clone(), caller);
        self.deadlines.set(due, now, self.limits.ring);
        self.change_pair(&pair, |line| {
            line.rings[caller as usize] = Some(ring);
            line.is_own[caller as usize] = true;
        });
        let from = from.clone();
        self.push_event(to, VoiceEvent::Ringing { from, challenge });
        Ok(())
    }

    /// What `by` must sign to answer the ring of `caller`.
    ///
    /// # Errors
    /// `NoSuchCall`: `caller` does not ring `by`.
    pub fn to_answer(&self, by: &User, caller: &User) -> Result<Vec<ByteString>, CallError> {
        Ok(vec![self.ring_of(caller, by)?.first_challenge.clone()])
    }

    /// What `by` must sign to confirm its ring of `callee`: one of these, as many as clients of the
    /// callee have answered.
    ///
    /// # Errors
    /// `NoSuchCall`: `by` does not ring `callee`, or that has not answered.
    pub fn to_confirm(&self, by: &User, callee: &User) -> Result<Vec<ByteString>, CallError> {
        let answers = &self.ring_of(by, callee)?.answers;
        (!answers.is_empty())
            .then(|| answers.clone())
            .ok_or(CallError::NoSuchCall)
    }

    /// What `by` must sign to accept or reject the ring of `caller`: one of these. While there is a
    /// call it is what the accept had to sign, so that a repeated accept can be checked again.
    ///
    /// # Errors
    /// `NoSuchCall`: `caller` does not ring `by`, nor did it before the call they are in.
    /// `NotConfirmed`: whatever `by` could sign, `caller` has signed already.
    pub fn to_accept(&self, by: &User, caller: &User) -> Result<Vec<ByteString>, CallError> {
        let (line, side) = self.pair_state(by, caller).ok_or(CallError::NoSuchCall)?;
        match (&line.rings[side.other() as usize], &line.call) {
            (Some(ring), _) => ring.to_accept(),
            (None, Some(call)) if !call.accepted[side as usize].is_empty() => {
                Ok(call.accepted[side as usize].clone())
            }
            (None, Some(_) | None) => Err(CallError::NoSuchCall),
        }
    }

    /// The callee shows who it is, and asks the same of the caller, which is told
    /// ([`VoiceEvent::Answered`]). Again, by another client of the same user: each has its own
    /// challenge, up to eight.
    ///
    /// # Errors
    /// `NoSuchCall`: `to` does not ring `by`. `ChallengeInUse`.
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
        self.change_ring(to, by, |ring| ring.answered(challenge.clone()));
        let from = by.clone();
        let event = VoiceEvent::Answered {
            from,
            signature,
            challenge,
        };
        self.push_event(to, event);
        Ok(())
    }

    /// The caller shows who it is; the callee is told ([`VoiceEvent::Confirmed`]). Again, to another
    /// client of the callee: either challenge will do to accept.
    ///
    /// # Errors
    /// `NoSuchCall`: `by` does not ring `to`, or `to` has not answered. `ChallengeInUse`: also if it is
    /// what `to` has signed to answer.
    pub fn confirm(
        &mut self,
        by: &User,
        to: &User,
        signature: ByteString,
        challenge: ByteString,
        now: Instant,
    ) -> Result<(), CallError> {
        self.handle_timeout(now);
        self.to_confirm(by, to)?;
        self.check_challenge(by, to, &challenge)?;
        if self.ring_of(by, to)?.has_signed(&challenge) {
            return Err(CallError::ChallengeInUse);
        }
        self.change_ring(by, to, |ring| ring.confirmed(challenge.clone()));
        let from = by.clone();
        let event = VoiceEvent::Confirmed {
            from,
            signature,
            challenge,
        };
        self.push_event(to, event);
        Ok(())
    }

    /// The callee takes the call; the caller is told ([`VoiceEvent::Accepted`]). From here the call
    /// exists. If the two had one already, it goes on. An accept that comes twice is told twice
    /// and changes nothing else; so is one that crosses an accept of the other side.
    ///
    /// # Errors
    /// `NoSuchCall`: `from` does not ring `by`, nor did it before the call they are in.
    /// `NotConfirmed`: what `by` would show is a signature that `from` already has.
    pub fn accept(
        &mut self,
        by: &User,
        from: &User,
        signature: ByteString,
        now: Instant,
    ) -> Result<CallId, CallError> {
        self.handle_timeout(now);
        self.to_accept(by, from)?;
        let (pair, callee) = UserPair::of(by, from);
        let line = self.pair_states.get(&pair);
        let call = line.filter(|line| line.rings[callee.other() as usize].is_none());
        let id = match call.and_then(|line| line.call.as_ref()) {
            Some(call) => call.id,
            None => self.apply_pair_change(pair, now),
        };
        let event = VoiceEvent::Accepted {
            from: by.clone(),
            signature,
        };
        self.push_event(from, event);
        Ok(id)
    }

    /// The callee does not take the call; the caller is told ([`VoiceEvent::Declined`]). A call
    /// that the two are in goes on, and so does a ring in the other direction.
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
        self.ring_of(from, by)?.to_accept()?;
        let (pair, caller) = UserPair::of(from, by);
        self.end_ring(&pair, caller);
        self.decline(from, by, signature);
        Ok(())
    }

    /// Ends whatever is between the two, ringing or call; the other one is told
    /// ([`VoiceEvent::Declined`] without signature).
    ///
    /// # Errors
    /// `NoSuchCall`: there is nothing.
    pub fn hang_up(&mut self, by: &User, other: &User, now: Instant) -> Result<(), CallError> {
        self.handle_timeout(now);
        let (pair, side) = UserPair::of(by, other);
        let line = self.pair_states.get(&pair).ok_or(CallError::NoSuchCall)?;
        if let Some(call) = &line.call {
            self.end_call(call.id);
        }
        self.end_ring(&pair, side);
        self.end_ring(&pair, side.other());
        self.decline(other, by, ByteString::new());
        Ok(())
    }

    /// The call of these two.
    ///
    /// # Errors
    /// `NoSuchCall`.
    pub fn find(&self, by: &User, other: &User) -> Result<CallId, CallError> {
        let line = self.pair_state(by, other);
        let call = line.and_then(|(line, _)| line.call.as_ref());
        call.map(|call| call.id).ok_or(CallError::NoSuchCall)
    }

    /// Connects a microphone or headphones of `by` to the call with `other`, which is told
    /// ([`VoiceEvent::AudioConf`]). A connection that replaces one of the same user changes nothing
    /// and causes no event; the driver ends the other one, and disconnects once.
    ///
    /// # Errors
    /// `NoSuchCall`; `TooMany`.
    pub fn connect(
        &mut self,
        by: &User,
        other: &User,
        way: Direction,
        now: Instant,
    ) -> Result<CallId, CallError> {
        self.handle_timeout(now);
        let (pair, side) = UserPair::of(by, other);
        let line = self.pair_states.get(&pair);
        let line = line.filter(|line| line.call.is_some());
        let line = line.ok_or(CallError::NoSuchCall)?;
        if !line.is_own[side as usize] && self.is_at_call_limit(by) {
            return Err(CallError::TooMany);
        }
        let connected = self.change_pair(&pair, |line| {
            let call = line.call.as_mut()?;
            let ends = &mut call.ends[side as usize];
            let is_new = ends.set(way, true);
            let event = is_new.then(|| ends.of(by.clone(), None));
            line.is_own[side as usize] = true;
            Some((call.id, event))
        });
        let (id, event) = connected.ok_or(CallError::NoSuchCall)?;
        self.deadlines.clear(&CallTimer::Call(id));
        if let Some(event) = event {
            self.push_event(other, event);
        }
        Ok(id)
    }

    /// Takes back what [`Calls::connect`] connected; the other one is told. When it was the last of
    /// both, the call begins to linger. Of a call that has ended this is no news.
    pub fn disconnect(&mut self, by: &User, call: CallId, way: Direction, now: Instant) {
        self.handle_timeout(now);
        if let Some((other, event)) = self.disconnected(by, call, way, now) {
            self.push_event(&other, event);
        }
    }

    /// Lets happen what is due at `now`: rings that nobody took, calls in which nobody is left.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.deadlines.pop_due(now) {
            match due {
                CallTimer::Call(id) => self.end_call(id),
                CallTimer::Ring(pair, caller) => self.ring_unanswered(&pair, caller),
            }
        }
    }

    /// When [`Calls::handle_timeout`] must be called at the latest, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next event and the user it is for, if any.
    pub fn poll_event(&mut self) -> Option<(User, VoiceEvent)> {
        self.events.pop_front()
    }

    /// The next call that has ended, if any: its audio must stop.
    pub fn poll_ended(&mut self) -> Option<CallId> {
        self.ended.pop_front()
    }

    /// How many calls there have been.
    #[must_use]
    pub fn calls_made(&self) -> u64 {
        self.calls_made
    }

    /// Whether nobody rings, nobody is in a call, and nothing waits to be polled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let queues = self.events.is_empty() && self.ended.is_empty();
        let lines = self.pair_states.is_empty() && self.pairs.is_empty();
        let counted =
            self.loads.is_empty() && self.pending_challenges.is_empty() && self.callers.is_empty();
        queues && lines && counted && self.deadlines.is_empty()
    }

    fn push_event(&mut self, to: &User, event: VoiceEvent) {
        self.events.push_back((to.clone(), event));
    }

    fn decline(&mut self, to: &User, from: &User, signature: ByteString) {
        let from = from.clone();
        self.push_event(to, VoiceEvent::Declined { from, signature });
    }

    /// What is between the two, and which side of it `by` is.
    fn pair_state(&self, by: &User, other: &User) -> Option<(&PairState, PairSide)> {
        let (pair, side) = UserPair::of(by, other);
        Some((self.pair_states.get(&pair)?, side))
    }

    fn ring_of(&self, caller: &User, callee: &User) -> Result<&RingState, CallError> {
        let line = self.pair_state(caller, callee);
        let ring = line.and_then(|(line, side)| line.rings[side as usize].as_ref());
        ring.ok_or(CallError::NoSuchCall)
    }

    fn load(&self, user: &User) -> CallLoad {
        self.loads.get(user).copied().unwrap_or_default()
    }

    fn is_at_call_limit(&self, user: &User) -> bool {
        exceeds(self.load(user).own + 1, self.limits.calls_per_user)
    }

    /// Whether this side may begin to ring the other, which it may always do again; and the caller
    /// whose ring has to end for it, if any.
    fn may_ring(
        &self,
        pair: &UserPair,
        caller: PairSide,
        origin: RingOrigin<'_>,
    ) -> Result<Option<User>, CallError> {
        let (from, to) = (pair.user(caller), pair.user(caller.other()));
        let line = self.pair_states.get(pair);
        if !line.is_some_and(|line| line.is_own[caller as usize]) && self.is_at_call_limit(from) {
            return Err(CallError::TooMany);
        }
        if line.is_some() {
            return Ok(None);
        }
        if self.is_at_call_limit(to) {
            return Err(CallError::Busy);
        }
        let Some((rivals, refusal)) = self.queue_is_full(to, origin.address) else {
            return Ok(None);
        };
        if !(origin.listens)(from) {
            return Err(refusal);
        }
        let displaced = rivals.into_iter().find(|rival| !(origin.listens)(rival));
        displaced.cloned().map(Some).ok_or(refusal)
    }

    /// The callers whose rings leave no place for one more to `to`: one of them must be displaced, or the new
    /// ring is refused with this reason. `None` if there is a place.
    fn queue_is_full(&self, to: &User, address: Option<IpAddr>) -> Option<(Vec<&User>, CallError)> {
        let rivals = self.strangers_that_ring(to);
        if address.is_some() {
            let here = |caller: &&&User| {
                self.ring_of(caller, to)
                    .is_ok_and(|ring| ring.address == address)
            };
            let near: Vec<&User> = rivals.iter().filter(here).copied().collect();
            if exceeds(near.len() + 1, self.limits.rings_per_address) {
                return Some((near, CallError::TooManyFromAddress));
            }
        }
        let rings_max = self.limits.calls_per_user.saturating_mul(RINGS_PER_CALL);
        exceeds(rivals.len() + 1, rings_max).then_some((rivals, CallError::Busy))
    }

    /// The callers that ring `to`, without those that it has rung or talks to.
    fn strangers_that_ring(&self, to: &User) -> Vec<&User> {
        let is_stranger = |caller: &&User| {
            let line = self.pair_state(to, caller);
            line.is_some_and(|(line, side)| !line.is_own[side as usize])
        };
        let callers = self.callers.get(to).into_iter().flatten();
        callers.filter(is_stranger).collect()
    }

    /// Whether `by` may have this signed: not if another has asked the same of the same signer.
    fn check_challenge(
        &self,
        by: &User,
        signer: &User,
        challenge: &ByteString,
    ) -> Result<(), CallError> {
        let asked = self
            .pending_challenges
            .get(&(signer.clone(), challenge.clone()));
        if asked.is_some_and(|asker| asker != by) {
            return Err(CallError::ChallengeInUse);
        }
        Ok(())
    }

    /// Changes what is between two, made if need be and forgotten if nothing is left, and counts it.
    fn change_pair<T>(&mut self, pair: &UserPair, act: impl FnOnce(&mut PairState) -> T) -> T {
        let line = self.pair_states.entry(pair.clone()).or_default();
        let before = [PairSide::Low, PairSide::High].map(|side| line.share(side));
        let rang = line.is_ringing();
        let done = act(line);
        let after = [PairSide::Low, PairSide::High].map(|side| line.share(side));
        let rings = line.is_ringing();
        if line.is_idle() {
            self.pair_states.remove(pair);
        }
        for caller in [PairSide::Low, PairSide::High] {
            match (rang[caller as usize], rings[caller as usize]) {
                (false, true) => self.add_caller(pair.user(caller.other()), pair.user(caller)),
                (true, false) => self.remove_caller(pair.user(caller.other()), pair.user(caller)),
                (false, false) | (true, true) => {}
            }
        }
        let changes = before.into_iter().zip(after);
        for (side, (before, after)) in [PairSide::Low, PairSide::High].into_iter().zip(changes) {
            self.update_usage(pair, side, before, after);
        }
        done
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

    fn change_ring(&mut self, caller: &User, callee: &User, act: impl FnOnce(&mut RingState)) {
        let (pair, side) = UserPair::of(caller, callee);
        self.change_pair(&pair, |line| line.rings[side as usize].as_mut().map(act));
    }

    /// No two lines ask the same of one user ([`Calls::check_challenge`]), so that each keeps its own here.
    fn update_usage(
        &mut self,
        pair: &UserPair,
        side: PairSide,
        before: UserShare,
        after: UserShare,
    ) {
        let (signer, asker) = (pair.user(side), pair.user(side.other()));
        self.set_load(signer, before.load, after.load);
        for challenge in before.asked {
            self.pending_challenges.remove(&(signer.clone(), challenge));
        }
        for challenge in after.asked {
            let asked = (signer.clone(), challenge);
            self.pending_challenges.insert(asked, asker.clone());
        }
    }

    fn set_load(&mut self, user: &User, before: CallLoad, after: CallLoad) {
        let now = self.load(user);
        let load = CallLoad {
            own: now.own + after.own - before.own,
            rung: now.rung + after.rung - before.rung,
        };
        if load == CallLoad::default() {
            self.loads.remove(user);
        } else if load != now {
            self.loads.insert(user.clone(), load);
        }
    }

    /// Ends a ring that is not taken, and tells both.
    fn ring_unanswered(&mut self, pair: &UserPair, caller: PairSide) {
        self.end_ring(pair, caller);
        let (from, to) = (pair.user(caller), pair.user(caller.other()));
        self.decline(from, to, ByteString::new());
        self.decline(to, from, ByteString::new());
    }

    fn end_ring(&mut self, pair: &UserPair, caller: PairSide) {
        self.deadlines.clear(&CallTimer::Ring(pair.clone(), caller));
        self.change_pair(pair, |line| line.rings[caller as usize] = None);
    }

    fn end_call(&mut self, id: CallId) {
        let Some(pair) = self.pairs.remove(&id) else {
            return;
        };
        self.deadlines.clear(&CallTimer::Call(id));
        self.change_pair(&pair, |line| line.call = None);
        self.ended.push_back(id);
    }

    /// Makes the rings of a pair its call. If nobody is connected, they have `linger` from now on.
    fn apply_pair_change(&mut self, pair: UserPair, now: Instant) -> CallId {
        let next = CallId::from(self.calls_made + 1);
        let (id, is_deserted) = self.change_pair(&pair, |line| {
            let call = line.call.get_or_insert_with(|| ActiveCall::new(next));
            for caller in [PairSide::Low, PairSide::High] {
                if let Some(ring) = line.rings[caller as usize].take() {
                    // The other side's ring ends with it, whatever became of that.
                    call.accepted[caller.other() as usize] = ring.to_accept().unwrap_or_default();
                }
            }
            (call.id, call.has_no_audio())
        });
        self.calls_made = self.calls_made.max(id.get());
        for caller in [PairSide::Low, PairSide::High] {
            self.deadlines.clear(&CallTimer::Ring(pair.clone(), caller));
        }
        if is_deserted {
            self.deadlines
                .set(CallTimer::Call(id), now, self.limits.linger);
        }
        self.pairs.insert(id, pair);
        id
    }

    /// Does what [`Calls::disconnect`] says, and gives whom to tell what.
    fn disconnected(
        &mut self,
        by: &User,
        id: CallId,
        way: Direction,
        now: Instant,
    ) -> Option<(User, VoiceEvent)> {
        let pair = self.pairs.get(&id)?;
        let side = pair.side(by)?;
        let call = self.pair_states.get_mut(pair)?.call.as_mut()?;
        let ends = &mut call.ends[side as usize];
        if !ends.set(way, false) {
            return None;
        }
        let event = ends.of(by.clone(), None);
        if call.has_no_audio() {
            self.deadlines
                .set(CallTimer::Call(id), now, self.limits.linger);
        }
        Some((pair.user(side.other()).clone(), event))
    }
}

/// What happens in time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum CallTimer {
    /// Nobody has taken the ring of this side.
    Ring(UserPair, PairSide),
    /// Nobody has been in the call for `linger`.
    Call(CallId),
}
