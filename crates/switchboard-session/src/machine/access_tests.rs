//! Sessions whose access begins with a frame, is renewed, and ends.

use std::sync::Arc;

use switchboard_core::{Grants, Identity, SpaceName};
use switchboard_dialects::find;

use super::tests::{event, frame, handshake, machine, suspend_on_claim, timeout};
use super::*;
use crate::{AuthenticatedClient, CredentialFrames, SessionAccess};

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

/// A client may send frames faster than the timer is polled, and hide the end of its access behind renewals.
#[test]
fn frames_after_the_end_of_the_access_are_not_handled() {
    let start = Instant::now();
    let end = start + Duration::from_secs(10);
    let mut state = expiring("lightstream", start);
    let output = frame(&mut state, JOIN, end);
    assert_eq!(output.close, Some(CloseReason::TOKEN_EXPIRED));
    assert!(output.requests.is_empty(), "{output:?}");

    let mut state = expiring("lightstream", start);
    state.suspend(Awaited::Authentication, SessionOutput::default());
    let refused = Decision::Authentication(Err(AccessRefusal::unavailable()));
    let mut output = SessionOutput::at(1_011);
    drop(state.on_decision(&refused, end, &mut output));
    assert_eq!(output.close, Some(CloseReason::TOKEN_EXPIRED));
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

/// A session whose first frame may or must carry a credential; `None` for the endpoint of all dialects.
fn unauthenticated(
    dialect: Option<&str>,
    frames: CredentialFrames,
    now: Instant,
) -> SessionMachine {
    let access = SessionAccess {
        grants: Grants::none(),
        credential_frames: frames,
        ..SessionAccess::default()
    };
    let dialect = dialect.and_then(find);
    let (session, mut first) = ClientSession::open(dialect, handshake(), access);
    SessionMachine::new(
        session,
        &mut first,
        &Arc::default(),
        Heartbeat::default(),
        now,
    )
}

/// Ada, with these grants, until `expires_at`.
fn ada(grants: &[&str], expires_at: Option<u64>) -> AuthenticatedClient {
    AuthenticatedClient {
        identity: Identity::Proven("ada".into()),
        access: SessionAccess {
            grants: Arc::new(Grants::parse(grants).expect("grants")),
            expires_at,
            credential_frames: CredentialFrames::Renewals,
            ..SessionAccess::default()
        },
    }
}

/// Suspends the session on the credential that the output has, and decides at once, at 1000 s since 1970.
fn authenticate(
    state: &mut SessionMachine,
    mut presented: SessionOutput,
    result: Result<AuthenticatedClient, AccessRefusal>,
    now: Instant,
) -> (Resumed, SessionOutput) {
    assert!(presented.credential.take().is_some(), "a credential");
    assert!(presented.has_only_frames() && presented.frames.is_empty());
    state.suspend(Awaited::Authentication, presented);
    let mut output = SessionOutput::at(1_000);
    let resumed = state.on_decision(&Decision::Authentication(result), now, &mut output);
    (resumed.expect("a pending decision"), output)
}

/// The first frame of each dialect that may carry a credential, with the token `t`.
const FIRST_FRAMES: [(&str, &str); 6] = [
    (
        "lightstream",
        r#"{"type":"join","roomID":"r","senderID":"a","token":"t"}"#,
    ),
    ("p2p", r#"{"type":"IDENTIFY","username":"a","token":"t"}"#),
    (
        "singo",
        r#"{"type":"join","payload":{"room_id":"r"},"token":"t"}"#,
    ),
    ("ayame", r#"{"type":"register","roomId":"r","key":"t"}"#),
    (
        "ayame",
        r#"{"type":"register","roomId":"r","signalingKey":"t","key":""}"#,
    ),
    (
        "ayame",
        r#"{"type":"register","roomId":"r","authnMetadata":{"token":"t"}}"#,
    ),
];

#[test]
fn first_frame_is_handled_with_the_grants_of_its_credential() {
    let now = Instant::now();
    for (dialect, first) in FIRST_FRAMES {
        let required = CredentialFrames::RequiredFirstFrame;
        for frames in [required, CredentialFrames::FirstFrame] {
            let mut state = unauthenticated(Some(dialect), frames, now);
            let presented = frame(&mut state, first, now);
            assert_eq!(presented.credential.as_deref(), Some("t"), "{first}");
            let (_, output) = authenticate(&mut state, presented, Ok(ada(&["*"], None)), now);
            assert_eq!(output.requests.len(), 1, "{first}");
            assert!(output.error_codes.is_empty() && output.close.is_none());
            assert_eq!(*state.peer().identity(), Identity::Proven("ada".into()));
        }
    }
}

#[test]
fn wrong_credential_in_the_first_frame_ends_the_session_in_its_dialect() {
    let now = Instant::now();
    let refusal = AccessRefusal {
        text: "No.".into(),
        close: CloseReason::TOKEN_REQUIRED,
    };
    for (dialect, first) in FIRST_FRAMES {
        let mut state = unauthenticated(Some(dialect), CredentialFrames::FirstFrame, now);
        let presented = frame(&mut state, first, now);
        let (_, output) = authenticate(&mut state, presented, Err(refusal.clone()), now);
        assert_eq!(output.close, Some(CloseReason::TOKEN_REQUIRED), "{dialect}");
        assert!(output.requests.is_empty());
        assert_eq!(output.frames.len(), 1, "{dialect} has error frames");
        let error = &output.frames[0];
        assert!(error.contains("No.") || error.contains("denied"), "{error}");
    }
}

#[test]
fn first_frame_without_a_required_credential_ends_the_session() {
    let now = Instant::now();
    for (dialect, first) in FIRST_FRAMES {
        let without = first.replace("\"t\"", "\"\"");
        for dialect in [Some(dialect), None] {
            let frames = CredentialFrames::RequiredFirstFrame;
            let mut state = unauthenticated(dialect, frames, now);
            let output = frame(&mut state, &without, now);
            assert_eq!(output.close, Some(CloseReason::TOKEN_REQUIRED), "{without}");
            assert!(output.requests.is_empty() && output.credential.is_none());
            assert_eq!(output.error_codes, ["denied"]);
        }
    }
    for first in ["", "[]", r#"{"kind":"IdentifySelf"}"#] {
        let mut state = unauthenticated(None, CredentialFrames::RequiredFirstFrame, now);
        let output = frame(&mut state, first, now);
        assert_eq!(output.close, Some(CloseReason::TOKEN_REQUIRED), "{first}");
        assert_eq!(output.frames.len(), 1, "the client is told: {first}");
    }
}

#[test]
fn first_frame_shows_the_dialect_and_carries_the_credential() {
    let now = Instant::now();
    let frames = CredentialFrames::RequiredFirstFrame;
    for (dialect, first) in [FIRST_FRAMES[0], FIRST_FRAMES[1]] {
        let mut state = unauthenticated(None, frames, now);
        let presented = frame(&mut state, first, now);
        let (_, output) = authenticate(&mut state, presented, Ok(ada(&["*"], None)), now);
        assert_eq!(output.requests.len(), 1, "{first}");
        assert_eq!(state.peer().dialect().name, dialect);
    }
    // The credential may also come alone, before any frame of the dialect.
    let mut state = unauthenticated(None, frames, now);
    let presented = frame(&mut state, RENEWAL, now);
    let (_, output) = authenticate(&mut state, presented, Ok(ada(&["*"], None)), now);
    assert_eq!(output.frames, [r#"{"type":"authenticated"}"#]);
    assert_eq!(frame(&mut state, JOIN, now).requests.len(), 1);
}

#[test]
fn first_frame_need_not_have_a_credential_if_clients_may_be_anonymous() {
    let now = Instant::now();
    for dialect in [Some("lightstream"), None] {
        let mut state = unauthenticated(dialect, CredentialFrames::FirstFrame, now);
        let output = frame(&mut state, JOIN, now);
        assert_eq!(
            output.error_codes,
            ["denied"],
            "it has the grants of its request"
        );
        assert_eq!(output.close, None);
    }
}

#[test]
fn first_frame_with_a_credential_has_a_deadline() {
    let now = Instant::now();
    let limits = Arc::new(Limits {
        first_frame_secs: 0,
        ..Limits::default()
    });
    let access = SessionAccess {
        credential_frames: CredentialFrames::RequiredFirstFrame,
        ..SessionAccess::default()
    };
    let (session, mut first) = ClientSession::open(find("lightstream"), handshake(), access);
    let heartbeat = Heartbeat::default();
    let mut state = SessionMachine::new(session, &mut first, &limits, heartbeat, now);
    assert_eq!(state.poll_timeout(), now + CREDENTIAL_TIME);
    let output = timeout(&mut state, now + CREDENTIAL_TIME);
    assert_eq!(output.close, Some(CloseReason::SILENT));
}

const RENEWAL: &str = r#"{"type":"authenticate","token":"new"}"#;

/// A session of Ada in the room `r`, until 1010 s since 1970.
fn joined(now: Instant) -> SessionMachine {
    let mut state = unauthenticated(
        Some("lightstream"),
        CredentialFrames::RequiredFirstFrame,
        now,
    );
    let presented = frame(&mut state, FIRST_FRAMES[0].1, now);
    drop(authenticate(
        &mut state,
        presented,
        Ok(ada(&["*"], Some(1_010))),
        now,
    ));
    state
}

#[test]
fn renewal_extends_the_access_and_replaces_the_grants() {
    let now = Instant::now();
    let mut state = joined(now);
    assert_eq!(state.poll_timeout(), now + Duration::from_secs(10));
    let presented = frame(&mut state, RENEWAL, now);
    assert_eq!(presented.credential.as_deref(), Some("new"));
    let renewed = ada(&["join", "signal"], Some(1_020));
    let (resumed, output) = authenticate(&mut state, presented, Ok(renewed), now);
    assert_eq!(
        output.frames,
        [r#"{"type":"authenticated","expiresAt":1020}"#]
    );
    assert!(resumed.authorized.is_empty() && resumed.rejected.is_empty());
    assert_eq!(state.poll_timeout(), now + Duration::from_secs(20));
    let message = frame(&mut state, r#"{"type":"message","data":"x"}"#, now);
    assert_eq!(message.error_codes, ["denied"]);
}

#[test]
fn renewal_without_the_grant_to_join_leaves_the_room() {
    let now = Instant::now();
    let mut state = joined(now);
    let presented = frame(&mut state, RENEWAL, now);
    let renewed = ada(&["*:other"], Some(1_020));
    let (resumed, _) = authenticate(&mut state, presented, Ok(renewed), now);
    assert!(matches!(resumed.authorized[..], [HubRequest::Leave(..)]));
    let error = Event::RequestFailed(resumed.rejected[0].clone());
    let output = event(&mut state, &error, now);
    assert!(output.frames[0].contains("You do not have the grant"));
    let message = frame(&mut state, r#"{"type":"message","data":"x"}"#, now);
    assert_eq!(message.error_codes, ["not-in-room"]);
}

#[test]
fn refused_renewal_changes_nothing() {
    let now = Instant::now();
    let mut eve = ada(&["*"], Some(2_000));
    eve.identity = Identity::Proven("eve".into());
    let mut elsewhere = ada(&["*"], Some(2_000));
    elsewhere.access.space = SpaceName::parse("elsewhere", 0).expect("a name");
    let refusal = AccessRefusal {
        text: "No.".into(),
        close: CloseReason::TOKEN_REQUIRED,
    };
    for result in [Ok(eve), Ok(elsewhere), Err(refusal)] {
        let mut state = joined(now);
        let presented = frame(&mut state, RENEWAL, now);
        let (_, output) = authenticate(&mut state, presented, result, now);
        assert_eq!(output.error_codes, ["denied"]);
        assert_eq!(output.frames.len(), 1);
        assert_eq!(output.close, None, "the session goes on");
        assert_eq!(state.poll_timeout(), now + Duration::from_secs(10));
        assert_eq!(*state.peer().identity(), Identity::Proven("ada".into()));
    }
}

#[test]
fn session_does_not_end_while_its_renewal_is_decided() {
    let now = Instant::now();
    let end = now + Duration::from_secs(10);
    let mut state = joined(now);
    let mut presented = frame(&mut state, RENEWAL, now);
    assert!(presented.credential.take().is_some());
    state.suspend(Awaited::Authentication, presented);
    assert!(state.poll_timeout() > end);
    assert_eq!(timeout(&mut state, end).close, None);
    let mut output = SessionOutput::at(1_010);
    let failed = Decision::Authentication(Err(AccessRefusal::unavailable()));
    drop(state.on_decision(&failed, end, &mut output));
    assert_eq!(state.poll_timeout(), end);
    assert_eq!(
        timeout(&mut state, end).close,
        Some(CloseReason::TOKEN_EXPIRED)
    );
}

#[test]
fn every_dialect_takes_a_renewal() {
    let now = Instant::now();
    for dialect in switchboard_dialects::ALL {
        let name = dialect.traits().name;
        let access = SessionAccess {
            credential_frames: CredentialFrames::Renewals,
            ..SessionAccess::default()
        };
        let room = [
            ("room", "r"),
            ("key", "peerjs"),
            ("id", "a"),
            ("token", "t"),
        ];
        let query = room.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let handshake = switchboard_dialects::Handshake {
            query: query.into_iter().collect(),
            ..handshake()
        };
        let (session, mut first) = ClientSession::open(Some(*dialect), handshake, access);
        let limits = Arc::default();
        let heartbeat = Heartbeat::default();
        let mut state = SessionMachine::new(session, &mut first, &limits, heartbeat, now);
        let renewal = RENEWAL.replace("type", dialect.type_key());
        let output = frame(&mut state, &renewal, now);
        let is_taken = output.credential.is_some();
        // A client of ayame that has not registered is closed.
        assert_eq!(is_taken, name != "ayame", "{name}");
    }
}

#[test]
fn without_access_control_no_frame_is_read_as_a_credential() {
    let now = Instant::now();
    let mut state = machine("lightstream", now);
    let output = frame(&mut state, RENEWAL, now);
    assert_eq!(
        (output.credential, &output.error_codes[..]),
        (None, &["unknown-type"][..])
    );
}
