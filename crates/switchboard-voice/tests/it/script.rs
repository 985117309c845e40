//! Test scripts: a line without indentation is an input, the indented lines below it are its exact expected outputs.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use switchboard_voice::{User, VoiceEvent};

/// Runs the inputs of a script and compares the outputs.
pub(crate) fn check(script: &str, mut run_line: impl FnMut(&[&str]) -> Vec<String>) {
    let lines: Vec<&str> = script.lines().filter(|it| !it.trim().is_empty()).collect();
    let margin = lines.first().map_or(0, |line| indent(line));
    let mut expected = String::new();
    let mut actual = String::new();
    for line in &lines {
        if indent(line) == margin {
            let describe: Vec<&str> = line.split_whitespace().collect();
            actual += &format!("{}\n", describe.join(" "));
            for consequence in run_line(&describe) {
                actual += &format!("    {consequence}\n");
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
    User::parse(name).expect("a script names its users")
}

pub(crate) fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("a number of seconds"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other direction; what happens does not depend on which it is"
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

pub(crate) fn describe(event: &VoiceEvent) -> String {
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
