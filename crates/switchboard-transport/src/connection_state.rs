//! The protocol state of one connection, free of I/O: its session, its heartbeat, and its budgets.
//!
//! A state machine like the hub: methods take inputs with the time and return [`ConnectionActions`];
//! `poll_timeout` returns the time of the next `handle_timeout`.

use std::time::{Duration, Instant};

use switchboard_core::{DisconnectReason, ErrorCode, Event, HubRequest, Limits, Peer, ResourceKey};
use switchboard_dialects::{
    Actions, ClientFrame, ClientSession, CloseReason, FirstFrameTimeout, WebhookRequest,
};

use crate::{
    budget::{Budgets, SpentBudgets},
    outbox::PendingCharges,
};

/// The minimum time for the first frame of a client after reading was paused.
const AFTER_PAUSE: Duration = Duration::from_secs(5);

/// The intervals by which a dead client is detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The interval between two pings.
    pub ping: Duration,
    /// The time without any frame from the client after which it counts as gone.
    pub gone: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(25),
            gone: Duration::from_secs(60),
        }
    }
}

/// The actions for the connection task: those of the session, and then an optional ping.
#[derive(Debug, Default)]
pub(crate) struct ConnectionActions {
    pub(crate) actions: Actions,
    pub(crate) ping: bool,
}

impl From<Actions> for ConnectionActions {
    fn from(actions: Actions) -> Self {
        Self {
            ping: actions.probe.is_some(),
            actions,
        }
    }
}

#[derive(Debug)]
pub(crate) struct ConnectionState {
    session: ClientSession,
    budgets: Budgets,
    /// The time at which the debt of the client is paid. Its frames are not read before.
    paused_until: Option<Instant>,
    heartbeat: Heartbeat,
    last_sign: Instant,
    next_ping: Instant,
    /// The number of pings without a pong. Their pongs are not charged, because the server has requested them.
    pings_unanswered: u32,
    first_frame: Option<Instant>,
    tick: Option<(Duration, Instant)>,
    /// Names and addresses of this client that other clients claim. The next sign of life answers these
    /// challenges.
    probes: Vec<ResourceKey>,
}

impl ConnectionState {
    /// A new connection and its first actions. `opened` is the result of [`ClientSession::open`].
    pub(crate) fn new(
        opened: (ClientSession, Actions),
        limits: &Limits,
        heartbeat: Heartbeat,
        now: Instant,
    ) -> (Self, ConnectionActions) {
        let (session, actions) = opened;
        let wait = match actions.first_frame {
            FirstFrameTimeout::Default => Some(Duration::from_secs(limits.first_frame_secs)),
            FirstFrameTimeout::Within(wait) => Some(wait),
            FirstFrameTimeout::Never => None,
        };
        let mut state = Self {
            session,
            budgets: Budgets::new(limits, now),
            paused_until: None,
            heartbeat,
            last_sign: now,
            next_ping: now + heartbeat.ping,
            pings_unanswered: 0,
            first_frame: wait.filter(|wait| !wait.is_zero()).map(|wait| now + wait),
            tick: None,
            probes: Vec::new(),
        };
        let output = state.actions(actions, now);
        (state, output)
    }

    /// Continues the budgets of a connection that has ended.
    pub(crate) fn continue_from(&mut self, spent: &SpentBudgets, now: Instant) {
        self.budgets.continue_from(spent, now);
        self.pause(now);
    }

    /// The spent budgets of the client.
    pub(crate) fn spent(&self, now: Instant) -> Option<SpentBudgets> {
        self.budgets.spent(now)
    }

    pub(crate) fn peer(&self) -> &Peer {
        self.session.peer()
    }

    /// Handles a text or binary frame from the client.
    pub(crate) fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        now: Instant,
        unix_secs: u64,
    ) -> ConnectionActions {
        self.budgets.charge_frame(now);
        self.first_frame = None;
        let mut actions = self.session.on_frame(frame, unix_secs);
        actions.requests.splice(0..0, self.note_sign_of_life(now));
        self.actions(actions, now)
    }

    /// Adds the charges of the hub for frames of the client. Returns the number of peers that the client has
    /// reached for the first time.
    pub(crate) fn on_charges(&mut self, charges: &PendingCharges, now: Instant) -> usize {
        let peers = self.budgets.charge(charges, now);
        self.pause(now);
        peers
    }

    /// Whether a budget is in debt, so that the client must not be read.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Handles a ping or a fragment from the client.
    pub(crate) fn on_control(&mut self, now: Instant) -> ConnectionActions {
        self.budgets.charge_frame(now);
        self.pause(now);
        self.on_sign_of_life(now)
    }

    /// Handles a pong from the client. Other clients that claim its name cause pings, so a pong is charged
    /// only if it answers no ping.
    pub(crate) fn on_pong(&mut self, now: Instant) -> ConnectionActions {
        match self.pings_unanswered.checked_sub(1) {
            Some(left) => {
                self.pings_unanswered = left;
                self.on_sign_of_life(now)
            }
            None => self.on_control(now),
        }
    }

    /// Notes that a slow client has read some of its pending frames, which is a sign of life.
    pub(crate) fn on_written(&mut self, now: Instant) -> ConnectionActions {
        self.on_sign_of_life(now)
    }

    fn on_sign_of_life(&mut self, now: Instant) -> ConnectionActions {
        Actions {
            requests: self.note_sign_of_life(now),
            ..Actions::default()
        }
        .into()
    }

    /// Handles an event from a hub.
    pub(crate) fn on_event(
        &mut self,
        event: &Event,
        now: Instant,
        unix_secs: u64,
    ) -> ConnectionActions {
        self.budgets.observe(event);
        let actions = self.session.on_event(event, unix_secs);
        self.actions(actions, now)
    }

    /// Handles the response to the webhook request of earlier actions.
    pub(crate) fn on_webhook_response(
        &mut self,
        reply: Option<&str>,
        now: Instant,
        unix_secs: u64,
    ) -> ConnectionActions {
        let actions = self.session.on_webhook_response(reply, unix_secs);
        self.actions(actions, now)
    }

    /// Reports a violation by the client and closes the connection.
    pub(crate) fn on_violation(
        &mut self,
        reason: ErrorCode,
        close: CloseReason,
        now: Instant,
    ) -> ConnectionActions {
        let actions = self.session.on_violation(reason, close);
        self.actions(actions, now)
    }

    /// The time of the next call of [`ConnectionState::handle_timeout`].
    pub(crate) fn poll_timeout(&self) -> Instant {
        let others = [
            Some(self.silence_deadline()),
            self.paused_until,
            self.first_frame.filter(|_| !self.is_paused()),
            self.tick.map(|(_, at)| at),
        ];
        others
            .into_iter()
            .flatten()
            .fold(self.next_ping, Instant::min)
    }

    /// The time at which the client counts as gone or, while reading is paused, as flooding the server.
    fn silence_deadline(&self) -> Instant {
        let gone = self.last_sign + self.heartbeat.gone;
        match self.paused_until {
            None => gone,
            Some(until) => self.budgets.flood_deadline().unwrap_or(until),
        }
    }

    /// Handles the timeouts that are due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> ConnectionActions {
        if self.is_paused() && self.budgets.flood_deadline().is_some_and(|at| now >= at) {
            return self.flooded(now);
        }
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = None;
            // Signs of life of the client could not be read during the pause.
            self.last_sign = now;
            if let Some(deadline) = &mut self.first_frame {
                *deadline = (*deadline).max(now + AFTER_PAUSE);
            }
        }
        if !self.is_paused() && now >= self.last_sign + self.heartbeat.gone {
            return Actions {
                close: Some(CloseReason::GONE),
                ..Actions::default()
            }
            .into();
        }
        if !self.is_paused() && self.first_frame.is_some_and(|deadline| now >= deadline) {
            return self.on_violation(ErrorCode::FirstFrameTimeout, CloseReason::SILENT, now);
        }
        let ticked = self.tick.filter(|(_, at)| now >= *at);
        let actions = match ticked {
            Some((every, _)) => {
                self.tick = Some((every, now + every));
                self.session.on_tick()
            }
            None => Actions::default(),
        };
        let mut output = self.actions(actions, now);
        if now >= self.next_ping {
            self.next_ping = now + self.heartbeat.ping;
            if !output.ping {
                output.ping = true;
                self.pings_unanswered = self.pings_unanswered.saturating_add(1);
            }
        }
        output
    }

    /// The requests to the hubs after the connection has ended.
    pub(crate) fn disconnect(&mut self, reason: DisconnectReason) -> Vec<HubRequest> {
        self.session.disconnect(reason)
    }

    /// The last webhook request, after the connection has ended.
    pub(crate) fn on_end(&mut self) -> Option<WebhookRequest> {
        self.session.on_end()
    }

    fn flooded(&mut self, now: Instant) -> ConnectionActions {
        self.on_violation(ErrorCode::TooManyFrames, CloseReason::FLOOD, now)
    }

    /// Pauses reading while a budget is in debt.
    fn pause(&mut self, now: Instant) {
        let until = self.budgets.in_debt_until();
        self.paused_until = until.filter(|until| *until > now).or(self.paused_until);
    }

    fn note_sign_of_life(&mut self, now: Instant) -> Vec<HubRequest> {
        self.last_sign = now;
        std::mem::take(&mut self.probes)
            .into_iter()
            .map(HubRequest::Alive)
            .collect()
    }

    fn actions(&mut self, mut actions: Actions, now: Instant) -> ConnectionActions {
        self.budgets.charge_requests(&actions.requests, now);
        self.pause(now);
        if let Some(every) = actions.tick.take() {
            self.tick = Some((every, now + every));
        }
        let probe = actions.probe.take();
        let ping = probe.is_some();
        match probe {
            // The pong would not be read while the client is in debt. Its recent frames are a sign of life.
            Some(resource) if self.is_paused() => {
                actions.requests.push(HubRequest::Alive(resource))
            }
            probe => self.probes.extend(probe),
        }
        self.pings_unanswered = self.pings_unanswered.saturating_add(ping.into());
        ConnectionActions { actions, ping }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytestring::ByteString;
    use switchboard_core::{Address, Identity, PeerId, RoomId, RoomName, SpaceName};
    use switchboard_dialects::{Endpoint, Handshake, Query, find};

    use super::*;

    fn connection(dialect: &str, now: Instant) -> (ConnectionState, ConnectionActions) {
        limited_connection(dialect, &Limits::default(), now)
    }

    fn limited_connection(
        dialect: &str,
        limits: &Limits,
        now: Instant,
    ) -> (ConnectionState, ConnectionActions) {
        let handshake = Handshake {
            peer: PeerId::from_random([1; 16]),
            identity: Identity::Claimed,
            endpoint: Endpoint::MAIN,
            params: Query::default(),
            query: Query::default(),
            random: [2; 32],
            unix_ms: 0,
            limits: Arc::default(),
            settings: Arc::default(),
        };
        let opened = ClientSession::open(find(dialect), handshake, SpaceName::default());
        ConnectionState::new(opened, limits, Heartbeat::default(), now)
    }

    fn frame(state: &mut ConnectionState, text: &'static str, now: Instant) -> ConnectionActions {
        state.on_frame(ClientFrame::Text(&ByteString::from_static(text)), now, 0)
    }

    #[test]
    fn pings_are_sent_every_25_seconds_and_the_client_is_gone_after_60() {
        let start = Instant::now();
        let (mut state, _) = connection("mesh", start);
        let mut pings = Vec::new();
        let gone = loop {
            let now = state.poll_timeout();
            let output = state.handle_timeout(now);
            if let Some(close) = output.actions.close {
                break (now - start, close);
            }
            assert!(output.ping);
            pings.push((now - start).as_secs());
        };
        assert_eq!(pings, [25, 50]);
        assert_eq!(gone, (Duration::from_secs(60), CloseReason::GONE));
    }

    #[test]
    fn any_frame_is_a_sign_of_life() {
        let start = Instant::now();
        let (mut state, _) = connection("mesh", start);
        let later = start + Duration::from_secs(50);
        drop(state.on_control(later));
        assert!(
            state
                .handle_timeout(start + Duration::from_secs(60))
                .actions
                .close
                .is_none()
        );
        assert_eq!(
            state
                .handle_timeout(start + Duration::from_secs(110))
                .actions
                .close,
            Some(CloseReason::GONE)
        );
    }

    #[test]
    fn the_timeout_of_the_first_frame_depends_on_the_dialect() {
        let start = Instant::now();
        for (dialect, secs) in [("p2p", 5), ("lightstream", 30), ("singo", 30)] {
            let (mut state, _) = connection(dialect, start);
            assert!(
                state
                    .handle_timeout(start + Duration::from_secs(secs - 1))
                    .actions
                    .close
                    .is_none()
            );
            let output = state.handle_timeout(start + Duration::from_secs(secs));
            assert!(
                output.actions.close.is_some_and(|close| close.code == 1008),
                "{dialect}"
            );
            assert_eq!(output.actions.frames.len(), 1, "{dialect} sends an error");
        }
        let (mut state, _) = connection("lightstream", start);
        drop(frame(&mut state, "{}", start));
        assert!(
            state
                .handle_timeout(start + Duration::from_secs(31))
                .actions
                .close
                .is_none()
        );
    }

    /// Sends frames until the connection is paused, and returns their number.
    fn frames_until_pause(state: &mut ConnectionState, text: &'static str, now: Instant) -> usize {
        let mut count = 0;
        while !state.is_paused() {
            assert!(frame(state, text, now).actions.close.is_none());
            count += 1;
        }
        count
    }

    #[test]
    fn a_client_over_its_rate_is_read_at_its_rate() {
        let start = Instant::now();
        let (mut state, _) = connection("singo", start);
        assert_eq!(frames_until_pause(&mut state, "{}", start), 401);
        for count in 1..100 {
            let paid = state.poll_timeout();
            assert_eq!(paid - start, Duration::from_millis(10) * count);
            assert!(state.handle_timeout(paid).actions.close.is_none());
            assert_eq!(frames_until_pause(&mut state, "{}", paid), 1);
        }
    }

    #[test]
    fn a_client_that_stays_over_its_rate_is_closed_after_60_seconds() {
        let start = Instant::now();
        let (mut state, _) = connection("singo", start);
        let mut now = start;
        let output = loop {
            frames_until_pause(&mut state, "{}", now);
            now = state.poll_timeout();
            let output = state.handle_timeout(now);
            if output.actions.close.is_some() {
                break output;
            }
        };
        assert_eq!(output.actions.close, Some(CloseReason::FLOOD));
        assert!(output.actions.frames[0].contains("too-many-frames"));
        assert_eq!((now - start).as_secs(), 60);
    }

    #[test]
    fn a_paused_client_counts_as_alive_and_is_pinged() {
        let start = Instant::now();
        let limits = Limits {
            flood_secs: 0,
            ..Limits::default()
        };
        let (mut state, _) = limited_connection("singo", &limits, start);
        frames_until_pause(&mut state, "{}", start);
        let charges = PendingCharges {
            deliveries: 20_000 + 4000 * 100,
            ..PendingCharges::default()
        };
        state.on_charges(&charges, start);
        let probe = Event::Probe(ResourceKey::Name(switchboard_core::NameId::in_space(
            SpaceName::default(),
            switchboard_core::DisplayName::parse("ada", 0).expect("a name"),
        )));
        let output = state.on_event(&probe, start, 0);
        assert!(matches!(
            output.actions.requests[..],
            [HubRequest::Alive(_)]
        ));
        let mut pings = 0;
        while state.is_paused() {
            let now = state.poll_timeout();
            let output = state.handle_timeout(now);
            assert!(output.actions.close.is_none(), "after {:?}", now - start);
            pings += usize::from(output.ping);
        }
        assert!(pings >= 3, "{pings} pings in 100 seconds");
        let gone = loop {
            let now = state.poll_timeout();
            if state.handle_timeout(now).actions.close == Some(CloseReason::GONE) {
                break now - start;
            }
        };
        assert_eq!(gone.as_secs(), 160, "60 seconds after the pause");
    }

    #[test]
    fn pongs_to_challenges_by_other_clients_are_not_charged() {
        let start = Instant::now();
        let (mut state, _) = connection("mesh", start);
        let probe = Event::Probe(ResourceKey::Name(switchboard_core::NameId::in_space(
            SpaceName::default(),
            switchboard_core::DisplayName::parse("ada", 0).expect("a name"),
        )));
        for _ in 0..1000 {
            assert!(state.on_event(&probe, start, 0).ping);
            drop(state.on_pong(start));
        }
        assert!(!state.is_paused(), "the server has asked for these pongs");
        for _ in 0..401 {
            drop(state.on_pong(start));
        }
        assert!(state.is_paused(), "nothing has asked for these");
    }

    #[test]
    fn queued_joins_of_a_session_are_charged_when_they_are_sent() {
        let start = Instant::now();
        let limits = Limits {
            deliveries_burst: 100,
            ..Limits::default()
        };
        let (mut state, _) = limited_connection("y-webrtc", &limits, start);
        let topics: Vec<_> = (0..200).map(|topic| format!("\"t{topic}\"")).collect();
        let topics = topics.join(",");
        let subscribe = ByteString::from(format!(r#"{{"type":"subscribe","topics":[{topics}]}}"#));
        let mut requests = state
            .on_frame(ClientFrame::Text(&subscribe), start, 0)
            .actions
            .requests;
        assert!(
            !state.is_paused(),
            "the first {} are allowed",
            requests.len()
        );
        let mut joins = 0;
        while let Some(request) = requests.pop() {
            let HubRequest::Join(room, ..) = request else {
                continue;
            };
            joins += 1;
            let others = Vec::new();
            let joined = Event::Joined { room, others };
            requests.extend(state.on_event(&joined, start, 0).actions.requests);
        }
        assert_eq!(joins, 200);
        assert!(state.is_paused());
    }

    #[test]
    fn a_frame_with_many_topics_is_charged_as_one_frame() {
        let start = Instant::now();
        let (mut state, _) = connection("y-webrtc", start);
        let topics = r#"["a","b","c","d","e","f","g","h","i","j"]"#;
        let frames = ["subscribe", "unsubscribe"]
            .map(|kind| ByteString::from(format!(r#"{{"type":"{kind}","topics":{topics}}}"#)));
        let mut taken = 0;
        while !state.is_paused() {
            drop(state.on_frame(ClientFrame::Text(&frames[taken % 2]), start, 0));
            taken += 1;
        }
        assert_eq!(taken, 401);
    }

    #[test]
    fn bytes_are_charged_where_they_are_delivered() {
        let start = Instant::now();
        let largest = ByteString::from("x".repeat(Limits::default().frame_bytes));
        let (mut state, _) = connection("mesh", start);
        for _ in 0..400 {
            drop(state.on_frame(ClientFrame::Text(&largest), start, 0));
        }
        assert!(!state.is_paused(), "these reach no peer");
    }

    #[test]
    fn singo_sends_its_ping_frame_every_30_seconds() {
        let start = Instant::now();
        let (mut state, _) = connection("singo", start);
        drop(frame(
            &mut state,
            r#"{"type":"join","payload":{"room_id":"r"}}"#,
            start,
        ));
        let output = state.handle_timeout(start + Duration::from_secs(30));
        assert_eq!(output.actions.frames, [r#"{"type":"ping"}"#]);
        assert!(
            state
                .handle_timeout(start + Duration::from_secs(31))
                .actions
                .frames
                .is_empty()
        );
    }

    #[test]
    fn a_probe_causes_a_ping_and_the_next_sign_of_life_answers_it() {
        let start = Instant::now();
        let (mut state, _) = connection("mesh", start);
        let room = RoomId::shared(SpaceName::default(), RoomName::parse("r", 0).unwrap());
        let resource = ResourceKey::Address(room, Address::parse("a", 0).unwrap());
        assert!(
            state
                .on_event(&Event::Probe(resource.clone()), start, 0)
                .ping
        );
        let requests = state.on_control(start).actions.requests;
        assert!(matches!(&requests[..], [HubRequest::Alive(alive)] if *alive == resource));
        assert!(state.on_control(start).actions.requests.is_empty());
    }
}
