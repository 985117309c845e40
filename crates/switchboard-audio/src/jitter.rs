//! The jitter buffer of a source: a bounded buffer between a network that delivers at irregular times and a
//! mixer that takes 20 ms every 20 ms.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crate::{FRAME_SAMPLES, Frame, MixSettings, level::LevelMeter};
use parking_lot::{Mutex, MutexGuard};

/// Samples buffered before a source starts or resumes playing: 40 ms. Browsers send 1024 samples every 21 ms, so with
/// less in the buffer every second frame could find too few samples, which crackles.
const PREFILL_SAMPLES: usize = 1_920;

/// Maximum frames to wait for the prefill, so that a sound shorter than the prefill is played too.
const PREFILL_FRAMES: u8 = 2;

/// Feeds one source of the mixer. Clones share the source, which is removed once all are dropped.
#[derive(Clone, Debug)]
pub struct SourceHandle {
    buffer: Arc<Mutex<JitterBuffer>>,
}

#[derive(Debug)]
struct JitterBuffer {
    samples: VecDeque<i16>,
    samples_max: usize,
    /// False from an underrun until the buffer is prefilled again.
    is_playing: bool,
    /// Number of frames that buffered samples have waited for the prefill.
    waited_frames: u8,
    meter: LevelMeter,
}

impl SourceHandle {
    /// Creates a source for a mixer with these settings; [`crate::Mixer::insert_source`] adds it.
    #[must_use]
    pub fn new(settings: &MixSettings) -> Self {
        Self {
            buffer: Arc::new(Mutex::new(JitterBuffer {
                samples: VecDeque::new(),
                samples_max: settings.latency_samples_max(),
                is_playing: false,
                waited_frames: 0,
                meter: LevelMeter::default(),
            })),
        }
    }

    /// Adds any number of samples at 48 kHz. The oldest beyond `latency_max` are dropped.
    pub fn push(&self, samples: &[i16]) {
        let mut jitter = self.lock();
        jitter.meter.push_samples(samples);
        let newest = &samples[samples.len().saturating_sub(jitter.samples_max)..];
        let surplus = (jitter.samples.len() + newest.len()).saturating_sub(jitter.samples_max);
        jitter.samples.drain(..surplus);
        jitter.samples.extend(newest);
    }

    /// Whether the buffer holds no samples: the mixer has taken all that were pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().samples.is_empty()
    }

    /// Whether both handles feed the same source.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
    }

    /// Level of the last 100 ms pushed, in dBFS: -96 (silence) to 0. Falls when nothing is pushed. Does not
    /// depend on listeners.
    #[must_use]
    pub fn level(&self, now: Instant) -> f32 {
        self.lock().meter.read(now)
    }

    /// Moves 20 ms into `frame`, padded with silence. Returns false if the frame is digital silence.
    pub(crate) fn pull(&self, frame: &mut Frame) -> bool {
        let mut jitter = self.lock();
        let count = jitter.begin_frame();
        let (played, missing) = frame.split_at_mut(count);
        jitter.pop_samples(played);
        missing.fill(0);
        jitter.is_playing = missing.is_empty();
        drop(jitter);
        played.iter().any(|&sample| sample != 0)
    }

    /// Drops all samples except the newest, as many as the prefill. The others accumulated while there were no
    /// listeners.
    pub(crate) fn skip_to_now(&self) {
        let mut jitter = self.lock();
        let surplus = jitter.samples.len().saturating_sub(jitter.prefill());
        jitter.samples.drain(..surplus);
    }

    /// Whether another handle of this source exists.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Arc::strong_count(&self.buffer) > 1
    }

    fn lock(&self) -> MutexGuard<'_, JitterBuffer> {
        // A panic does not poison this lock; no code panics under it with the state half changed.
        self.buffer.lock()
    }
}

impl JitterBuffer {
    /// Counts a frame, and returns the number of samples to play in it; 0 while the buffer is being prefilled.
    fn begin_frame(&mut self) -> usize {
        let count = self.samples.len();
        if !self.is_playing && count < self.prefill() {
            let may_wait = self.waited_frames < PREFILL_FRAMES;
            self.waited_frames += u8::from(count > 0 && may_wait);
            if count == 0 || may_wait {
                return 0;
            }
        }
        self.waited_frames = 0;
        count.min(FRAME_SAMPLES)
    }

    /// Moves samples from the buffer to fill `to`. The buffer must hold that many.
    fn pop_samples(&mut self, to: &mut [i16]) {
        // A ring buffer has up to two contiguous parts.
        let (front, back) = self.samples.as_slices();
        let (to_front, to_back) = to.split_at_mut(front.len().min(to.len()));
        to_front.copy_from_slice(&front[..to_front.len()]);
        to_back.copy_from_slice(&back[..to_back.len()]);
        self.samples.drain(..to.len());
    }

    fn prefill(&self) -> usize {
        PREFILL_SAMPLES.min(self.samples_max)
    }
}
