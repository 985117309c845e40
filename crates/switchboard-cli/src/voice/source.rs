//! Audio on standard input, read by a thread of its own and handed on at its pace.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal as _, Read as _},
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{sleep, sleep_until},
};

use super::{output, pace::SendPace, uplink::UplinkConfig, wav};

/// Pieces that wait to be sent: more than a second, so that it is seen when an input has that much.
const QUEUED_CHUNKS_MAX: usize = 256;

/// Pieces in a second, if the input has that much at once.
const CHUNKS_PER_SECOND: u32 = 50;

/// What was sent is heard by now, even if it waited as long as a server lets it.
const TAIL: std::time::Duration = std::time::Duration::from_millis(400);

/// Whether standard input is a file, which has no pace of its own.
pub(super) fn is_file() -> bool {
    file()
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| metadata.is_file())
}

/// Standard input, without a buffer.
pub(super) fn file() -> io::Result<File> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// Whether something other than a keyboard is behind standard input.
pub(super) fn is_piped() -> bool {
    !io::stdin().is_terminal()
}

/// Audio to send.
pub(super) struct StdinSource {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    next: Option<Bytes>,
    /// Bytes that were read and not sent yet.
    ready: Arc<AtomicUsize>,
    pace: SendPace,
    has_begun: bool,
}

impl StdinSource {
    /// Begins to read standard input.
    pub(super) fn start(speaking: UplinkConfig) -> Self {
        let bytes_per_second = speaking.rate * u32::from(speaking.channels) * 2;
        let (sender, pieces) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let ready = Arc::new(AtomicUsize::new(0));
        let (length, counter) = (
            (bytes_per_second / CHUNKS_PER_SECOND) as usize,
            ready.clone(),
        );
        thread::spawn(move || read(&sender, length, &counter));
        Self {
            pieces,
            next: None,
            ready,
            pace: SendPace::new(bytes_per_second, speaking.is_paced),
            has_begun: false,
        }
    }

    /// The next piece, when it is due. Can be cancelled without losing any.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, String>> {
        if self.next.is_none() {
            self.next = match self.pieces.recv().await? {
                Err(error) => return Some(Err(format!("cannot read standard input: {error}"))),
                Ok(piece) if self.is_wav(&piece) => return Some(Err(NOT_WAV.to_owned())),
                Ok(piece) => Some(piece),
            };
        }
        sleep_until(self.pace.due(Instant::now()).into()).await;
        let piece = self.next.take()?;
        let ready = self.ready.fetch_sub(piece.len(), Ordering::Relaxed) - piece.len();
        if self.pace.sent(piece.len(), ready, Instant::now()) {
            output::print_status(INPUT_TOO_FAST);
        }
        Some(Ok(piece))
    }

    /// Waits until what was sent could be heard.
    pub(super) async fn heard(&self) {
        sleep_until(self.pace.heard(Instant::now()).into()).await;
        sleep(TAIL).await;
    }

    fn is_wav(&mut self, piece: &[u8]) -> bool {
        !std::mem::replace(&mut self.has_begun, true) && wav::is_wav(piece)
    }
}

const INPUT_TOO_FAST: &str =
    "The input comes faster than it can be heard: it is sent at real time, as with --pace";

const NOT_WAV: &str = "standard input is a WAV file, and should be bare samples; \
    try: ffmpeg -i FILE -f s16le -ac 1 -ar 48000 - | switchboard voice … --pace";

/// Reads past the buffer of the standard library, which would cut every piece of its own size.
fn read(to: &mpsc::Sender<io::Result<Bytes>>, length: usize, ready: &AtomicUsize) {
    let mut piece = vec![0; length];
    let mut input = file();
    loop {
        let read = match input.as_mut().map(|input| input.read(&mut piece)) {
            Ok(Ok(0)) => return,
            Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(read) => read.map(|count| Bytes::copy_from_slice(&piece[..count])),
            Err(error) => Err(error.kind().into()),
        };
        let is_over = read.is_err();
        ready.fetch_add(read.as_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        if to.blocking_send(read).is_err() || is_over {
            return;
        }
    }
}
