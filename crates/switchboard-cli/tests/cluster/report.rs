//! What people are told of a run.

use std::{fmt::Write as _, io::Write as _, time::Instant};

use crate::record::Record;

/// So many lines of a log are shown.
const SHOWN: usize = 60;

/// Says something whether the test fails or not: the test runner keeps what is printed with `println!`.
pub(crate) fn say(words: &str) {
    drop(writeln!(std::io::stdout(), "cluster: {words}"));
}

/// What a client was told in a stay, with the seconds since the start.
pub(crate) fn log_of(record: &Record, index: usize, start: Instant) -> String {
    let stay = &record.stays[index];
    let since = |at: Instant| at.saturating_duration_since(start).as_secs_f32();
    let mut text = format!(
        "stay {index}: client {}, {:?} {:?}, room {}, by {}, asked at {:.3}",
        stay.client,
        stay.tongue,
        stay.me,
        stay.room,
        stay.node,
        since(stay.asked)
    );
    if let Some(entered) = stay.entered {
        _ = write!(text, ", in at {:.3}", since(entered));
    }
    if let Some(ended) = stay.ended {
        _ = write!(text, ", out at {:.3}: {}", since(ended), stay.why);
    }
    text.push('\n');
    for noted in &stay.noted[stay.noted.len().saturating_sub(SHOWN)..] {
        _ = writeln!(text, "  {:8.3} {:?}", since(noted.at), noted.what);
    }
    text
}
