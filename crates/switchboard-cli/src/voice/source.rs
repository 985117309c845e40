//! Audio on standard input, read by its own thread and paced.

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

use anyhow::anyhow;
use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{sleep, sleep_until},
};

use super::{output, pace::SendPace, uplink::UplinkConfig, wav};

/// Maximum chunks queued for sending, 5 s of audio: more than the 1 s by which `pace.rs` detects an input that is
/// faster than real time.
const QUEUED_CHUNKS_MAX: usize = 256;

/// A chunk has at most this part of a second of audio, and less if the input provides less at once.
const CHUNKS_PER_SECOND: u32 = 50;

/// Extra time until all sent audio has been played: more than a server buffers before it plays.
const TAIL: std::time::Duration = std::time::Duration::from_millis(400);

/// Whether standard input is a regular file, which can be read faster than real time.
pub(super) fn is_file() -> bool {
    file()
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| metadata.is_file())
}

/// Standard input, without a buffer.
pub(super) fn file() -> io::Result<File> {
    io::stdin().as_fd().try_clone_to_owned().map(File::from)
}

/// Whether standard input is not a terminal.
pub(super) fn is_piped() -> bool {
    !io::stdin().is_terminal()
}

/// Reads standard input and schedules its chunks.
pub(super) struct StdinSource {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    /// The chunk that is sent next, once it is due.
    next: Option<Bytes>,
    /// Number of bytes that were read and not sent yet.
    ready: Arc<AtomicUsize>,
    pace: SendPace,
    /// Whether the first chunk, which may be the header of a WAV file, has been read.
    has_begun: bool,
}

impl StdinSource {
    /// Starts the thread that reads standard input.
    pub(super) fn start(config: UplinkConfig) -> Self {
        let bytes_per_second = config.rate * u32::from(config.channels) * 2;
        let (sender, chunks) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let ready = Arc::new(AtomicUsize::new(0));
        let (length, counter) = (
            (bytes_per_second / CHUNKS_PER_SECOND) as usize,
            ready.clone(),
        );
        thread::spawn(move || read(&sender, length, &counter));
        Self {
            chunks,
            next: None,
            ready,
            pace: SendPace::new(bytes_per_second, config.is_paced),
            has_begun: false,
        }
    }

    /// Waits until the next chunk is due and returns it; `None` at the end of the input. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<anyhow::Result<Bytes>> {
        if self.next.is_none() {
            self.next = match self.chunks.recv().await? {
                Err(error) => {
                    let error = anyhow::Error::new(error).context("cannot read standard input");
                    return Some(Err(error));
                }
                Ok(chunk) if self.is_wav(&chunk) => return Some(Err(anyhow!(UNEXPECTED_WAV))),
                Ok(chunk) => Some(chunk),
            };
        }
        sleep_until(self.pace.due(Instant::now()).into()).await;
        let chunk = self.next.take()?;
        let ready = self.ready.fetch_sub(chunk.len(), Ordering::Relaxed) - chunk.len();
        if self.pace.record_sent(chunk.len(), ready, Instant::now()) {
            output::print_status(INPUT_TOO_FAST);
        }
        Some(Ok(chunk))
    }

    /// Waits until all sent audio has been played.
    pub(super) async fn wait_until_played(&self) {
        sleep_until(self.pace.played_at(Instant::now()).into()).await;
        sleep(TAIL).await;
    }

    fn is_wav(&mut self, chunk: &[u8]) -> bool {
        !std::mem::replace(&mut self.has_begun, true) && wav::is_wav(chunk)
    }
}

const INPUT_TOO_FAST: &str =
    "The input is faster than real time: it is sent at real time, as with --pace";

const UNEXPECTED_WAV: &str = "standard input is a WAV file; raw samples are expected; \
    try: ffmpeg -i FILE -f s16le -ac 1 -ar 48000 - | switchboard voice … --pace";

/// Reads standard input without the buffer of the standard library, which would limit the chunk size.
fn read(to: &mpsc::Sender<io::Result<Bytes>>, length: usize, ready: &AtomicUsize) {
    let mut chunk = vec![0; length];
    let mut input = file();
    loop {
        let read = match input.as_mut().map(|input| input.read(&mut chunk)) {
            Ok(Ok(0)) => return,
            Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => continue,
            Ok(read) => read.map(|count| Bytes::copy_from_slice(&chunk[..count])),
            Err(error) => Err(error.kind().into()),
        };
        let has_failed = read.is_err();
        ready.fetch_add(read.as_ref().map_or(0, Bytes::len), Ordering::Relaxed);
        if to.blocking_send(read).is_err() || has_failed {
            return;
        }
    }
}
