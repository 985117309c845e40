//! Where a stream goes: a file or a pipe, written by a thread of its own.

use std::{
    fs::File,
    io::{self, ErrorKind, IsTerminal as _, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{meter::WIPE_REST, wav};

/// Pieces that wait for a slow disk or pipe. When there are more, the server waits, and in the end cuts us off.
const QUEUED_CHUNKS_MAX: usize = 64;

/// How long the last pieces may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Says something to the person at the terminal. Nobody need read it.
pub(super) fn print_status(words: &str) {
    let wipe = if io::stderr().is_terminal() {
        format!("\r{WIPE_REST}")
    } else {
        String::new()
    };
    drop(io::stderr().write_all(format!("{wipe}{words}\n").as_bytes()));
}

/// Prints one line to standard output, for scripts. A closed pipe wants no more.
pub(super) fn print(line: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("cannot write: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What is written to.
enum OutputTarget {
    File(File, PathBuf),
    Stdout,
}

/// A stream's way out.
pub(super) struct AudioOutput {
    pieces: mpsc::Sender<Bytes>,
    done: oneshot::Receiver<Result<(), String>>,
}

impl AudioOutput {
    /// `None` where nothing is to be written: on a terminal, unless it is said otherwise.
    pub(super) fn open(path: Option<&Path>) -> Result<Option<Self>, String> {
        let target = match path {
            Some(path) if path.as_os_str() != "-" => {
                let file = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path);
                let file =
                    file.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
                OutputTarget::File(file, path.to_owned())
            }
            None if io::stdout().is_terminal() => return Ok(None),
            Some(_) | None => OutputTarget::Stdout,
        };
        let (pieces, receiver) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let (finished, done) = oneshot::channel();
        // Nobody waits for it any more when the sending fails.
        thread::spawn(move || finished.send(target.write(receiver)));
        Ok(Some(Self { pieces, done }))
    }

    /// Hands over a piece. False when no more is wanted; `finish` tells why.
    pub(super) async fn write(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// Waits until everything is written.
    pub(super) async fn finish(self) -> Result<(), String> {
        drop(self.pieces);
        match timeout(TIMEOUT, self.done).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) | Err(_) => {
                Err("the last of the audio could not be written: nobody takes it".to_owned())
            }
        }
    }
}

impl OutputTarget {
    fn write(self, pieces: mpsc::Receiver<Bytes>) -> Result<(), String> {
        let (written, name) = match self {
            Self::File(file, path) => (record(file, pieces), path.display().to_string()),
            Self::Stdout => (
                copy(&mut io::stdout().lock(), pieces).map(drop),
                "to standard output".to_owned(),
            ),
        };
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(format!("cannot write {name}: {error}"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Writes a file, which is emptied only when there is something to write.
fn record(mut file: File, mut pieces: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let Some(first) = pieces.blocking_recv() else {
        return Ok(());
    };
    let is_regular = file.metadata()?.is_file();
    if is_regular {
        file.set_len(0)?;
    }
    file.write_all(&first)?;
    let bytes = first.len() as u64 + copy(&mut file, pieces)?;
    if is_regular && wav::is_wav(&first) {
        wav::write_lengths(&mut file, bytes)?;
    }
    Ok(())
}

fn copy(to: &mut impl Write, mut pieces: mpsc::Receiver<Bytes>) -> io::Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = pieces.blocking_recv() {
        to.write_all(&piece)?;
        to.flush()?;
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}
