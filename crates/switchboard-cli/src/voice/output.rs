//! The output of a stream: a file or a pipe, written by its own thread.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal as _, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{meter::WIPE_REST, wav};

/// Maximum chunks queued for a slow disk or pipe. Beyond that, the server has to wait and finally disconnects.
const QUEUED_CHUNKS_MAX: usize = 64;

/// Timeout for writing the last chunks.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Prints a status line to standard error. Write errors are ignored.
pub(super) fn print_status(message: &str) {
    let wipe = if io::stderr().is_terminal() {
        format!("\r{WIPE_REST}")
    } else {
        String::new()
    };
    drop(io::stderr().write_all(format!("{wipe}{message}\n").as_bytes()));
}

/// Prints one line to standard output, for scripts. A closed pipe is not an error.
pub(super) fn print(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The destination of a stream.
enum OutputTarget {
    File(File, PathBuf),
    Stdout,
}

/// Writes a stream to its destination, through a bounded queue.
pub(super) struct AudioOutput {
    chunks: mpsc::Sender<Bytes>,
    done: oneshot::Receiver<anyhow::Result<()>>,
}

impl AudioOutput {
    /// Opens the output. Returns `None` without a path if standard output is a terminal.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let target = match path {
            Some(path) if path.as_os_str() != "-" => {
                let file = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path);
                let file = file.with_context(|| format!("cannot write {}", path.display()))?;
                OutputTarget::File(file, path.to_owned())
            }
            None if io::stdout().is_terminal() => return Ok(None),
            Some(_) | None => OutputTarget::Stdout,
        };
        let (chunks, receiver) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let (finished, done) = oneshot::channel();
        // Sending fails only if the receiver has been dropped.
        thread::spawn(move || finished.send(target.write(receiver)));
        Ok(Some(Self { chunks, done }))
    }

    /// Queues a chunk. Returns false if the writer has ended; `finish` returns the reason.
    pub(super) async fn write(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Waits until all queued chunks are written.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        drop(self.chunks);
        match timeout(TIMEOUT, self.done).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) | Err(_) => Err(anyhow!(
                "write failed: the output did not accept the rest of the audio within 5 s"
            )),
        }
    }
}

impl OutputTarget {
    fn write(self, chunks: mpsc::Receiver<Bytes>) -> anyhow::Result<()> {
        let (written, name) = match self {
            Self::File(file, path) => (record(file, chunks), path.display().to_string()),
            Self::Stdout => (
                copy(&mut io::stdout().lock(), chunks).map(drop),
                "to standard output".to_owned(),
            ),
        };
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(anyhow::Error::new(error).context(format!("cannot write {name}")))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Writes a file. It is truncated only when the first chunk arrives: if no audio arrives, an old recording is kept.
fn record(mut file: File, mut chunks: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let Some(first) = chunks.blocking_recv() else {
        return Ok(());
    };
    let is_regular = file.metadata()?.is_file();
    if is_regular {
        file.set_len(0)?;
    }
    file.write_all(&first)?;
    let bytes = first.len() as u64 + copy(&mut file, chunks)?;
    if is_regular && wav::is_wav(&first) {
        wav::write_lengths(&mut file, bytes)?;
    }
    Ok(())
}

fn copy(to: &mut impl Write, mut chunks: mpsc::Receiver<Bytes>) -> io::Result<u64> {
    let mut bytes = 0;
    while let Some(chunk) = chunks.blocking_recv() {
        to.write_all(&chunk)?;
        to.flush()?;
        bytes += chunk.len() as u64;
    }
    Ok(bytes)
}
