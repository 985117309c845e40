//! The mixer: pure samples in, encoded streams out. No socket, no clock, no runtime: time is an
//! argument, bytes leave by an [`AudioSink`].
//!
//! Everything inside is one channel of signed 16-bit samples at 48 kHz, in frames of 20 ms. The
//! way of a sample:
//!
//! 1. [`PcmDecoder`] turns the bytes of a client into samples, resampled and mixed down where needed.
//! 2. [`SourceHandle`], the client's end of its jitter buffer, holds no more than `latency_max` of them.
//! 3. [`Mixer`] takes a frame of each source every 20 ms, when [`Ticker`] says so, and sums.
//! 4. Each distinct (mix, format) is encoded once; each listener gets it in a stream of its own.
//!
//! The run loop, which is the caller's: wait for [`Ticker::next`], then [`Mixer::begin_frame`],
//! then [`Mixer::render_next`] until it is false, yielding in between, then [`Ticker::advance`].
//! While [`Mixer::is_idle`] nobody need tick.
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use switchboard_audio::{Bytes, FRAME_SAMPLES, Format, Intake, MixSettings, Mixer, Outlet};
//!
//! struct Pipe(mpsc::SyncSender<Bytes>);
//! impl Outlet for Pipe {
//!     fn send(&mut self, bytes: Bytes) -> bool {
//!         self.0.try_send(bytes).is_ok()
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
//! let mut intake = Intake::new(48_000, 1)?;
//! intake.take(&[0; 4 * FRAME_SAMPLES], &microphone);
//! mixer.begin_frame();
//! while mixer.render_next() {}
//! assert_eq!(receiver.try_iter().map(|bytes| bytes.len()).collect::<Vec<_>>(), [44, 1920]);
//! # Ok::<(), switchboard_audio::UnsupportedPcm>(())
//! ```
#![warn(missing_docs)]

mod encoder;
mod format;
mod jitter;
mod level;
mod listener;
mod mixer;
mod ogg;
mod opus;
mod pcm_decoder;
mod resample;
mod settings;
mod stream;
mod sum;
mod ticker;
mod vorbis;
mod vorbis_encoder;
mod vorbis_workers;
mod wav;

use std::time::Duration;

pub use bytes::Bytes;

pub use crate::{
    format::Format,
    jitter::SourceHandle,
    listener::AudioSink,
    mixer::Mixer,
    pcm_decoder::{PcmDecoder, UnsupportedPcm},
    settings::MixSettings,
    ticker::Ticker,
};

/// Samples a second, of everything inside.
pub const SAMPLE_RATE: u32 = 48_000;

/// Samples in a frame: 20 ms.
pub const FRAME_SAMPLES: usize = 960;

/// How long a frame lasts.
pub const FRAME: Duration = Duration::from_millis(20);

/// 20 ms of one channel.
pub type Frame = [i16; FRAME_SAMPLES];
