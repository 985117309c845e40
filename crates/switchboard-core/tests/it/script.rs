//! A script is its own expectation: a line at the margin is done, the indented lines below it are
//! what must follow from it, all of it and nothing else.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use switchboard_core::{User, VoiceEvent};

/// Does the lines of a script, and compares.
pub(crate) fn check(script: &str, mut perform: impl FnMut(&[&str]) -> Vec<String>) {
    let lines: Vec<&str> = script.lines().filter(|it| !it.trim().is_empty()).collect();
    let margin = lines.first().map_or(0, |line| indent(line));
    let mut expected = String::new();
    let mut actual = String::new();
    for line in &lines {
        if indent(line) == margin {
            let words: Vec<&str> = line.split_whitespace().collect();
            actual += &format!("{}\n", words.join(" "));
            for consequence in perform(&words) {
                actual += &format!("    {consequence}\n");
            }
        }
        let inset = if indent(line) == margin { "" } else { "    " };
        expected += &format!("{inset}{}\n", line.trim());
    }
    assert!(
        actual == expected,
        "expected:\n{expected}\nbut this is what happens:\n{actual}"
    );
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub(crate) fn user(name: &str) -> User {
    User::parse(name, 0).expect("a script names its users")
}

pub(crate) fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("a number of seconds"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way; what happens does not depend on which it is"
)]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// What came of an input, if it is worth a line.
pub(crate) fn outcome<T, E: Debug>(
    result: Result<T, E>,
    done: impl Fn(T) -> Option<String>,
) -> Option<String> {
    match result {
        Ok(value) => done(value),
        Err(refusal) => Some(format!("refused: {refusal:?}")),
    }
}

pub(crate) fn words(event: &VoiceEvent) -> String {
    match event {
        VoiceEvent::Ringing { from, challenge } => format!("{from} rings, sign {challenge}"),
        VoiceEvent::Answered {
            from,
            signature,
            challenge,
        } => format!("{from} answered {signature}, sign {challenge}"),
        VoiceEvent::Confirmed {
            from,
            signature,
            challenge,
        } => format!("{from} confirmed {signature}, sign {challenge}"),
        VoiceEvent::Accepted { from, signature } => format!("{from} accepted {signature}"),
        VoiceEvent::Declined { from, signature } => {
            format!("{from} declined {signature}").trim().to_owned()
        }
        VoiceEvent::AudioConf {
            from,
            room,
            mic,
            headphones,
        } => {
            let room = room.map(|id| format!(" in room {id}")).unwrap_or_default();
            let sign = |on: &bool| if *on { '+' } else { '-' };
            format!(
                "{from}{room} has mic{} headphones{}",
                sign(mic),
                sign(headphones)
            )
        }
        VoiceEvent::Replaced { .. } => panic!("connections are the driver's"),
        VoiceEvent::NewRoom { id, name, count } => format!("new room {id} {name} with {count}"),
    }
}
