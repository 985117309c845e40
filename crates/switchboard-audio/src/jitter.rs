//! What a source has sent and nobody has heard: a bounded buffer between a network that delivers
//! when it likes and a mixer that takes 20 ms every 20 ms.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::{FRAME_SAMPLES, Frame, level::LevelMeter};

/// So much is gathered before a source is heard (again): 40 ms, because browsers send 1024 samples
/// every 21 ms, and a buffer that runs empty at every second frame crackles.
const PREFILL_SAMPLES: usize = 1_920;

/// But nobody waits longer than so many frames: a sound shorter than the prefill is heard too.
const PREFILL_FRAMES: u8 = 2;

/// One source's end of the mixer. Clones share the source, which is gone once all are dropped.
#[derive(Clone, Debug)]
pub struct SourceHandle {
    buffer: Arc<Mutex<JitterBuffer>>,
}

#[derive(Debug)]
struct JitterBuffer {
    samples: VecDeque<i16>,
    samples_max: usize,
    /// Between running empty and being filled again a source is not heard.
    is_playing: bool,
    /// How many frames samples have been waiting for the buffer to fill.
    waited_frames: u8,
    meter: LevelMeter,
}

impl SourceHandle {
    pub(crate) fn new(samples_max: usize) -> Self {
        Self {
            buffer: Arc::new(Mutex::new(JitterBuffer {
                samples: VecDeque::new(),
                samples_max,
                is_playing: false,
                waited_frames: 0,
                meter: LevelMeter::default(),
            })),
        }
    }

    /// Adds samples at 48 kHz, any number of them. Beyond `latency_max` the oldest go.
    pub fn push(&self, samples: &[i16]) {
        let mut jitter = self.lock();
        jitter.meter.push_samples(samples);
        let newest = &samples[samples.len().saturating_sub(jitter.samples_max)..];
        let surplus = (jitter.samples.len() + newest.len()).saturating_sub(jitter.samples_max);
        jitter.samples.drain(..surplus);
        jitter.samples.extend(newest);
    }

    /// Whether the mixer has taken everything that was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().samples.is_empty()
    }

    /// Whether both are ends of the same source.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
    }

    /// How loud the last 100 ms pushed were, in dB below full scale, -96 (silence) to 0. Falls
    /// when nothing is pushed; needs nobody who listens.
    #[must_use]
    pub fn level(&self, now: Instant) -> f32 {
        self.lock().meter.read(now)
    }

    /// Takes 20 ms, and silence for what is missing. False: it is nothing but silence.
    pub(crate) fn pull(&self, frame: &mut Frame) -> bool {
        let mut jitter = self.lock();
        let count = jitter.ready();
        let (played, missing) = frame.split_at_mut(count);
        jitter.pop_samples(played);
        missing.fill(0);
        jitter.is_playing = missing.is_empty();
        drop(jitter);
        played.iter().any(|&sample| sample != 0)
    }

    /// Forgets all but the prefill: nobody listened while it gathered.
    pub(crate) fn skip_to_now(&self) {
        let mut jitter = self.lock();
        let surplus = jitter.samples.len().saturating_sub(jitter.prefill());
        jitter.samples.drain(..surplus);
    }

    /// Whether somebody besides the mixer holds this source.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.buffer) > 1
    }

    fn lock(&self) -> MutexGuard<'_, JitterBuffer> {
        // Nothing that holds this lock panics half-way through a change.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JitterBuffer {
    /// How many samples are to be played in this frame.
    fn ready(&mut self) -> usize {
        let count = self.samples.len();
        if !self.is_playing && count < self.prefill() {
            let is_patient = self.waited_frames < PREFILL_FRAMES;
            self.waited_frames += u8::from(count > 0 && is_patient);
            if count == 0 || is_patient {
                return 0;
            }
        }
        self.waited_frames = 0;
        count.min(FRAME_SAMPLES)
    }

    /// Moves as many as there is room for, of those that are ready.
    fn pop_samples(&mut self, to: &mut [i16]) {
        // In two pieces, because that is how a ring lies in memory.
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
