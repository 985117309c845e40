//! Sessions whose access ends.

use switchboard_dialects::find;

use super::tests::{frame, handshake, suspend_on_claim, timeout};
use super::*;
use crate::SessionAccess;

/// A session that opens ten seconds before its access ends.
fn expiring(dialect: &str, now: Instant) -> SessionMachine {
    let access = SessionAccess {
        expires_at: Some(1_010),
        ..SessionAccess::default()
    };
    let handshake = switchboard_dialects::Handshake {
        unix_ms: 1_000_000,
        ..handshake()
    };
    let (session, mut first) = ClientSession::open(find(dialect), handshake, access);
    SessionMachine::new(
        session,
        &mut first,
        &Arc::default(),
        Heartbeat::default(),
        now,
    )
}

const JOIN: &str = r#"{"type":"join","roomID":"r","senderID":"a"}"#;

#[test]
fn session_ends_with_the_access_of_its_client() {
    let start = Instant::now();
    let mut state = expiring("lightstream", start);
    drop(frame(&mut state, JOIN, start));
    let end = state.poll_timeout();
    assert_eq!(end, start + Duration::from_secs(10));
    let early = timeout(&mut state, end - Duration::from_nanos(1));
    assert_eq!(early.close, None);
    let output = timeout(&mut state, end);
    assert_eq!(output.close, Some(CloseReason::TOKEN_EXPIRED));
    let text = r#"{"type":"error","senderID":"server","SenderID":"server","code":"denied","data":"The access token has expired."}"#;
    assert_eq!(output.frames, [text]);
    let left = state.disconnect(CloseReason::TOKEN_EXPIRED.disconnect_reason());
    let is_announced = |request: &HubRequest| {
        matches!(
            request,
            HubRequest::Leave(_, switchboard_core::LeaveKind::Announced)
        )
    };
    assert!(left.len() == 1 && is_announced(&left[0]));
}

#[test]
fn access_ends_while_the_session_waits_for_a_decision() {
    let start = Instant::now();
    let end = start + Duration::from_secs(10);
    let mut state = expiring("lightstream", start);
    suspend_on_claim(&mut state);
    assert_eq!(state.poll_timeout(), end);
    let output = timeout(&mut state, end);
    assert_eq!(output.close, Some(CloseReason::TOKEN_EXPIRED));
    assert_eq!(output.frames.len(), 1);

    let mut state = expiring("lightstream", start);
    state.suspend(Awaited::Webhook, SessionOutput::default());
    let output = timeout(&mut state, end);
    assert_eq!(output.close, Some(CloseReason::TOKEN_EXPIRED));
    assert!(output.frames.is_empty(), "the session handles nothing");
}

#[test]
fn every_dialect_closes_with_the_code_of_an_expired_token() {
    let start = Instant::now();
    for dialect in switchboard_dialects::ALL {
        let name = dialect.traits().name;
        let mut state = expiring(name, start);
        let output = timeout(&mut state, start + Duration::from_secs(10));
        assert_eq!(output.close, Some(CloseReason::TOKEN_EXPIRED), "{name}");
        assert!(output.frames.len() <= 1, "{name}");
    }
}

#[test]
fn access_without_an_end_has_no_deadline() {
    let start = Instant::now();
    for expires_at in [None, Some(u64::MAX)] {
        let access = SessionAccess {
            expires_at,
            ..SessionAccess::default()
        };
        let (session, mut first) = ClientSession::open(find("mesh"), handshake(), access);
        let (limits, heartbeat) = (Arc::default(), Heartbeat::default());
        let state = SessionMachine::new(session, &mut first, &limits, heartbeat, start);
        assert_eq!(state.poll_timeout(), start + heartbeat.ping);
    }
}
