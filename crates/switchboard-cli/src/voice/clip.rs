//! Audio files, decoded to the PCM samples that a server accepts. A separate thread reads and decodes.

use std::{
    fs::File,
    io::{self, BufReader, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::{mpsc, oneshot};

mod ogg;
mod riff;
#[cfg(feature = "vorbis")]
mod vorbis;

use super::source;

/// Maximum chunks queued for sending.
const QUEUED_CHUNKS_MAX: usize = 16;

/// Samples of each channel per chunk.
const CHUNK_SAMPLES: usize = 4096;

/// Extensions of files with raw samples.
const RAW: [&str; 4] = ["raw", "pcm", "s16", "s16le"];

/// Sample rate and number of channels of interleaved samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PcmFormat {
    /// Sample rate in Hz.
    pub(super) rate: u32,
    pub(super) channels: u16,
}

/// The source of a clip.
#[derive(Clone, Debug)]
pub(super) enum ClipOrigin {
    Path(PathBuf),
    /// Standard input, if it is a regular file, from its current position.
    Stdin,
}

/// An opened audio file.
pub(super) struct Clip {
    pub(super) format: PcmFormat,
    chunks: mpsc::Receiver<io::Result<Bytes>>,
}

/// A decoder that reads a file in chunks of signed 16-bit little-endian samples.
trait Decode {
    fn format(&self) -> PcmFormat;
    /// The next chunk; `None` at the end.
    fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>>;
}

impl Clip {
    /// Opens a file. A file without a header has the format `raw`.
    ///
    /// # Errors
    /// If the file cannot be read or decoded.
    pub(super) async fn open(origin: ClipOrigin, raw: PcmFormat) -> anyhow::Result<Self> {
        let (opened, format) = oneshot::channel();
        let (sender, chunks) = mpsc::channel(QUEUED_CHUNKS_MAX);
        let name = origin.to_string();
        thread::spawn(move || match decoder(&origin, raw) {
            Ok(decoder) => {
                if opened.send(Ok(decoder.format())).is_ok() {
                    decode(decoder, &sender);
                }
            }
            // Without a receiver, the program is about to end.
            Err(message) => drop(opened.send(Err(message))),
        });
        let format = format
            .await
            .map_err(|_| anyhow!("the reader thread ended unexpectedly"));
        let format = format.flatten().context(name)?;
        Ok(Self { format, chunks })
    }

    /// Streams all samples of the clip.
    pub(super) fn chunks(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::unfold(self.chunks, |mut chunks| async {
            let chunk = chunks.recv().await?;
            Some((chunk, chunks))
        })
    }
}

fn decode(mut decoder: Box<dyn Decode>, to: &mpsc::Sender<io::Result<Bytes>>) {
    loop {
        let chunk = match decoder.next() {
            Ok(None) => return,
            Ok(Some(chunk)) => Ok(chunk.into()),
            Err(message) => Err(io::Error::other(message)),
        };
        let has_failed = chunk.is_err();
        if to.blocking_send(chunk).is_err() || has_failed {
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

    /// Whether a file of unknown type is read as raw samples.
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

/// Opens the decoder for a file, chosen by its first bytes.
fn decoder(origin: &ClipOrigin, raw: PcmFormat) -> anyhow::Result<Box<dyn Decode>> {
    let mut file = origin.file().map_err(unreadable)?;
    let position = file.stream_position().map_err(unreadable)?;
    let mut start = [0; 36];
    let count = read_full(&mut file, &mut start).map_err(unreadable)?;
    file.seek(SeekFrom::Start(position)).map_err(unreadable)?;
    let (start, input) = (&start[..count], BufReader::new(file));
    if start.starts_with(b"RIFF") {
        return Ok(Box::new(riff::WavReader::open(input)?));
    }
    if start.starts_with(b"OggS") && start[28.min(count)..].starts_with(b"OpusHead") {
        return Ok(Box::new(ogg::OggOpusReader::open(input)?));
    }
    if start.starts_with(b"OggS") && start[28.min(count)..].starts_with(b"\x01vorbis") {
        return vorbis_reader(input);
    }
    if origin.may_be_raw() {
        return Ok(Box::new(RawPcm { input, format: raw }));
    }
    Err(anyhow!(
        "is neither WAV, Ogg Opus nor Ogg Vorbis, nor named as raw samples (.{}); try: \
         ffmpeg -i FILE -f s16le -ac 1 -ar 48000 clip.raw",
        RAW.join(", .")
    ))
}

#[cfg(feature = "vorbis")]
fn vorbis_reader(input: BufReader<File>) -> anyhow::Result<Box<dyn Decode>> {
    Ok(Box::new(vorbis::OggVorbisReader::open(input)?))
}

#[cfg(not(feature = "vorbis"))]
fn vorbis_reader(_input: BufReader<File>) -> anyhow::Result<Box<dyn Decode>> {
    Err(anyhow!(
        "is Ogg Vorbis, and this build lacks the cargo feature `vorbis`; try: \
         ffmpeg -i FILE clip.wav"
    ))
}

fn is_raw(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| RAW.contains(&&*extension.to_ascii_lowercase()))
}

/// Reads raw samples without a header.
struct RawPcm {
    input: BufReader<File>,
    format: PcmFormat,
}

impl Decode for RawPcm {
    fn format(&self) -> PcmFormat {
        self.format
    }

    fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut chunk = vec![0; CHUNK_SAMPLES * 2];
        let count = read_full(&mut self.input, &mut chunk).map_err(unreadable)?;
        chunk.truncate(count);
        Ok((count > 0).then_some(chunk))
    }
}

fn read_full(input: &mut impl io::Read, to: &mut [u8]) -> io::Result<usize> {
    let length = to.len() as u64;
    let mut into = io::Cursor::new(to);
    let count = io::copy(&mut input.take(length), &mut into)?;
    Ok(usize::try_from(count).unwrap_or_default())
}

fn unreadable(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("cannot be read")
}

fn sample_bytes(samples: impl Iterator<Item = i16>) -> Vec<u8> {
    samples.flat_map(i16::to_le_bytes).collect()
}

/// Converts a float sample from -1 to 1 to 16 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from a float saturates"
)]
fn sample_from_float(sample: f32) -> i16 {
    (sample * 32_768.0).round() as i16
}
