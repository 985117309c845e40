//! The state machine of one session: the client's protocol state, its heartbeat, and its budgets.
//!
//! It does no I/O and reads no clock: its methods take an input and the time, and fill a [`SessionOutput`], which the
//! connection's task executes. [`SessionMachine::poll_timeout`] returns the time of the next `handle_timeout`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use switchboard_core::{
    DisconnectReason, ErrorCode, Event, HubRequest, Limits, Peer, RequestError, ResourceKey,
};
use switchboard_dialects::{
    ClientFrame, CloseReason, FirstFrameTimeout, ResumeError, ResumeRequest, SessionOutput,
    WebhookRequest,
};

use crate::{
    AccessRefusal, ClientSession,
    budget::{Budgets, SpentBudgets},
    event_queue::PendingCharges,
    suspended::{Awaited, Decision, Resumed, Suspended, after_denial},
};

/// The time that a client has at least for its first frame after a pause in which its connection was not read.
const FIRST_FRAME_AFTER_PAUSE: Duration = Duration::from_secs(5);

/// The time for a first frame that must carry a credential, if there is no other limit.
const CREDENTIAL_TIME: Duration = Duration::from_secs(10);

/// The error text for a client whose access has ended.
const EXPIRED_TEXT: &str = "The access token has expired.";

/// The intervals by which a dead client is detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The interval between two pings.
    pub ping: Duration,
    /// The time without any frame from the client after which it is taken for gone.
    pub timeout: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(25),
            timeout: Duration::from_secs(60),
        }
    }
}

/// A [`Heartbeat`] in nanoseconds, which take half of the memory: each connection has one.
#[derive(Debug)]
struct HeartbeatNanos {
    ping: u64,
    timeout: u64,
}

impl HeartbeatNanos {
    fn of(heartbeat: Heartbeat) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            ping: nanos(heartbeat.ping),
            timeout: nanos(heartbeat.timeout),
        }
    }

    fn ping(&self) -> Duration {
        Duration::from_nanos(self.ping)
    }

    fn timeout(&self) -> Duration {
        Duration::from_nanos(self.timeout)
    }
}

/// The state machine of one client's session while a connection serves it.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "each connection has a session, and few are probed"
)]
pub struct SessionMachine {
    session: ClientSession,
    budgets: Budgets,
    /// The time at which the debt of the client is paid. Its frames are not read before.
    paused_until: Option<Instant>,
    heartbeat: HeartbeatNanos,
    /// The time of the last sign of life of the client.
    last_sign: Instant,
    next_ping: Instant,
    /// The number of pings without a pong. Their pongs are not charged, because the server has requested them.
    pings_unanswered: u32,
    /// The deadline of the first frame. `None` after the first frame, or without a deadline.
    first_frame: Option<Instant>,
    /// The interval in which the session wants ticks, and the time of the next one. Boxed, because few sessions want
    /// ticks.
    tick: Option<Box<(Duration, Instant)>>,
    /// The names and addresses of this client that other clients claim. The next sign of life is reported to the hub
    /// (the state machine of the rooms): it proves that this client still uses them.
    probes: Option<Box<Vec<ResourceKey>>>,
    /// The time at which the access of the client ends.
    expires: Option<Instant>,
    /// A pending decision, and the steps behind it. Meanwhile the session gets no frames.
    suspended: Option<Box<Suspended>>,
}

impl SessionMachine {
    /// The state machine of `session`, whose first output was `first`.
    #[must_use]
    pub fn new(
        session: ClientSession,
        first: &mut SessionOutput,
        limits: &Arc<Limits>,
        heartbeat: Heartbeat,
        now: Instant,
    ) -> Self {
        let wait = match first.first_frame {
            FirstFrameTimeout::Default => Some(Duration::from_secs(limits.first_frame_secs)),
            FirstFrameTimeout::Within(wait) => Some(wait),
            FirstFrameTimeout::Never => None,
        };
        let wait = wait.filter(|wait| !wait.is_zero());
        let wait = wait.or(session.must_authenticate().then_some(CREDENTIAL_TIME));
        let mut machine = Self {
            session,
            budgets: Budgets::new(limits.clone(), now),
            paused_until: None,
            heartbeat: HeartbeatNanos::of(heartbeat),
            last_sign: now,
            next_ping: now + heartbeat.ping,
            pings_unanswered: 0,
            first_frame: wait.map(|wait| now + wait),
            tick: None,
            probes: None,
            expires: None,
            suspended: None,
        };
        machine.update_expiry(first.unix_secs, now);
        machine.apply_output(first, now);
        machine
    }

    /// Continues the budgets of a connection that has ended.
    pub fn continue_from(&mut self, spent: &SpentBudgets, now: Instant) {
        self.budgets.continue_from(spent, now);
        self.pause(now);
    }

    /// The spent budgets of the client.
    pub fn spent(&self, now: Instant) -> Option<SpentBudgets> {
        self.budgets.spent(now)
    }

    /// The limits of the session: those that were configured when it began.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.session.limits()
    }

    /// The peer of the session in the core.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.session.peer()
    }

    /// Handles a text or binary frame from the client.
    pub fn on_frame(&mut self, frame: ClientFrame<'_>, now: Instant, output: &mut SessionOutput) {
        // A client can send frames faster than the timer of its expiry is polled.
        if self.has_expired(now) {
            return self.expire(now, output);
        }
        self.budgets.charge_frame(now);
        self.first_frame = None;
        self.on_sign_of_life(now, output);
        self.session.on_frame(frame, output);
        self.apply_output(output, now);
    }

    /// Adds the charges of the hub for frames of the client. Returns the number of peers that the client has
    /// reached for the first time.
    pub fn on_charges(&mut self, charges: &PendingCharges, now: Instant) -> usize {
        let peers = self.budgets.charge(charges, now);
        self.pause(now);
        peers
    }

    /// Whether a budget is in debt. The frames of the client must not be read then.
    pub fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Handles a ping or a fragment of a message from the client.
    pub fn on_control(&mut self, now: Instant, output: &mut SessionOutput) {
        self.budgets.charge_frame(now);
        self.pause(now);
        self.on_sign_of_life(now, output);
    }

    /// Handles a pong from the client. A pong that answers a ping is not charged: other clients can cause pings by
    /// claiming the client's name.
    pub fn on_pong(&mut self, now: Instant, output: &mut SessionOutput) {
        match self.pings_unanswered.checked_sub(1) {
            Some(left) => {
                self.pings_unanswered = left;
                self.on_sign_of_life(now, output);
            }
            None => self.on_control(now, output),
        }
    }

    /// Notes a sign of life that is not charged: a slow client has read some of its pending frames, or has sent a
    /// frame that waits for a decision and is charged when it is handled.
    pub fn on_sign_of_life(&mut self, now: Instant, output: &mut SessionOutput) {
        self.last_sign = now;
        if let Some(probes) = self.probes.take() {
            let alive = probes.into_iter().map(HubRequest::Alive);
            output.requests.extend(alive);
        }
    }

    /// Handles an event from a hub. Returns whether the output has only frames.
    pub fn on_event(&mut self, event: &Event, now: Instant, output: &mut SessionOutput) -> bool {
        self.budgets.observe(event);
        let has_only_frames = self.session.on_event(event, output);
        if !has_only_frames {
            self.apply_output(output, now);
        }
        has_only_frames
    }

    /// Suspends the session until a decision is made, and keeps the rest of an output, `queued`, until then.
    pub fn suspend(&mut self, awaited: Awaited, queued: SessionOutput) {
        self.suspended = Some(Box::new(Suspended { awaited, queued }));
    }

    /// Whether a decision is pending.
    pub fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// Whether the session waits for the authentication of its client, which may extend its access.
    fn awaits_authentication(&self) -> bool {
        let awaited = self.suspended.as_ref().map(|suspended| &suspended.awaited);
        matches!(awaited, Some(Awaited::Authentication))
    }

    /// Whether only urgent events may be handled until the decision.
    pub fn defers_events(&self) -> bool {
        self.suspended
            .as_ref()
            .is_some_and(|suspended| suspended.defers_events())
    }

    /// Queues the requests and the webhook request of `output` behind the pending decision, if there is one. Signs
    /// of life and the end of the connection stay in `output`.
    pub fn queue_behind_decision(&mut self, output: &mut SessionOutput) {
        if let Some(suspended) = &mut self.suspended {
            suspended.queue(output);
        }
    }

    /// Queues all of `output` behind the pending decision. Returns it if none is pending.
    pub fn append_to_decision(&mut self, output: SessionOutput) -> Option<SessionOutput> {
        match &mut self.suspended {
            Some(suspended) => {
                suspended.append(output);
                None
            }
            None => Some(output),
        }
    }

    /// Handles the pending decision; `output` gets the reaction of the session. `None` if none is pending.
    pub fn on_decision(
        &mut self,
        decision: &Decision,
        now: Instant,
        output: &mut SessionOutput,
    ) -> Option<Resumed> {
        let Suspended { awaited, queued } = *self.suspended.take()?;
        let mut resumed = Resumed {
            queued,
            ..Resumed::default()
        };
        match (awaited, decision) {
            (Awaited::Access(request, _), Decision::Access(Ok(()))) => {
                resumed.authorized.push(request);
            }
            (Awaited::Access(request, error), decision) => {
                let text = match decision {
                    Decision::Access(Err(text)) => text.clone(),
                    Decision::Access(Ok(()))
                    | Decision::Webhook(_)
                    | Decision::Authentication(_) => None,
                };
                resumed.authorized.extend(after_denial(request));
                resumed.rejected.push(RequestError {
                    code: ErrorCode::Denied(text),
                    ..error
                });
            }
            (Awaited::Webhook, decision) => {
                let body = match decision {
                    Decision::Webhook(body) => body.as_deref(),
                    Decision::Access(_) | Decision::Authentication(_) => None,
                };
                self.session.on_webhook_response(body, output);
                self.apply_output(output, now);
            }
            (Awaited::Authentication, decision) => {
                let result = match decision {
                    Decision::Authentication(result) => result,
                    Decision::Access(_) | Decision::Webhook(_) => {
                        &Err(AccessRefusal::unavailable())
                    }
                };
                let revoked = self.session.on_authentication(result, output);
                (resumed.authorized, resumed.rejected) = revoked.into_iter().unzip();
                self.update_expiry(output.unix_secs, now);
                self.apply_output(output, now);
                // The access may have ended while a renewal was decided that is refused now.
                if self.has_expired(now) {
                    self.expire(now, output);
                }
            }
        }
        Some(resumed)
    }

    /// Reports a violation by the client and closes the connection.
    pub fn on_violation(
        &mut self,
        reason: ErrorCode,
        close: CloseReason,
        now: Instant,
        output: &mut SessionOutput,
    ) {
        self.session.on_violation(reason, close, output);
        self.apply_output(output, now);
    }

    /// The time of the next call of [`SessionMachine::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        if self.is_suspended() {
            let expires = self.expires.filter(|_| !self.awaits_authentication());
            let others = [self.paused_until, expires];
            return earliest(self.next_ping, others);
        }
        let others = [
            Some(self.silence_deadline()),
            self.paused_until,
            self.first_frame.filter(|_| !self.is_paused()),
            self.next_tick(),
            self.expires,
        ];
        earliest(self.next_ping, others)
    }

    /// The time of the next tick of the session. Of all timeouts an event moves only this one to an earlier time.
    #[must_use]
    pub fn next_tick(&self) -> Option<Instant> {
        self.tick.as_ref().map(|tick| tick.1)
    }

    /// The time at which the client is taken for gone or, while reading is paused, for flooding the server.
    fn silence_deadline(&self) -> Instant {
        let gone = self.last_sign + self.heartbeat.timeout();
        match self.paused_until {
            None => gone,
            Some(until) => self.budgets.flood_deadline().unwrap_or(until),
        }
    }

    /// Handles the timeouts that are due at `now`. While a decision is pending, these are only pings, the end of a
    /// pause and that of the client's access: the session gets no frames then, so it cannot miss its other deadlines,
    /// and a decision has a time limit of its own.
    pub fn handle_timeout(&mut self, now: Instant, output: &mut SessionOutput) {
        if self.has_expired(now) && !self.awaits_authentication() {
            return self.expire(now, output);
        }
        if self.is_suspended() {
            self.end_pause(now);
            return self.ping_if_due(now, output);
        }
        if self.is_paused() && self.budgets.flood_deadline().is_some_and(|at| now >= at) {
            let (reason, close) = (ErrorCode::TooManyFrames, CloseReason::FLOOD);
            return self.on_violation(reason, close, now, output);
        }
        self.end_pause(now);
        if !self.is_paused() && now >= self.last_sign + self.heartbeat.timeout() {
            output.close = Some(CloseReason::GONE);
            return;
        }
        if !self.is_paused() && self.first_frame.is_some_and(|deadline| now >= deadline) {
            let (reason, close) = (ErrorCode::FirstFrameTimeout, CloseReason::SILENT);
            return self.on_violation(reason, close, now, output);
        }
        if let Some((every, at)) = self.tick.as_deref_mut().filter(|(_, at)| now >= *at) {
            *at = now + *every;
            self.session.on_tick(output);
            self.apply_output(output, now);
        }
        self.ping_if_due(now, output);
    }

    fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| now >= at)
    }

    /// Ends the session of a client whose access has ended. The client is told so, unless its session waits for the
    /// response of a web service and so handles nothing.
    fn expire(&mut self, now: Instant, output: &mut SessionOutput) {
        if !self.defers_events() {
            let reason = ErrorCode::Denied(Some(EXPIRED_TEXT.into()));
            self.on_violation(reason, CloseReason::TOKEN_EXPIRED, now, output);
        }
        output.close = Some(CloseReason::TOKEN_EXPIRED);
    }

    /// Sets the time at which the access of the client ends, which is known in seconds since 1970.
    fn update_expiry(&mut self, unix_secs: u64, now: Instant) {
        let left = |at: u64| Duration::from_secs(at.saturating_sub(unix_secs));
        let expires_at = self.session.expires_at();
        // A time that an `Instant` cannot have is never reached.
        self.expires = expires_at.and_then(|at| now.checked_add(left(at)));
    }

    /// Ends a pause that is over at `now`.
    fn end_pause(&mut self, now: Instant) {
        if self.paused_until.is_none_or(|until| now < until) {
            return;
        }
        self.paused_until = None;
        // No sign of life could be read during the pause, so the time without one starts now.
        self.last_sign = now;
        if let Some(deadline) = &mut self.first_frame {
            *deadline = (*deadline).max(now + FIRST_FRAME_AFTER_PAUSE);
        }
    }

    /// Adds a ping if one is due at `now`.
    fn ping_if_due(&mut self, now: Instant, output: &mut SessionOutput) {
        if now >= self.next_ping {
            self.budgets.release_full(now);
            self.next_ping = now + self.heartbeat.ping();
            if !output.ping {
                output.ping = true;
                self.pings_unanswered = self.pings_unanswered.saturating_add(1);
            }
        }
    }

    /// The time until which the session outlives its lost connection; `None` if it ends with the connection.
    #[must_use]
    pub fn detach(&self, now: Instant) -> Option<Instant> {
        self.session.kept_time().map(|time| now + time)
    }

    /// Attaches the session to another connection of its client. `by` is the peer of that connection. The heartbeat
    /// starts again. `output` gets the frames that the client has missed.
    ///
    /// # Errors
    /// The reason why this session cannot be resumed.
    pub fn attach(
        &mut self,
        request: &ResumeRequest,
        by: &Peer,
        now: Instant,
        output: &mut SessionOutput,
    ) -> Result<(), ResumeError> {
        self.session.resume(request, by, output)?;
        self.last_sign = now;
        self.next_ping = now + self.heartbeat.ping();
        self.pings_unanswered = 0;
        self.first_frame = None;
        Ok(())
    }

    /// Reports to the session that the earlier session, which its client asked to resume, cannot be resumed.
    pub fn refuse_resume(&mut self, error: ResumeError, now: Instant, output: &mut SessionOutput) {
        self.session.refuse_resume(error, output);
        self.apply_output(output, now);
    }

    /// The requests to the hubs after the connection has ended.
    pub fn disconnect(&mut self, reason: DisconnectReason) -> Vec<HubRequest> {
        self.session.disconnect(reason)
    }

    /// The last webhook request, after the connection has ended.
    pub fn on_end(&mut self) -> Option<WebhookRequest> {
        self.session.on_end()
    }

    /// Pauses reading while a budget is in debt.
    fn pause(&mut self, now: Instant) {
        let until = self.budgets.in_debt_until();
        self.paused_until = until.filter(|until| *until > now).or(self.paused_until);
    }

    /// Charges the requests of a step, and applies the parts of its output that concern the connection.
    fn apply_output(&mut self, output: &mut SessionOutput, now: Instant) {
        self.budgets.charge_requests(&output.requests, now);
        self.pause(now);
        if let Some(every) = output.tick.take() {
            self.tick = Some(Box::new((every, now + every)));
        }
        let Some(resource) = output.probe.take() else {
            return;
        };
        output.ping = true;
        self.pings_unanswered = self.pings_unanswered.saturating_add(1);
        if self.is_paused() {
            // The pong would not be read while the client is in debt. Its recent frames are a sign of life.
            output.requests.push(HubRequest::Alive(resource));
        } else {
            self.probes.get_or_insert_default().push(resource);
        }
    }
}

/// The earliest of these times.
fn earliest<const N: usize>(first: Instant, others: [Option<Instant>; N]) -> Instant {
    others.into_iter().flatten().fold(first, Instant::min)
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs any instant to count from"
)]
mod tests;

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs any instant to count from"
)]
mod access_tests;
