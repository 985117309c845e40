//! One connection, whatever carries it: its conversation, its heartbeat, its share of frames.
//!
//! A machine like the hub: inputs with the time go in, [`ConnectionActions`] come out, `poll_timeout` says
//! when it wants to be called.

use std::time::{Duration, Instant};

use switchboard_core::{DisconnectReason, ErrorCode, Event, HubRequest, Limits, Peer, ResourceKey};
use switchboard_dialect::{
    Actions, ClientFrame, ClientSession, CloseReason, FirstFrameTimeout, WebhookRequest,
};

use crate::{
    budget::{Budgets, SpentBudgets},
    outbox::PendingCharges,
};

/// The least time for the first frame of a client after nothing was read from it.
const AFTER_PAUSE: Duration = Duration::from_secs(5);

/// How a dead client is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// A ping is sent this often.
    pub ping: Duration,
    /// A client that has shown no sign of life for so long is gone.
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

/// What the carrier has to do: the turn, and then a ping if one is wanted.
#[derive(Debug, Default)]
pub(crate) struct ConnectionActions {
    pub(crate) actions: Actions,
    pub(crate) ping: bool,
}

impl From<Actions> for ConnectionActions {
    fn from(turn: Actions) -> Self {
        Self {
            ping: turn.probe.is_some(),
            actions: turn,
        }
    }
}

#[derive(Debug)]
pub(crate) struct ConnectionState {
    session: ClientSession,
    budgets: Budgets,
    /// Until when nothing is read from the client: until its debt is paid.
    paused_until: Option<Instant>,
    heartbeat: Heartbeat,
    last_sign: Instant,
    next_ping: Instant,
    /// Pings whose pongs have not come. These pongs are not charged: the server has asked for them.
    pings_unanswered: u32,
    first_frame: Option<Instant>,
    tick: Option<(Duration, Instant)>,
    /// Names of ours that somebody claims; the next sign of life answers for them.
    probes: Vec<ResourceKey>,
}

impl ConnectionState {
    /// A new connection and its first actions. `opened` is what [`ClientSession::open`] gave.
    pub(crate) fn new(
        opened: (ClientSession, Actions),
        limits: &Limits,
        heartbeat: Heartbeat,
        now: Instant,
    ) -> (Self, ConnectionActions) {
        let (conversation, turn) = opened;
        let wait = match turn.first_frame {
            FirstFrameTimeout::Default => Some(Duration::from_secs(limits.first_frame_secs)),
            FirstFrameTimeout::Within(wait) => Some(wait),
            FirstFrameTimeout::Never => None,
        };
        let mut line = Self {
            session: conversation,
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
        let steps = line.actions(turn, now);
        (line, steps)
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

    /// A frame of the client's has come.
    pub(crate) fn on_frame(
        &mut self,
        frame: ClientFrame<'_>,
        now: Instant,
        unix_secs: u64,
    ) -> ConnectionActions {
        self.budgets.charge_frame(now);
        self.first_frame = None;
        let mut turn = self.session.on_frame(frame, unix_secs);
        turn.requests.splice(0..0, self.note_sign_of_life(now));
        self.actions(turn, now)
    }

    /// The hub has charged this for the client's frames. Returns how many peers it has reached for the first
    /// time.
    pub(crate) fn on_charges(&mut self, charges: &PendingCharges, now: Instant) -> usize {
        let peers = self.budgets.charge(charges, now);
        self.pause(now);
        peers
    }

    /// Whether a budget is in debt, so that nothing is to be read from the client.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// A ping or a fragment of the client's has come.
    pub(crate) fn on_control(&mut self, now: Instant) -> ConnectionActions {
        self.budgets.charge_frame(now);
        self.pause(now);
        self.on_sign_of_life(now)
    }

    /// A pong of the client's has come. The claims of other clients to its name cause pings, so a pong is
    /// charged only if it answers none.
    pub(crate) fn on_pong(&mut self, now: Instant) -> ConnectionActions {
        match self.pings_unanswered.checked_sub(1) {
            Some(left) => {
                self.pings_unanswered = left;
                self.on_sign_of_life(now)
            }
            None => self.on_control(now),
        }
    }

    /// The client, which was slow, has taken some of what was sent.
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

    /// The hub tells something.
    pub(crate) fn on_event(
        &mut self,
        event: &Event,
        now: Instant,
        unix_secs: u64,
    ) -> ConnectionActions {
        self.budgets.observe(event);
        let turn = self.session.on_event(event, unix_secs);
        self.actions(turn, now)
    }

    /// The request of an earlier turn is answered.
    pub(crate) fn on_webhook_response(
        &mut self,
        reply: Option<&str>,
        now: Instant,
        unix_secs: u64,
    ) -> ConnectionActions {
        let turn = self.session.on_webhook_response(reply, unix_secs);
        self.actions(turn, now)
    }

    /// The carrier has noticed that the client breaks a rule.
    pub(crate) fn on_violation(
        &mut self,
        reason: ErrorCode,
        close: CloseReason,
        now: Instant,
    ) -> ConnectionActions {
        let turn = self.session.on_violation(reason, close);
        self.actions(turn, now)
    }

    /// When [`ConnectionState::handle_timeout`] is to be called.
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

    /// When the client counts as gone, or, while it is not read from, as flooding the server.
    fn silence_deadline(&self) -> Instant {
        let gone = self.last_sign + self.heartbeat.gone;
        match self.paused_until {
            None => gone,
            Some(until) => self.budgets.flood_deadline().unwrap_or(until),
        }
    }

    /// Does what is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> ConnectionActions {
        if self.is_paused() && self.budgets.flood_deadline().is_some_and(|at| now >= at) {
            return self.flooded(now);
        }
        if self.paused_until.is_some_and(|until| now >= until) {
            self.paused_until = None;
            // The client could not show that it lives while it was not read from.
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
        let turn = match ticked {
            Some((every, _)) => {
                self.tick = Some((every, now + every));
                self.session.on_tick()
            }
            None => Actions::default(),
        };
        let mut steps = self.actions(turn, now);
        if now >= self.next_ping {
            self.next_ping = now + self.heartbeat.ping;
            if !steps.ping {
                steps.ping = true;
                self.pings_unanswered = self.pings_unanswered.saturating_add(1);
            }
        }
        steps
    }

    /// What to ask the hubs when the connection is gone.
    pub(crate) fn disconnect(&mut self, parting: DisconnectReason) -> Vec<HubRequest> {
        self.session.disconnect(parting)
    }

    /// The last request, when the connection is gone.
    pub(crate) fn on_end(&mut self) -> Option<WebhookRequest> {
        self.session.on_end()
    }

    fn flooded(&mut self, now: Instant) -> ConnectionActions {
        self.on_violation(ErrorCode::TooManyFrames, CloseReason::FLOOD, now)
    }

    /// Stops reading while a budget is in debt.
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

    fn actions(&mut self, mut turn: Actions, now: Instant) -> ConnectionActions {
        self.budgets.charge_requests(&turn.requests, now);
        self.pause(now);
        if let Some(every) = turn.tick.take() {
            self.tick = Some((every, now + every));
        }
        let probe = turn.probe.take();
        let ping = probe.is_some();
        match probe {
            // The answer would not be read while the client is in debt; its recent frames show that it lives.
            Some(place) if self.is_paused() => turn.requests.push(HubRequest::Alive(place)),
            probe => self.probes.extend(probe),
        }
        self.pings_unanswered = self.pings_unanswered.saturating_add(ping.into());
        ConnectionActions {
            actions: turn,
            ping,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytestring::ByteString;
    use switchboard_core::{Address, Identity, PeerId, RoomId, RoomName, SpaceName};
    use switchboard_dialect::{Endpoint, Handshake, Query, find};

    use super::*;

    fn line(dialect: &str, now: Instant) -> (ConnectionState, ConnectionActions) {
        limited_line(dialect, &Limits::default(), now)
    }

    fn limited_line(
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

    fn frame(line: &mut ConnectionState, text: &'static str, now: Instant) -> ConnectionActions {
        line.on_frame(ClientFrame::Text(&ByteString::from_static(text)), now, 0)
    }

    #[test]
    fn pings_every_25_seconds_and_gives_up_after_60() {
        let start = Instant::now();
        let (mut line, _) = line("mesh", start);
        let mut pings = Vec::new();
        let gone = loop {
            let now = line.poll_timeout();
            let steps = line.handle_timeout(now);
            if let Some(close) = steps.actions.close {
                break (now - start, close);
            }
            assert!(steps.ping);
            pings.push((now - start).as_secs());
        };
        assert_eq!(pings, [25, 50]);
        assert_eq!(gone, (Duration::from_secs(60), CloseReason::GONE));
    }

    #[test]
    fn any_frame_is_a_sign_of_life() {
        let start = Instant::now();
        let (mut line, _) = line("mesh", start);
        let later = start + Duration::from_secs(50);
        drop(line.on_control(later));
        assert!(
            line.handle_timeout(start + Duration::from_secs(60))
                .actions
                .close
                .is_none()
        );
        assert_eq!(
            line.handle_timeout(start + Duration::from_secs(110))
                .actions
                .close,
            Some(CloseReason::GONE)
        );
    }

    #[test]
    fn the_first_frame_is_waited_for_as_the_dialect_says() {
        let start = Instant::now();
        for (dialect, secs) in [("p2p", 5), ("lightstream", 30), ("singo", 30)] {
            let (mut line, _) = line(dialect, start);
            assert!(
                line.handle_timeout(start + Duration::from_secs(secs - 1))
                    .actions
                    .close
                    .is_none()
            );
            let steps = line.handle_timeout(start + Duration::from_secs(secs));
            assert!(
                steps.actions.close.is_some_and(|close| close.code == 1008),
                "{dialect}"
            );
            assert_eq!(steps.actions.frames.len(), 1, "{dialect} says why");
        }
        let (mut line, _) = line("lightstream", start);
        drop(frame(&mut line, "{}", start));
        assert!(
            line.handle_timeout(start + Duration::from_secs(31))
                .actions
                .close
                .is_none()
        );
    }

    /// Sends frames until the line is paused, and gives how many that took.
    fn frames_until_pause(line: &mut ConnectionState, text: &'static str, now: Instant) -> usize {
        let mut count = 0;
        while !line.is_paused() {
            assert!(frame(line, text, now).actions.close.is_none());
            count += 1;
        }
        count
    }

    #[test]
    fn a_client_over_its_rate_is_read_at_its_rate() {
        let start = Instant::now();
        let (mut line, _) = line("singo", start);
        assert_eq!(frames_until_pause(&mut line, "{}", start), 401);
        for count in 1..100 {
            let paid = line.poll_timeout();
            assert_eq!(paid - start, Duration::from_millis(10) * count);
            assert!(line.handle_timeout(paid).actions.close.is_none());
            assert_eq!(frames_until_pause(&mut line, "{}", paid), 1);
        }
    }

    #[test]
    fn a_client_that_stays_over_its_rate_is_closed_after_60_seconds() {
        let start = Instant::now();
        let (mut line, _) = line("singo", start);
        let mut now = start;
        let steps = loop {
            frames_until_pause(&mut line, "{}", now);
            now = line.poll_timeout();
            let steps = line.handle_timeout(now);
            if steps.actions.close.is_some() {
                break steps;
            }
        };
        assert_eq!(steps.actions.close, Some(CloseReason::FLOOD));
        assert!(steps.actions.frames[0].contains("too-many-frames"));
        assert_eq!((now - start).as_secs(), 60);
    }

    #[test]
    fn a_paused_client_counts_as_alive_and_is_pinged() {
        let start = Instant::now();
        let limits = Limits {
            flood_secs: 0,
            ..Limits::default()
        };
        let (mut line, _) = limited_line("singo", &limits, start);
        frames_until_pause(&mut line, "{}", start);
        let charges = PendingCharges {
            deliveries: 20_000 + 4000 * 100,
            ..PendingCharges::default()
        };
        line.on_charges(&charges, start);
        let probe = Event::Probe(ResourceKey::Name(switchboard_core::NameId::in_space(
            SpaceName::default(),
            switchboard_core::DisplayName::parse("ada", 0).expect("a name"),
        )));
        let steps = line.on_event(&probe, start, 0);
        assert!(matches!(steps.actions.requests[..], [HubRequest::Alive(_)]));
        let mut pings = 0;
        while line.is_paused() {
            let now = line.poll_timeout();
            let steps = line.handle_timeout(now);
            assert!(steps.actions.close.is_none(), "after {:?}", now - start);
            pings += usize::from(steps.ping);
        }
        assert!(pings >= 3, "{pings} pings in 100 seconds");
        let gone = loop {
            let now = line.poll_timeout();
            if line.handle_timeout(now).actions.close == Some(CloseReason::GONE) {
                break now - start;
            }
        };
        assert_eq!(gone.as_secs(), 160, "60 seconds after the pause");
    }

    #[test]
    fn claims_of_others_to_a_name_do_not_put_its_holder_in_debt() {
        let start = Instant::now();
        let (mut line, _) = line("mesh", start);
        let probe = Event::Probe(ResourceKey::Name(switchboard_core::NameId::in_space(
            SpaceName::default(),
            switchboard_core::DisplayName::parse("ada", 0).expect("a name"),
        )));
        for _ in 0..1000 {
            assert!(line.on_event(&probe, start, 0).ping);
            drop(line.on_pong(start));
        }
        assert!(!line.is_paused(), "the server has asked for these pongs");
        for _ in 0..401 {
            drop(line.on_pong(start));
        }
        assert!(line.is_paused(), "nothing has asked for these");
    }

    #[test]
    fn joins_that_a_session_asks_for_later_are_charged() {
        let start = Instant::now();
        let limits = Limits {
            deliveries_burst: 100,
            ..Limits::default()
        };
        let (mut line, _) = limited_line("y-webrtc", &limits, start);
        let topics: Vec<_> = (0..200).map(|topic| format!("\"t{topic}\"")).collect();
        let topics = topics.join(",");
        let subscribe = ByteString::from(format!(r#"{{"type":"subscribe","topics":[{topics}]}}"#));
        let mut asks = line
            .on_frame(ClientFrame::Text(&subscribe), start, 0)
            .actions
            .requests;
        assert!(!line.is_paused(), "the first {} are allowed", asks.len());
        let mut joins = 0;
        while let Some(ask) = asks.pop() {
            let HubRequest::Join(room, ..) = ask else {
                continue;
            };
            joins += 1;
            let others = Vec::new();
            let joined = Event::Joined { room, others };
            asks.extend(line.on_event(&joined, start, 0).actions.requests);
        }
        assert_eq!(joins, 200);
        assert!(line.is_paused());
    }

    #[test]
    fn a_frame_with_many_topics_is_one_frame() {
        let start = Instant::now();
        let (mut line, _) = line("y-webrtc", start);
        let topics = r#"["a","b","c","d","e","f","g","h","i","j"]"#;
        let frames = ["subscribe", "unsubscribe"]
            .map(|kind| ByteString::from(format!(r#"{{"type":"{kind}","topics":{topics}}}"#)));
        let mut taken = 0;
        while !line.is_paused() {
            drop(line.on_frame(ClientFrame::Text(&frames[taken % 2]), start, 0));
            taken += 1;
        }
        assert_eq!(taken, 401);
    }

    #[test]
    fn bytes_are_charged_where_they_are_delivered() {
        let start = Instant::now();
        let largest = ByteString::from("x".repeat(Limits::default().frame_bytes));
        let (mut line, _) = line("mesh", start);
        for _ in 0..400 {
            drop(line.on_frame(ClientFrame::Text(&largest), start, 0));
        }
        assert!(!line.is_paused(), "these reach no peer");
    }

    #[test]
    fn singo_says_ping_every_30_seconds() {
        let start = Instant::now();
        let (mut line, _) = line("singo", start);
        drop(frame(
            &mut line,
            r#"{"type":"join","payload":{"room_id":"r"}}"#,
            start,
        ));
        let steps = line.handle_timeout(start + Duration::from_secs(30));
        assert_eq!(steps.actions.frames, [r#"{"type":"ping"}"#]);
        assert!(
            line.handle_timeout(start + Duration::from_secs(31))
                .actions
                .frames
                .is_empty()
        );
    }

    #[test]
    fn a_probe_is_pinged_and_answered_by_the_next_sign() {
        let start = Instant::now();
        let (mut line, _) = line("mesh", start);
        let room = RoomId::shared(SpaceName::default(), RoomName::parse("r", 0).unwrap());
        let place = ResourceKey::Address(room, Address::parse("a", 0).unwrap());
        assert!(line.on_event(&Event::Probe(place.clone()), start, 0).ping);
        let asks = line.on_control(start).actions.requests;
        assert!(matches!(&asks[..], [HubRequest::Alive(alive)] if *alive == place));
        assert!(line.on_control(start).actions.requests.is_empty());
    }
}
