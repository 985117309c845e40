//! The outputs of session steps, which a thread uses again for its next step.

use std::{
    cell::Cell,
    thread::LocalKey,
    time::{Duration, Instant, SystemTime},
};

use bytestring::ByteString;
use switchboard_dialects::SessionOutput;

use crate::frame::{self, WebSocketMessage};

/// An encoded frame that has more memory than this is not kept.
const ENCODED_KEPT_MAX: usize = 16 * 1024;

/// The place of a thread for an output that is not in use.
type SpareOutput = Cell<Option<Box<SessionOutput>>>;

thread_local! {
    /// The output of steps of the task.
    static STEP_OUTPUT: SpareOutput = const { Cell::new(None) };
    /// The output of events that are handled for idle connections, in the middle of a step of a task.
    static IDLE_OUTPUT: SpareOutput = const { Cell::new(None) };

    /// The memory of an encoded frame that is not in use.
    static ENCODED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SECOND: Cell<Second> = const { Cell::new(Second { span: None, unix_secs: 0 }) };
}

/// Calls `step` with an empty output at the time `now`. Its memory is that of the last step of this thread. A step that
/// succeeds leaves the output empty.
pub(super) fn with_output<E>(
    now: Instant,
    step: impl FnOnce(&mut SessionOutput) -> Result<(), E>,
) -> Result<(), E> {
    let mut output = take(&STEP_OUTPUT, now);
    step(&mut output)?;
    put_back(&STEP_OUTPUT, output);
    Ok(())
}

/// The time at which the events of idle connections are handled, an empty output for them, and the last frame.
#[derive(Debug)]
pub(crate) struct IdleStep {
    pub(super) now: Instant,
    pub(super) output: Box<SessionOutput>,
    encoded: EncodedFrame,
}

impl IdleStep {
    /// The memory of the output is that of the last step of this thread.
    pub(crate) fn at(now: Instant) -> Self {
        Self {
            now,
            output: take(&IDLE_OUTPUT, now),
            encoded: EncodedFrame::default(),
        }
    }

    /// Removes the only frame of the output, and returns it as the socket sends it. The receivers of one event nearly
    /// always get the same frame, which is encoded once.
    pub(super) fn take_encoded(&mut self) -> &[u8] {
        if let Some(frame) = self.output.frames.pop() {
            self.encoded.set(frame);
        }
        &self.encoded.bytes
    }

    /// Empties the output after a dialect has panicked.
    pub(super) fn clear(&mut self) {
        *self.output = SessionOutput::at(unix_secs(self.now));
    }

    /// Gives the memory to the next step.
    pub(crate) fn finish(self) {
        put_back(&IDLE_OUTPUT, self.output);
        self.encoded.free();
    }
}

/// A text frame, and the bytes that a socket sends for it.
#[derive(Debug, Default)]
struct EncodedFrame {
    /// Keeps the text, so that no other text has its address.
    frame: ByteString,
    bytes: Vec<u8>,
}

impl EncodedFrame {
    fn set(&mut self, frame: ByteString) {
        if self.bytes.is_empty() {
            self.bytes = ENCODED.take();
        } else if std::ptr::eq(&*self.frame, &*frame) {
            return;
        }
        self.bytes.clear();
        let message = WebSocketMessage::Text(frame.clone());
        frame::encode(message, usize::MAX, &mut self.bytes);
        self.frame = frame;
    }

    /// Gives the memory to the next step.
    fn free(self) {
        if (1..=ENCODED_KEPT_MAX).contains(&self.bytes.capacity()) {
            ENCODED.set(self.bytes);
        }
    }
}

fn take(spare: &'static LocalKey<SpareOutput>, now: Instant) -> Box<SessionOutput> {
    let mut output = spare.take().unwrap_or_default();
    output.unix_secs = unix_secs(now);
    output
}

fn put_back(spare: &'static LocalKey<SpareOutput>, mut output: Box<SessionOutput>) {
    if output.trim() {
        spare.set(Some(output));
    }
}

/// The time `now` in seconds since 1970. Reads the clock once in a second.
fn unix_secs(now: Instant) -> u64 {
    let second = SECOND.get();
    if second.contains(now) {
        return second.unix_secs;
    }
    let unix_time = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let rest = Duration::from_secs(1) - Duration::from_nanos(unix_time.subsec_nanos().into());
    let second = Second {
        span: Some((now, now + rest)),
        unix_secs: unix_time.as_secs(),
    };
    SECOND.set(second);
    second.unix_secs
}

/// A second of the system's clock.
#[derive(Clone, Copy)]
struct Second {
    /// The known beginning of the second, and its end.
    span: Option<(Instant, Instant)>,
    unix_secs: u64,
}

impl Second {
    fn contains(&self, now: Instant) -> bool {
        self.span
            .is_some_and(|(begin, end)| begin <= now && now < end)
    }
}
