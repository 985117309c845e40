//! Writes to standard output and standard error, which may be closed or full pipes.
//!
//! `println!` panics on a closed pipe; these functions do not. While the pipe is full, [`print()`] waits without a
//! timeout, and the other functions wait for at most [`PIPE_TIMEOUT`].

use std::{
    io::{self, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Time to wait while the pipe is full. Text that is not written by then is lost.
const PIPE_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints the result of a command. Waits while the pipe is full. When the pipe is closed, the rest is lost.
pub(crate) fn print(text: &str) {
    write(io::stdout().lock(), text);
}

/// Prints a text of a running server. Waits while the pipe is full, but at most for [`PIPE_TIMEOUT`].
pub(crate) fn print_briefly(text: &str) {
    let text = text.to_owned();
    within(PIPE_TIMEOUT, move || write(io::stdout().lock(), &text));
}

/// Prints a line to standard error. Waits while the pipe is full, but at most for [`PIPE_TIMEOUT`].
pub(crate) fn print_error(line: &str) {
    let text = format!("{line}\n");
    within(PIPE_TIMEOUT, move || write(io::stderr().lock(), &text));
}

/// Runs `action` on a thread and waits for its end, but not longer than `timeout`. An action that blocks longer is
/// abandoned: it ends with the process.
pub(crate) fn within(timeout: Duration, action: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel::<()>();
    let spawned = thread::Builder::new().spawn(move || {
        action();
        drop(done);
    });
    if spawned.is_ok() {
        // Returns when the other end is dropped or the time is over.
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
    fn blocked_action_is_waited_for_until_the_timeout() {
        let (_never, held) = mpsc::channel::<()>();
        let begun = Instant::now();
        within(Duration::from_millis(10), move || {
            held.recv().unwrap_err();
        });
        assert!(begun.elapsed() >= Duration::from_millis(10));
        let (sender, receiver) = mpsc::channel();
        within(Duration::from_hours(1), move || {
            sender.send(7).expect("the receiver exists")
        });
        assert_eq!(receiver.try_recv(), Ok(7));
    }
}
