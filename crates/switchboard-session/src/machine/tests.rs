use std::sync::Arc;

use bytestring::ByteString;
use switchboard_core::{
    Address, DialectTraits, Identity, PeerId, RequestError, RoomId, RoomName, SpaceName,
};
use switchboard_dialects::{
    Content, Dialect, Endpoint, Handshake, KeepSession, Query, Session, find,
};

use super::*;
use crate::SessionAccess;

pub(super) fn machine(dialect: &str, now: Instant) -> SessionMachine {
    limited_machine(dialect, &Arc::default(), now)
}

fn limited_machine(dialect: &str, limits: &Arc<Limits>, now: Instant) -> SessionMachine {
    let (session, mut first) =
        ClientSession::open(find(dialect), handshake(), SessionAccess::default());
    SessionMachine::new(session, &mut first, limits, Heartbeat::default(), now)
}

pub(super) fn handshake() -> Handshake {
    Handshake {
        peer: PeerId::from_random([1; 16]),
        identity: Identity::Claimed,
        endpoint: Endpoint::MAIN,
        params: Query::default(),
        query: Query::default(),
        random: [2; 32],
        unix_ms: 0,
        limits: Arc::default(),
        settings: Arc::default(),
    }
}

/// The output of one step.
pub(super) fn step(act: impl FnOnce(&mut SessionOutput)) -> SessionOutput {
    let mut output = SessionOutput::default();
    act(&mut output);
    output
}

pub(super) fn frame(state: &mut SessionMachine, text: &str, now: Instant) -> SessionOutput {
    let text = ByteString::from(text);
    step(|output| state.on_frame(ClientFrame::Text(&text), now, output))
}

pub(super) fn event(state: &mut SessionMachine, event: &Event, now: Instant) -> SessionOutput {
    step(|output| {
        let has_only_frames = state.on_event(event, now, output);
        assert_eq!(has_only_frames, output.has_only_frames());
    })
}

pub(super) fn decide(
    state: &mut SessionMachine,
    decision: &Decision,
    now: Instant,
) -> (Option<Resumed>, SessionOutput) {
    let mut output = SessionOutput::default();
    (state.on_decision(decision, now, &mut output), output)
}

pub(super) fn timeout(state: &mut SessionMachine, now: Instant) -> SessionOutput {
    step(|output| state.handle_timeout(now, output))
}

#[test]
fn pings_are_sent_every_25_seconds_and_the_client_is_gone_after_60() {
    let start = Instant::now();
    let mut state = machine("mesh", start);
    let mut pings = Vec::new();
    let gone = loop {
        let now = state.poll_timeout();
        let output = timeout(&mut state, now);
        if let Some(close) = output.close {
            break (now - start, close);
        }
        assert!(output.ping);
        pings.push((now - start).as_secs());
    };
    assert_eq!(pings, [25, 50]);
    assert_eq!(gone, (Duration::from_secs(60), CloseReason::GONE));
}

pub(super) fn room() -> RoomId {
    RoomId::shared(
        SpaceName::default(),
        RoomName::parse("r", 0).expect("a name"),
    )
}

fn list_request() -> SessionOutput {
    let requests = vec![HubRequest::List(room())];
    SessionOutput {
        requests,
        ..SessionOutput::default()
    }
}

pub(super) fn suspend_on_claim(state: &mut SessionMachine) {
    let (space, room) = (SpaceName::default(), None);
    let name = switchboard_core::DisplayName::parse("ada", 0).expect("a name");
    let name = switchboard_core::NameId { space, room, name };
    let error = RequestError::claim(ErrorCode::Denied(None), name.clone());
    let claimant = switchboard_core::Claimant {
        identity: Identity::Claimed,
        dialect: &DialectTraits::DEFAULT,
        policy: None,
    };
    let claim = HubRequest::Claim(name, Box::new(claimant));
    state.suspend(Awaited::Access(claim, error), list_request());
}

#[test]
fn while_suspended_only_pings_are_sent_and_other_timeouts_wait_for_the_decision() {
    let start = Instant::now();
    let mut state = machine("singo", start);
    suspend_on_claim(&mut state);
    let mut pings = Vec::new();
    while pings.len() < 4 {
        let now = state.poll_timeout();
        let output = timeout(&mut state, now);
        assert!(output.close.is_none() && output.frames.is_empty());
        assert!(output.ping);
        pings.push((now - start).as_secs());
    }
    assert_eq!(pings, [25, 50, 75, 100]);
    let now = start + Duration::from_secs(101);
    drop(decide(&mut state, &Decision::Access(Ok(())), now).0);
    assert_eq!(timeout(&mut state, now).close, Some(CloseReason::GONE));
}

#[test]
fn requests_wait_for_the_decision_but_signs_of_life_and_a_close_do_not() {
    let start = Instant::now();
    let mut state = machine("mesh", start);
    suspend_on_claim(&mut state);
    assert!(!state.defers_events());
    let mut later = list_request();
    let alive = HubRequest::Alive(ResourceKey::Room(room()));
    later.requests.push(alive);
    state.queue_behind_decision(&mut later);
    assert!(matches!(later.requests[..], [HubRequest::Alive(_)]));
    for _ in 0..62 {
        let mut list = list_request();
        state.queue_behind_decision(&mut list);
        assert!(list.requests.is_empty());
    }
    assert!(state.defers_events(), "a full queue must defer events");
    let mut close = SessionOutput {
        close: Some(CloseReason::KICKED),
        ..SessionOutput::default()
    };
    state.queue_behind_decision(&mut close);
    assert_eq!(
        close.close,
        Some(CloseReason::KICKED),
        "a close must not wait for the decision"
    );
    let resumed = decide(&mut state, &Decision::Access(Ok(())), start).0;
    let resumed = resumed.expect("a decision was pending");
    assert!(matches!(resumed.authorized[..], [HubRequest::Claim(..)]));
    assert!(resumed.rejected.is_empty());
    assert_eq!(resumed.queued.requests.len(), 64);
    assert!(!state.is_suspended());
}

#[test]
fn a_denied_request_is_rejected_and_the_requests_behind_it_are_sent() {
    let start = Instant::now();
    let mut state = machine("mesh", start);
    suspend_on_claim(&mut state);
    let resumed = decide(&mut state, &Decision::Access(Err(None)), start).0;
    let resumed = resumed.expect("a decision was pending");
    assert!(resumed.authorized.is_empty());
    let error = &resumed.rejected[0];
    assert_eq!(error.code, ErrorCode::Denied(None));
    assert_eq!(resumed.queued.requests.len(), 1);
    assert!(
        decide(&mut state, &Decision::Access(Ok(())), start)
            .0
            .is_none()
    );
}

#[test]
fn events_wait_for_the_response_to_a_webhook() {
    let start = Instant::now();
    let mut state = machine("mesh", start);
    state.suspend(Awaited::Webhook, SessionOutput::default());
    assert!(state.defers_events());
    let close = SessionOutput {
        close: Some(CloseReason::DONE),
        ..SessionOutput::default()
    };
    assert!(state.append_to_decision(close).is_none());
    let resumed = decide(&mut state, &Decision::Webhook(None), start).0;
    let resumed = resumed.expect("a response was pending");
    assert_eq!(resumed.queued.close, Some(CloseReason::DONE));
}

#[test]
fn frames_that_wait_for_a_decision_are_signs_of_life() {
    let start = Instant::now();
    let mut state = machine("mesh", start);
    suspend_on_claim(&mut state);
    let resource = ResourceKey::Room(room());
    let probe = Event::Probe(resource.clone());
    assert!(event(&mut state, &probe, start).ping);
    let requests = step(|output| state.on_sign_of_life(start, output)).requests;
    assert!(matches!(&requests[..], [HubRequest::Alive(alive)] if *alive == resource));
}

#[test]
fn a_control_frame_is_a_sign_of_life() {
    let start = Instant::now();
    let mut state = machine("mesh", start);
    let later = start + Duration::from_secs(50);
    drop(step(|output| state.on_control(later, output)));
    assert!(
        timeout(&mut state, start + Duration::from_secs(60))
            .close
            .is_none()
    );
    assert_eq!(
        timeout(&mut state, start + Duration::from_secs(110)).close,
        Some(CloseReason::GONE)
    );
}

#[test]
fn the_timeout_of_the_first_frame_depends_on_the_dialect() {
    let start = Instant::now();
    for (dialect, secs) in [("p2p", 5), ("lightstream", 30), ("singo", 30)] {
        let mut state = machine(dialect, start);
        assert!(
            timeout(&mut state, start + Duration::from_secs(secs - 1))
                .close
                .is_none()
        );
        let output = timeout(&mut state, start + Duration::from_secs(secs));
        assert!(
            output.close.is_some_and(|close| close.code == 1008),
            "{dialect}"
        );
        assert_eq!(output.frames.len(), 1, "{dialect} sends an error");
    }
    let mut state = machine("lightstream", start);
    drop(frame(&mut state, "{}", start));
    assert!(
        timeout(&mut state, start + Duration::from_secs(31))
            .close
            .is_none()
    );
}

/// Sends frames until the connection is paused, and returns their number.
fn frames_until_pause(state: &mut SessionMachine, text: &'static str, now: Instant) -> usize {
    let mut count = 0;
    while !state.is_paused() {
        assert!(frame(state, text, now).close.is_none());
        count += 1;
    }
    count
}

#[test]
fn frames_of_a_client_over_its_rate_are_read_at_the_allowed_rate() {
    let start = Instant::now();
    let mut state = machine("singo", start);
    assert_eq!(frames_until_pause(&mut state, "{}", start), 401);
    for count in 1..100 {
        let paid = state.poll_timeout();
        assert_eq!(paid - start, Duration::from_millis(10) * count);
        assert!(timeout(&mut state, paid).close.is_none());
        assert_eq!(frames_until_pause(&mut state, "{}", paid), 1);
    }
}

#[test]
fn a_client_that_stays_over_its_rate_is_closed_after_60_seconds() {
    let start = Instant::now();
    let mut state = machine("singo", start);
    let mut now = start;
    let output = loop {
        frames_until_pause(&mut state, "{}", now);
        now = state.poll_timeout();
        let output = timeout(&mut state, now);
        if output.close.is_some() {
            break output;
        }
    };
    assert_eq!(output.close, Some(CloseReason::FLOOD));
    assert!(output.frames[0].contains("too-many-frames"));
    assert_eq!((now - start).as_secs(), 60);
}

#[test]
fn a_paused_client_is_taken_for_alive_and_is_pinged() {
    let start = Instant::now();
    let limits = Arc::new(Limits {
        flood_secs: 0,
        ..Limits::default()
    });
    let mut state = limited_machine("singo", &limits, start);
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
    let output = event(&mut state, &probe, start);
    assert!(matches!(output.requests[..], [HubRequest::Alive(_)]));
    let mut pings = 0;
    while state.is_paused() {
        let now = state.poll_timeout();
        let output = timeout(&mut state, now);
        assert!(output.close.is_none(), "after {:?}", now - start);
        pings += usize::from(output.ping);
    }
    assert!(pings >= 3, "{pings} pings in 100 seconds");
    let gone = loop {
        let now = state.poll_timeout();
        if timeout(&mut state, now).close == Some(CloseReason::GONE) {
            break now - start;
        }
    };
    assert_eq!(gone.as_secs(), 160, "60 seconds after the pause");
}

#[test]
fn pongs_to_challenges_by_other_clients_are_not_charged() {
    let start = Instant::now();
    let mut state = machine("mesh", start);
    let probe = Event::Probe(ResourceKey::Name(switchboard_core::NameId::in_space(
        SpaceName::default(),
        switchboard_core::DisplayName::parse("ada", 0).expect("a name"),
    )));
    for _ in 0..1000 {
        assert!(event(&mut state, &probe, start).ping);
        drop(step(|output| state.on_pong(start, output)));
    }
    assert!(!state.is_paused(), "the server has requested these pongs");
    for _ in 0..401 {
        drop(step(|output| state.on_pong(start, output)));
    }
    assert!(state.is_paused(), "unsolicited pongs must be charged");
}

#[test]
fn queued_joins_of_a_session_are_charged_when_they_are_sent() {
    let start = Instant::now();
    let limits = Arc::new(Limits {
        deliveries_burst: 100,
        ..Limits::default()
    });
    let mut state = limited_machine("y-webrtc", &limits, start);
    let topics: Vec<_> = (0..200).map(|topic| format!("\"t{topic}\"")).collect();
    let topics = topics.join(",");
    let subscribe = ByteString::from(format!(r#"{{"type":"subscribe","topics":[{topics}]}}"#));
    let mut requests = frame(&mut state, &subscribe, start).requests;
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
        requests.extend(event(&mut state, &joined, start).requests);
    }
    assert_eq!(joins, 200);
    assert!(state.is_paused());
}

#[test]
fn a_frame_with_many_topics_is_charged_as_one_frame() {
    let start = Instant::now();
    let mut state = machine("y-webrtc", start);
    let topics = r#"["a","b","c","d","e","f","g","h","i","j"]"#;
    let frames = ["subscribe", "unsubscribe"]
        .map(|kind| ByteString::from(format!(r#"{{"type":"{kind}","topics":{topics}}}"#)));
    let mut taken = 0;
    while !state.is_paused() {
        drop(frame(&mut state, &frames[taken % 2], start));
        taken += 1;
    }
    assert_eq!(taken, 401);
}

#[test]
fn bytes_of_frames_that_reach_no_peer_are_not_charged() {
    let start = Instant::now();
    let largest = ByteString::from("x".repeat(Limits::default().frame_bytes));
    let mut state = machine("mesh", start);
    for _ in 0..400 {
        drop(frame(&mut state, &largest, start));
    }
    assert!(!state.is_paused());
}

#[test]
fn singo_sends_its_ping_frame_every_30_seconds() {
    let start = Instant::now();
    let mut state = machine("singo", start);
    drop(frame(
        &mut state,
        r#"{"type":"join","payload":{"room_id":"r"}}"#,
        start,
    ));
    let output = timeout(&mut state, start + Duration::from_secs(30));
    assert_eq!(output.frames, [r#"{"type":"ping"}"#]);
    assert!(
        timeout(&mut state, start + Duration::from_secs(31))
            .frames
            .is_empty()
    );
}

/// A dialect whose sessions are kept for a minute after their connection is lost, so that their clients can resume.
#[derive(Debug)]
struct Kept;

impl Dialect for Kept {
    fn traits(&self) -> &'static DialectTraits {
        &DialectTraits::DEFAULT
    }

    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn open(&self, _handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        let (token, time) = ("secret".to_owned(), Duration::from_secs(60));
        output.keep = Some(Box::new(KeepSession { token, time }));
        output.frames.push("welcome".into());
        Box::new(Self)
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

impl Session for Kept {
    fn on_frame(
        &mut self,
        _frame: ClientFrame<'_>,
        output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        output.frames.push("answer".into());
        Ok(())
    }

    fn on_event(&mut self, _event: &Event, _output: &mut SessionOutput) {}
}

fn kept_machine(now: Instant) -> SessionMachine {
    let (session, mut first) =
        ClientSession::open(Some(&Kept), handshake(), SessionAccess::default());
    let (limits, heartbeat) = (Arc::default(), Heartbeat::default());
    SessionMachine::new(session, &mut first, &limits, heartbeat, now)
}

#[test]
fn an_attached_connection_gets_the_missed_frames_and_a_new_heartbeat() {
    let start = Instant::now();
    let mut state = kept_machine(start);
    for _ in 0..300 {
        drop(frame(&mut state, "hello", start));
    }
    let lost = start + Duration::from_secs(70);
    assert_eq!(state.detach(lost), Some(lost + Duration::from_secs(60)));
    let request = |received| ResumeRequest {
        session: state.peer().id(),
        token: "secret".to_owned(),
        received,
    };
    let (request, too_many) = (request(299), request(302));
    let (new_connection, attached) = (kept_machine(start), lost + Duration::from_secs(59));
    let mut output = SessionOutput::default();
    let refused = state.attach(&too_many, new_connection.peer(), attached, &mut output);
    assert_eq!(refused, Err(ResumeError::NotSent));
    let resumed = state.attach(&request, new_connection.peer(), attached, &mut output);
    assert_eq!((resumed, output.frames.len()), (Ok(()), 2));
    drop(timeout(&mut state, attached));
    assert_eq!(state.poll_timeout(), attached + Heartbeat::default().ping);
}

#[test]
fn a_session_ends_with_its_connection_if_its_dialect_does_not_keep_sessions() {
    let start = Instant::now();
    let state = machine("mesh", start);
    assert_eq!(state.detach(start), None);
}

#[test]
fn a_probe_causes_a_ping_and_the_next_sign_of_life_answers_it() {
    let start = Instant::now();
    let mut state = machine("mesh", start);
    let room = RoomId::shared(SpaceName::default(), RoomName::parse("r", 0).unwrap());
    let resource = ResourceKey::Address(room, Address::parse("a", 0).unwrap());
    assert!(event(&mut state, &Event::Probe(resource.clone()), start).ping);
    let requests = step(|output| state.on_control(start, output)).requests;
    assert!(matches!(&requests[..], [HubRequest::Alive(alive)] if *alive == resource));
    assert!(
        step(|output| state.on_control(start, output))
            .requests
            .is_empty()
    );
}

/// A dialect that sets this time as its tick, its first-frame timeout and the time for which sessions are kept.
#[derive(Debug)]
struct OutOfRange(Duration);

impl Dialect for OutOfRange {
    fn traits(&self) -> &'static DialectTraits {
        &DialectTraits::DEFAULT
    }

    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn open(&self, _handshake: &Handshake, output: &mut SessionOutput) -> Box<dyn Session> {
        let (token, time) = ("secret".to_owned(), self.0);
        output.keep = Some(Box::new(KeepSession { token, time }));
        output.tick = Some(self.0);
        output.first_frame = FirstFrameTimeout::Within(self.0);
        Box::new(Self(self.0))
    }

    fn parse_content<'a>(&self, _frame: &'a str) -> Option<Content<'a>> {
        None
    }
}

impl Session for OutOfRange {
    fn on_frame(
        &mut self,
        _frame: ClientFrame<'_>,
        _output: &mut SessionOutput,
    ) -> Result<(), RequestError> {
        Ok(())
    }

    fn on_event(&mut self, _event: &Event, _output: &mut SessionOutput) {}

    fn on_tick(&mut self, output: &mut SessionOutput) {
        output.tick = Some(self.0);
    }
}

#[test]
fn times_of_a_dialect_are_bounded() {
    static DIALECTS: [OutOfRange; 2] = [OutOfRange(Duration::ZERO), OutOfRange(Duration::MAX)];
    let start = Instant::now();
    for dialect in &DIALECTS {
        let (session, mut first) =
            ClientSession::open(Some(dialect), handshake(), SessionAccess::default());
        let (limits, heartbeat) = (Arc::default(), Heartbeat::default());
        let mut state = SessionMachine::new(session, &mut first, &limits, heartbeat, start);
        let mut now = start;
        for _ in 0..2 {
            let next = state.poll_timeout();
            assert!(next > now, "{dialect:?} ticks without a pause");
            now = next;
            drop(timeout(&mut state, now));
        }
        assert!(state.detach(now).is_some());
    }
}
