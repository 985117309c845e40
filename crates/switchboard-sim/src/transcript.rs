//! Golden conversations: what each client sends, and every frame that each is sent for it.
//!
//! The format is described in `crates/switchboard-dialect/transcripts/README.md`. A transcript is
//! complete: whatever the server says that is not written down makes it fail, at the very step
//! after which it was said.

mod line;
mod names;
mod recorder;
mod stage;

pub use recorder::record;

use line::Line;
use stage::Stage;

/// Plays a transcript and compares every frame.
///
/// # Errors
/// The first line that does not hold, and why.
pub fn replay(text: &str) -> Result<(), String> {
    let mut stage = Stage::default();
    for (index, source) in text.lines().enumerate() {
        let played = Line::parse(source).and_then(|line| stage.play(&line));
        played.map_err(|why| format!("line {}: {source}\n  {why}", index + 1))?;
    }
    stage
        .must_be_quiet()
        .map_err(|why| format!("at the end: {why}"))
}
