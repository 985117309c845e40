//! Reports of a run.

use std::{fmt::Write as _, io::Write as _, time::Instant};

use crate::record::Record;

/// The number of events that are printed of a log.
const SHOWN: usize = 60;

/// Prints a line also if the test succeeds: the test runner captures the output of `println!`.
pub(crate) fn print_progress(text: &str) {
    drop(writeln!(std::io::stdout(), "cluster: {text}"));
}

/// The events of a membership, with the seconds since the start.
pub(crate) fn log_of(record: &Record, index: usize, start: Instant) -> String {
    let membership = &record.memberships[index];
    let since = |at: Instant| at.saturating_duration_since(start).as_secs_f32();
    let mut text = format!(
        "membership {index}: client {}, {:?} {:?}, room {}, node {}, requested at {:.3}",
        membership.client,
        membership.dialect,
        membership.own_name,
        membership.room,
        membership.node,
        since(membership.requested_at)
    );
    if let Some(joined_at) = membership.joined_at {
        _ = write!(text, ", joined at {:.3}", since(joined_at));
    }
    if let Some(ended_at) = membership.ended_at {
        _ = write!(
            text,
            ", ended at {:.3}: {}",
            since(ended_at),
            membership.end_reason
        );
    }
    text.push('\n');
    for entry in &membership.events[membership.events.len().saturating_sub(SHOWN)..] {
        _ = writeln!(text, "  {:8.3} {:?}", since(entry.at), entry.event);
    }
    text
}
