//! Two people and what lies between them, which may be a liar.

use switchboard::SecretKey;

use super::*;

fn person() -> (CliIdentity, CallUser) {
    let secret = SecretKey::generate();
    let name = secret.public().to_string();
    let identity = CliIdentity::Key(secret);
    let user = identity.user(&name).unwrap();
    (identity, user)
}

fn value(step: &HandshakeRequest, name: &str) -> String {
    let found = step.parameters.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// What an honest server tells the other of a step.
fn relayed(step: &HandshakeRequest) -> CallEventKind {
    let (signature, challenge) = (value(step, "Signature"), value(step, "challenge"));
    match step.path {
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

fn asked(next: HandshakeAction) -> HandshakeRequest {
    match next {
        HandshakeAction::Request(step) | HandshakeAction::Connected(Some(step)) => step,
        HandshakeAction::Nothing
        | HandshakeAction::Connected(None)
        | HandshakeAction::Terminated(_) => panic!("no step, but {next:?}"),
    }
}

/// A caller and a callee, each with the other's right name, before the callee answers.
fn ringing() -> (OutgoingCall, IncomingCall) {
    let ((caller, caller_name), (callee, callee_name)) = (person(), person());
    let outgoing = OutgoingCall::new(&caller, callee_name);
    let challenge = value(&outgoing.opening(), "challenge");
    (
        outgoing,
        IncomingCall::new(&callee, caller_name, &challenge),
    )
}

fn is_over(next: &HandshakeAction, words: &str) -> bool {
    matches!(next, HandshakeAction::Terminated(said) if said.contains(words))
}

#[test]
fn two_who_are_who_they_say_talk() {
    let (mut caller, mut callee) = ringing();
    let answer = asked(callee.answer());
    let confirmation = asked(caller.handle(&relayed(&answer)));
    let accept = callee.handle(&relayed(&confirmation));
    assert!(matches!(accept, HandshakeAction::Connected(Some(_))));
    assert_eq!(
        caller.handle(&relayed(&asked(accept))),
        HandshakeAction::Connected(None)
    );
}

#[test]
fn one_who_accepts_without_asking_is_known_all_the_same() {
    let (mut caller, callee) = ringing();
    let accept = callee.close("/acceptCall").unwrap();
    assert_eq!(
        caller.handle(&relayed(&accept)),
        HandshakeAction::Connected(None)
    );
}

#[test]
fn whoever_answers_for_another_is_found_out() {
    let (mut caller, callee) = ringing();
    let (mallory, _) = person();
    let mut liar = IncomingCall::new(&mallory, callee.from.clone(), &callee.latest);
    let next = caller.handle(&relayed(&asked(liar.answer())));
    assert!(is_over(&next, "does not hold the key"), "{next:?}");
}

#[test]
fn whoever_accepts_for_another_is_found_out() {
    let (mut caller, mut callee) = ringing();
    let (mallory, _) = person();
    let confirmation = asked(caller.handle(&relayed(&asked(callee.answer()))));
    let liar = IncomingCall::new(
        &mallory,
        callee.from.clone(),
        &value(&confirmation, "challenge"),
    );
    let accept = liar.close("/acceptCall").unwrap();
    let next = caller.handle(&relayed(&accept));
    assert!(is_over(&next, "does not hold the key"), "{next:?}");
    // Nor is the callee's own signature of an earlier step enough.
    let old = CallEventKind::Accepted {
        signature: value(&asked(callee.answer()), "Signature"),
    };
    assert!(is_over(&caller.handle(&old), "does not hold the key"));
}

#[test]
fn whoever_calls_for_another_is_asked_again_and_then_found_out() {
    let (_, mut callee) = ringing();
    let (mallory, _) = person();
    asked(callee.answer());
    let forged = || CallEventKind::Confirmed {
        signature: mallory.sign_for_person("1").unwrap(),
        challenge: challenge(),
    };
    for _ in 1..ANSWERS_MAX {
        assert_eq!(asked(callee.handle(&forged())).path, "/answer");
    }
    let next = callee.handle(&forged());
    assert!(is_over(&next, "does not hold the key"), "{next:?}");
    assert_eq!(callee.reject().unwrap().path, "/rejectCall");
}

#[test]
fn nobody_gets_a_server_s_ticket_signed() {
    let ticket = "abcdefghijklmnopqrstuvwx";
    let (mut caller, mut callee) = ringing();
    let mut signature = value(&asked(callee.answer()), "Signature");
    let answer = CallEventKind::Answered {
        signature: signature.clone(),
        challenge: ticket.to_owned(),
    };
    assert!(is_over(&caller.handle(&answer), "not for callers"));

    let confirmation = asked(caller.handle(&CallEventKind::Answered {
        signature,
        challenge: callee.second.clone(),
    }));
    signature = value(&confirmation, "Signature");
    let next = callee.handle(&CallEventKind::Confirmed {
        signature,
        challenge: ticket.to_owned(),
    });
    assert!(is_over(&next, "not for callers"));

    let mut rung = IncomingCall::new(&person().0, person().1, ticket);
    assert!(is_over(&rung.answer(), "not for callers"));
    assert_eq!(rung.reject(), None);
}

#[test]
fn a_decline_is_the_callee_s_or_just_the_end() {
    let (mut caller, callee) = ringing();
    let reject = relayed(&callee.reject().unwrap());
    assert!(is_over(&caller.handle(&reject), "declined the call"));
    let (mut caller, _) = ringing();
    let late = CallEventKind::Declined {
        signature: String::new(),
    };
    assert!(is_over(&caller.handle(&late), "did not take the call"));
}

#[test]
fn garbage_never_makes_a_call() {
    for signature in ["", "00", "30", "zz", &"3".repeat(10_000)] {
        let (mut caller, mut callee) = ringing();
        asked(callee.answer());
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
fn where_a_site_vouches_nobody_signs() {
    let site = CliIdentity::Token("t".to_owned());
    let mut caller = OutgoingCall::new(&site, site.user("2").unwrap());
    assert_eq!(
        caller.opening().parameters,
        [("Destination", "2".to_owned())]
    );
    let mut callee = IncomingCall::new(&site, site.user("1").unwrap(), "");
    let accept = asked(callee.answer());
    assert_eq!(accept.parameters, [("From", "1".to_owned())]);
    assert_eq!(
        caller.handle(&relayed(&accept)),
        HandshakeAction::Connected(None)
    );
}
