//! The audio mixer: PCM samples in, encoded streams out. It uses no socket, no clock and no runtime: time is an
//! argument, and encoded bytes go to an [`AudioSink`].
//!
//! Internally, audio is one channel of signed 16-bit samples at 48 kHz, in frames of 20 ms. The path of a
//! sample:
//!
//! 1. [`PcmDecoder`] decodes the bytes of a client, and resamples and downmixes them if needed.
//! 2. [`SourceHandle`] pushes them into the source's jitter buffer, which holds at most `latency_max`.
//! 3. [`Mixer`] takes a frame of each source every 20 ms, scheduled by [`Ticker`], and sums them.
//! 4. Each distinct mix is encoded once for each format in which it is heard. Each listener gets its own stream of the
//!    packets, in pages of its [`Latency`]. Pages of the same frames share their body.
//!
//! The caller runs the loop: wait until [`Ticker::next`], call [`Mixer::begin_frame`], call [`Mixer::render_next`]
//! until it returns false (other tasks may run between these calls), then call [`Ticker::advance`]. While
//! [`Mixer::is_idle`], the loop may stop.
//!
//! The cargo feature `vorbis` (on by default) encodes Vorbis with libvorbis, which is written in C. Without it,
//! [`Format::parse`] fails for Vorbis with [`FormatError::BuiltWithoutVorbis`].
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use switchboard_audio::{AudioChunk, AudioSink, FRAME_SAMPLES, Format, MixSettings, Mixer, PcmDecoder};
//!
//! struct Pipe(mpsc::SyncSender<AudioChunk>);
//! impl AudioSink for Pipe {
//!     fn send(&mut self, chunk: AudioChunk) -> bool {
//!         self.0.try_send(chunk).is_ok()
//!     }
//!     fn is_open(&self) -> bool {
//!         true
//!     }
//! }
//!
//! let (sender, receiver) = mpsc::sync_channel(16);
//! let mut mixer = Mixer::new(Arc::new(MixSettings::default()));
//! let microphone = mixer.add_source(1);
//! mixer.add_listener(2, Format::Wav, Pipe(sender));
//!
//! let mut decoder = PcmDecoder::new(48_000, 1)?;
//! decoder.decode(&[0; 4 * FRAME_SAMPLES], &microphone);
//! mixer.begin_frame();
//! while mixer.render_next() {}
//! assert_eq!(receiver.try_iter().map(|chunk| chunk.len()).collect::<Vec<_>>(), [44, 1920]);
//! # Ok::<(), switchboard_audio::UnsupportedPcm>(())
//! ```
#![warn(missing_docs)]

mod chunk;
mod encoder;
mod format;
mod history;
mod jitter;
mod latency;
mod level;
mod listener;
mod mixer;
mod ogg;
mod opus;
mod pcm_decoder;
mod resample;
mod schedule;
mod settings;
mod stream;
mod sum;
mod ticker;
#[cfg(feature = "vorbis")]
mod vorbis;
#[cfg(feature = "vorbis")]
mod vorbis_encoder;
#[cfg(feature = "vorbis")]
mod vorbis_workers;
mod wav;

use std::time::Duration;

pub use bytes::Bytes;

pub use crate::{
    chunk::AudioChunk,
    format::{Format, FormatError},
    jitter::SourceHandle,
    latency::{Latency, LatencyError},
    listener::{AudioSink, ListenerStream},
    mixer::Mixer,
    pcm_decoder::{PcmDecoder, UnsupportedPcm},
    settings::MixSettings,
    ticker::Ticker,
};

/// Internal sample rate in Hz.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples per frame of 20 ms.
pub const FRAME_SAMPLES: usize = 960;

/// Duration of a frame.
pub const FRAME: Duration = Duration::from_millis(20);

/// Samples of 20 ms of one channel at 48 kHz.
pub type Frame = [i16; FRAME_SAMPLES];
