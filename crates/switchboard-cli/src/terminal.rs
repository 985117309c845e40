//! Writing to standard output and standard error, which may be pipes that are closed or full.
//!
//! `println!` panics on a closed pipe; nothing here does. Only [`print()`] waits for a full one without a timeout.

use std::{
    io::{self, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long a full pipe is waited for; text that does not fit until then is lost.
const PIPE_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints a command's result. A full pipe is waited for; on a closed one the rest is lost.
pub(crate) fn print(text: &str) {
    write(io::stdout().lock(), text);
}

/// Prints a text beside the work of a server, which does not wait for a full pipe.
pub(crate) fn print_briefly(text: &str) {
    let text = text.to_owned();
    within(PIPE_TIMEOUT, move || write(io::stdout().lock(), &text));
}

/// Prints a line to standard error.
pub(crate) fn print_error(line: &str) {
    let text = format!("{line}\n");
    within(PIPE_TIMEOUT, move || write(io::stderr().lock(), &text));
}

/// Runs `action` on a thread of its own and waits for its end, but not longer than `timeout`. An action
/// that is stuck ends with the process.
pub(crate) fn within(timeout: Duration, action: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel::<()>();
    let spawned = thread::Builder::new().spawn(move || {
        action();
        drop(done);
    });
    if spawned.is_ok() {
        // Either the other end is dropped, or the time is over.
        let _: Result<(), mpsc::RecvTimeoutError> = is_done.recv_timeout(timeout);
    }
}

fn write(mut out: impl Write, text: &str) {
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_stuck_action_is_waited_for_no_longer_than_the_timeout() {
        let (_never, held) = mpsc::channel::<()>();
        let begun = Instant::now();
        within(Duration::from_millis(10), move || {
            held.recv().unwrap_err();
        });
        assert!(begun.elapsed() >= Duration::from_millis(10));
        let (said, heard) = mpsc::channel();
        within(Duration::from_hours(1), move || {
            said.send(7).expect("heard")
        });
        assert_eq!(heard.try_recv(), Ok(7));
    }
}
