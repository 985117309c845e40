//! Test scripts: a line that is indented like the first one is an input; the deeper lines below it are the outputs that
//! it must have, all of them and in this order.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use switchboard_voice::{User, VoiceEvent};

/// Runs the inputs of a script and compares the outputs. `run_line` applies the words of an input line to the state
/// machine and returns its output lines.
pub(crate) fn check(script: &str, mut run_line: impl FnMut(&[&str]) -> Vec<String>) {
    let lines: Vec<&str> = script
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let margin = lines.first().map_or(0, |line| indent(line));
    let mut expected = String::new();
    let mut actual = String::new();
    for line in &lines {
        if indent(line) == margin {
            let words: Vec<&str> = line.split_whitespace().collect();
            actual += &format!("{}\n", words.join(" "));
            for output in run_line(&words) {
                actual += &format!("    {output}\n");
            }
        }
        let inset = if indent(line) == margin { "" } else { "    " };
        expected += &format!("{inset}{}\n", line.trim());
    }
    assert!(
        actual == expected,
        "expected:\n{expected}\nactual:\n{actual}"
    );
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub(crate) fn user(name: &str) -> User {
    User::parse(name).expect("not a valid user name")
}

pub(crate) fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("not a number of seconds"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "`Instant` has no other constructor; the tests use only differences"
)]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// The output line for the result of an input, if any.
pub(crate) fn outcome<T, E: Debug>(
    result: Result<T, E>,
    success: impl Fn(T) -> Option<String>,
) -> Option<String> {
    match result {
        Ok(value) => success(value),
        Err(error) => Some(format!("refused: {error:?}")),
    }
}

/// The output line for an event. It does not name the user to whom the event is sent.
pub(crate) fn event_line(event: &VoiceEvent) -> String {
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
        VoiceEvent::AudioState {
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
        VoiceEvent::Replaced { .. } => panic!("the state machines do not return this event"),
        VoiceEvent::NewRoom { id, name, count } => format!("new room {id} {name} with {count}"),
    }
}
