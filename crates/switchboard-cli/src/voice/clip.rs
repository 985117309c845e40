//! Audio files, as the samples that a server takes. A thread of its own reads and decodes.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    thread,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::{mpsc, oneshot};

mod ogg;
mod riff;

use super::source;

/// Pieces that wait to be sent.
const QUEUED_CHUNKS_MAX: usize = 16;

/// Samples of each channel in a piece.
const CHUNK_SAMPLES: usize = 4096;

/// Files without a header, by their extensions.
const RAW: [&str; 4] = ["raw", "pcm", "s16", "s16le"];

/// How samples follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PcmFormat {
    /// Samples of each channel in a second.
    pub(super) rate: u32,
    pub(super) channels: u16,
}

/// The source of a clip.
#[derive(Clone, Debug)]
pub(super) enum ClipOrigin {
    Path(PathBuf),
    /// Standard input, where that is a file, from where it is now.
    Stdin,
}

/// An audio file that is being read.
pub(super) struct Clip {
    pub(super) format: PcmFormat,
    pieces: mpsc::Receiver<io::Result<Bytes>>,
}

/// A decoder that reads a file piece by piece: signed 16-bit little-endian samples.
trait Decode {
    fn format(&self) -> PcmFormat;
    /// The next piece; none at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, String>;
}

impl Clip {
    /// Opens a file. One without a header has the format `raw`.
    pub(super) async fn open(origin: ClipOrigin, raw: PcmFormat) -> Result<Self, String> {
        let (opened, format) = oneshot::channel();
        let (sender, pieces) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let name = origin.to_string();
        thread::spawn(move || match decoder(&origin, raw) {
            Ok(decoder) => {
                if opened.send(Ok(decoder.format())).is_ok() {
                    decode(decoder, &sender);
                }
            }
            // Without a receiver the program is about to end.
            Err(words) => drop(opened.send(Err(words))),
        });
        let format = format.await.map_err(|_| "its reader broke".to_owned());
        let format = format.flatten().map_err(|why| format!("{name}: {why}"))?;
        Ok(Self { format, pieces })
    }

    /// All samples of the clip.
    pub(super) fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(self.pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((piece, pieces))
        })
    }
}

fn decode(mut decoder: Box<dyn Decode>, to: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let piece = match decoder.next() {
            Ok(None) => return,
            Ok(Some(piece)) => Ok(piece.into()),
            Err(words) => Err(io::Error::other(words)),
        };
        let is_over = piece.is_err();
        if to.blocking_send(piece).is_err() || is_over {
            return;
        }
    }
}

impl ClipOrigin {
    fn file(&self) -> io::Result<File> {
        match self {
            Self::Path(path) => File::open(path),
            Self::Stdin => source::file(),
        }
    }

    /// Whether a file with an unknown beginning may hold raw samples.
    fn may_be_raw(&self) -> bool {
        match self {
            Self::Path(path) => is_raw(path),
            Self::Stdin => true,
        }
    }
}

impl std::fmt::Display for ClipOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Stdin => f.write_str("standard input"),
        }
    }
}

/// The decoder for this file, chosen by its first bytes.
fn decoder(origin: &ClipOrigin, raw: PcmFormat) -> Result<Box<dyn Decode>, String> {
    let mut file = origin.file().map_err(unreadable)?;
    let begin = file.stream_position().map_err(unreadable)?;
    let mut start = [0; 36];
    let count = read_full(&mut file, &mut start).map_err(unreadable)?;
    file.seek(SeekFrom::Start(begin)).map_err(unreadable)?;
    let (start, input) = (&start[..count], BufReader::new(file));
    if start.starts_with(b"RIFF") {
        return Ok(Box::new(riff::WavReader::open(input)?));
    }
    if start.starts_with(b"OggS") && start[28.min(count)..].starts_with(b"OpusHead") {
        return Ok(Box::new(ogg::OggOpusReader::open(input)?));
    }
    if start.starts_with(b"OggS") && start[28.min(count)..].starts_with(b"\x01vorbis") {
        return Ok(Box::new(ogg::OggVorbisReader::open(input)?));
    }
    if origin.may_be_raw() {
        return Ok(Box::new(RawPcm { input, format: raw }));
    }
    Err(format!(
        "is neither WAV, Ogg Opus nor Ogg Vorbis, nor named as raw samples (.{}); try: \
         ffmpeg -i FILE -f s16le -ac 1 -ar 48000 clip.raw",
        RAW.join(", .")
    ))
}

fn is_raw(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| RAW.contains(&&*extension.to_ascii_lowercase()))
}

/// Samples without a header.
struct RawPcm {
    input: BufReader<File>,
    format: PcmFormat,
}

impl Decode for RawPcm {
    fn format(&self) -> PcmFormat {
        self.format
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut piece = vec![0; CHUNK_SAMPLES * 2];
        let count = read_full(&mut self.input, &mut piece).map_err(unreadable)?;
        piece.truncate(count);
        Ok((count > 0).then_some(piece))
    }
}

fn read_full(input: &mut impl io::Read, to: &mut [u8]) -> io::Result<usize> {
    let length = to.len() as u64;
    let mut into = io::Cursor::new(to);
    let count = io::copy(&mut input.take(length), &mut into)?;
    Ok(usize::try_from(count).unwrap_or_default())
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unreadable(error: io::Error) -> String {
    format!("cannot be read: {error}")
}

fn bytes_of(samples: impl Iterator<Item = i16>) -> Vec<u8> {
    samples.flat_map(i16::to_le_bytes).collect()
}

/// A sample of -1 to 1.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from a float saturates"
)]
fn of_float(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}
