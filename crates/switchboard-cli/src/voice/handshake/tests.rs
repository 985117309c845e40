//! Tests of the handshake between two users, with honest and with malicious servers and clients.

use switchboard::SecretKey;

use super::*;

fn new_user() -> (CliIdentity, CallUser) {
    let secret = SecretKey::generate();
    let name = secret.public().to_string();
    let identity = CliIdentity::Key(secret);
    let user = identity.user(&name).unwrap();
    (identity, user)
}

fn value(request: &HandshakeRequest, name: &str) -> String {
    let found = request.parameters.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// The event that an honest server sends to the other user for a request.
fn event_of(request: &HandshakeRequest) -> CallEventKind {
    let (signature, challenge) = (value(request, "Signature"), value(request, "challenge"));
    match request.path {
        "/newCall" => CallEventKind::Ringing { challenge },
        "/answer" => CallEventKind::Answered {
            signature,
            challenge,
        },
        "/answer2" => CallEventKind::Confirmed {
            signature,
            challenge,
        },
        "/acceptCall" => CallEventKind::Accepted { signature },
        "/rejectCall" => CallEventKind::Declined { signature },
        path => panic!("{path} is no step"),
    }
}

fn expect_request(next: HandshakeAction) -> HandshakeRequest {
    match next {
        HandshakeAction::Request(request) | HandshakeAction::Connected(Some(request)) => request,
        HandshakeAction::Nothing
        | HandshakeAction::Connected(None)
        | HandshakeAction::Terminated(_) => panic!("no step, but {next:?}"),
    }
}

/// A caller and a callee that know each other's keys, before the callee answers.
fn ringing() -> (OutgoingCall, IncomingCall) {
    let ((caller, caller_name), (callee, callee_name)) = (new_user(), new_user());
    let outgoing = OutgoingCall::new(&caller, callee_name);
    let challenge = value(&outgoing.ring_request(), "challenge");
    (
        outgoing,
        IncomingCall::new(&callee, caller_name, &challenge),
    )
}

fn is_terminated(next: &HandshakeAction, message: &str) -> bool {
    matches!(next, HandshakeAction::Terminated(reason) if reason.contains(message))
}

#[test]
fn honest_users_connect() {
    let (mut caller, mut callee) = ringing();
    let answer = expect_request(callee.answer());
    let confirmation = expect_request(caller.handle(&event_of(&answer)));
    let accept = callee.handle(&event_of(&confirmation));
    assert!(matches!(accept, HandshakeAction::Connected(Some(_))));
    assert_eq!(
        caller.handle(&event_of(&expect_request(accept))),
        HandshakeAction::Connected(None)
    );
}

#[test]
fn callee_that_accepts_without_a_challenge_is_authenticated() {
    let (mut caller, callee) = ringing();
    let accept = callee.final_request("/acceptCall").unwrap();
    assert_eq!(
        caller.handle(&event_of(&accept)),
        HandshakeAction::Connected(None)
    );
}

#[test]
fn answer_with_another_key_is_rejected() {
    let (mut caller, callee) = ringing();
    let (mallory, _) = new_user();
    let mut impostor = IncomingCall::new(&mallory, callee.from.clone(), &callee.latest);
    let next = caller.handle(&event_of(&expect_request(impostor.answer())));
    assert!(is_terminated(&next, "does not hold the key"), "{next:?}");
}

#[test]
fn accept_with_another_key_is_rejected() {
    let (mut caller, mut callee) = ringing();
    let (mallory, _) = new_user();
    let confirmation = expect_request(caller.handle(&event_of(&expect_request(callee.answer()))));
    let impostor = IncomingCall::new(
        &mallory,
        callee.from.clone(),
        &value(&confirmation, "challenge"),
    );
    let accept = impostor.final_request("/acceptCall").unwrap();
    let next = caller.handle(&event_of(&accept));
    assert!(is_terminated(&next, "does not hold the key"), "{next:?}");
    // The callee's signature of an earlier step is rejected too.
    let old = CallEventKind::Accepted {
        signature: value(&expect_request(callee.answer()), "Signature"),
    };
    assert!(is_terminated(&caller.handle(&old), "does not hold the key"));
}

#[test]
fn caller_with_another_key_is_challenged_again_and_then_rejected() {
    let (_, mut callee) = ringing();
    let (mallory, _) = new_user();
    expect_request(callee.answer());
    let forged = || CallEventKind::Confirmed {
        signature: mallory.sign_for_user("1").unwrap(),
        challenge: challenge(),
    };
    for _ in 1..ANSWERS_MAX {
        assert_eq!(expect_request(callee.handle(&forged())).path, "/answer");
    }
    let next = callee.handle(&forged());
    assert!(is_terminated(&next, "does not hold the key"), "{next:?}");
    assert_eq!(callee.reject().unwrap().path, "/rejectCall");
}

#[test]
fn server_tickets_are_not_signed_as_challenges() {
    let ticket = "abcdefghijklmnopqrstuvwx";
    let (mut caller, mut callee) = ringing();
    let mut signature = value(&expect_request(callee.answer()), "Signature");
    let answer = CallEventKind::Answered {
        signature: signature.clone(),
        challenge: ticket.to_owned(),
    };
    assert!(is_terminated(&caller.handle(&answer), "invalid challenge"));

    let confirmation = expect_request(caller.handle(&CallEventKind::Answered {
        signature,
        challenge: callee.answer_challenge.clone(),
    }));
    signature = value(&confirmation, "Signature");
    let next = callee.handle(&CallEventKind::Confirmed {
        signature,
        challenge: ticket.to_owned(),
    });
    assert!(is_terminated(&next, "invalid challenge"));

    let mut incoming = IncomingCall::new(&new_user().0, new_user().1, ticket);
    assert!(is_terminated(&incoming.answer(), "invalid challenge"));
    assert_eq!(incoming.reject(), None);
}

#[test]
fn signed_decline_is_distinguished_from_an_unsigned_one() {
    let (mut caller, callee) = ringing();
    let reject = event_of(&callee.reject().unwrap());
    assert!(is_terminated(&caller.handle(&reject), "declined the call"));
    let (mut caller, _) = ringing();
    let late = CallEventKind::Declined {
        signature: String::new(),
    };
    assert!(is_terminated(
        &caller.handle(&late),
        "did not take the call"
    ));
}

#[test]
fn malformed_signatures_never_connect() {
    for signature in ["", "00", "30", "zz", &"3".repeat(10_000)] {
        let (mut caller, mut callee) = ringing();
        expect_request(callee.answer());
        let signature = || signature.to_owned();
        let next = caller.handle(&CallEventKind::Accepted {
            signature: signature(),
        });
        assert!(matches!(next, HandshakeAction::Terminated(_)));
        let next = callee.handle(&CallEventKind::Confirmed {
            signature: signature(),
            challenge: String::new(),
        });
        assert!(matches!(next, HandshakeAction::Terminated(_)), "{next:?}");
    }
}

#[test]
fn users_of_a_website_do_not_sign() {
    let site = CliIdentity::Token("t".to_owned());
    let mut caller = OutgoingCall::new(&site, site.user("2").unwrap());
    assert_eq!(
        caller.ring_request().parameters,
        [("Destination", "2".to_owned())]
    );
    let mut callee = IncomingCall::new(&site, site.user("1").unwrap(), "");
    let accept = expect_request(callee.answer());
    assert_eq!(accept.parameters, [("From", "1".to_owned())]);
    assert_eq!(
        caller.handle(&event_of(&accept)),
        HandshakeAction::Connected(None)
    );
}
