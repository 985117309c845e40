//! Runs scripts ([`crate::script`]) against the state machine of calls. An input is `wait SECONDS`, or
//! `USER VERB OTHER ARGUMENTS`; the verbs `mic-` and `headphones-` take the number of a call in place of `OTHER`.

use std::time::Instant;

use bytestring::ByteString;
use switchboard_voice::{CallError, CallId, CallLimits, Calls, Direction, RingOrigin};

use crate::script::{self, epoch, event_line, outcome, seconds, user};

pub(crate) fn check(script: &str) {
    check_with(CallLimits::default(), script);
}

pub(crate) fn check_with(limits: CallLimits, script: &str) {
    let mut calls = Calls::new(limits);
    let mut now = epoch();
    script::check(script, |line| {
        let outcome = run_line(&mut calls, line, &mut now);
        let mut outputs: Vec<String> = outcome.into_iter().collect();
        while let Some((to, event)) = calls.poll_event() {
            outputs.push(format!("{to}: {}", event_line(&event)));
        }
        while let Some(id) = calls.poll_ended() {
            outputs.push(format!("call {id} ended"));
        }
        outputs
    });
}

fn run_line(calls: &mut Calls, line: &[&str], now: &mut Instant) -> Option<String> {
    if let ["wait", time] = line {
        *now += seconds(time);
        calls.handle_timeout(*now);
        return None;
    }
    let [by, verb, other, rest @ ..] = line else {
        panic!("invalid script line: {line:?}");
    };
    let (by, to, now) = (&user(by), &user(other), *now);
    let done = |()| None;
    match (*verb, rest) {
        ("rings", [challenge]) => outcome(
            calls.ring(by, to, (*challenge).into(), RingOrigin::UNKNOWN, now),
            done,
        ),
        ("answers", [signature, challenge]) => outcome(
            calls.answer(by, to, (*signature).into(), (*challenge).into(), now),
            done,
        ),
        ("confirms", [signature, challenge]) => outcome(
            calls.confirm(by, to, (*signature).into(), (*challenge).into(), now),
            done,
        ),
        ("accepts", [signature]) => {
            outcome(calls.accept(by, to, (*signature).into(), now), in_call)
        }
        ("rejects", [signature]) => outcome(calls.reject(by, to, (*signature).into(), now), done),
        ("hangs-up", []) => outcome(calls.hang_up(by, to, now), done),
        ("mic+", []) => outcome(calls.connect(by, to, Direction::Publish, now), in_call),
        ("headphones+", []) => outcome(calls.connect(by, to, Direction::Subscribe, now), in_call),
        ("mic-", []) => disconnect(calls, line, Direction::Publish, now),
        ("headphones-", []) => disconnect(calls, line, Direction::Subscribe, now),
        ("signs-to-answer", []) => Some(challenges_line(calls.challenges_to_answer(by, to))),
        ("signs-to-confirm", []) => Some(challenges_line(calls.challenges_to_confirm(by, to))),
        ("signs-to-accept", []) => Some(challenges_line(calls.challenges_to_accept(by, to))),
        _ => panic!("invalid script line: {line:?}"),
    }
}

/// The output line for the challenges of which a user must sign one.
fn challenges_line(challenges: Result<Vec<ByteString>, CallError>) -> String {
    challenges.map_or("nothing".to_owned(), |challenges| challenges.join(" or "))
}

fn in_call(id: CallId) -> Option<String> {
    Some(format!("call {id}"))
}

fn disconnect(
    calls: &mut Calls,
    line: &[&str],
    direction: Direction,
    now: Instant,
) -> Option<String> {
    let id: u64 = line[2].parse().expect("not the number of a call");
    calls.disconnect(&user(line[0]), id.into(), direction, now);
    None
}
