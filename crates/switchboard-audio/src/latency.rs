//! How long the audio of a listener is gathered before it is sent.

use std::{error, fmt, time::Duration};

use crate::{FRAME, Format};

/// How long the audio of a listener is gathered before it is sent: the duration of an Ogg page, or of one write of WAV.
/// A longer latency costs less CPU time, because each write has a fixed cost, and delays the audio by that much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Latency {
    /// From 1 to [`FRAMES_MAX`].
    frames: u8,
}

/// 1 s.
const FRAMES_MAX: u8 = 50;

/// A duration that [`Latency::from_millis`] does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyError(u64);

impl Latency {
    /// The shortest latency in ms: one frame.
    pub const MILLIS_MIN: u64 = FRAME.as_millis() as u64;
    /// The longest latency in ms.
    pub const MILLIS_MAX: u64 = Self::MILLIS_MIN * FRAMES_MAX as u64;

    /// A latency in ms, rounded down to whole frames of 20 ms.
    ///
    /// # Errors
    /// If it is not from [`Latency::MILLIS_MIN`] to [`Latency::MILLIS_MAX`].
    pub fn from_millis(millis: u64) -> Result<Self, LatencyError> {
        if !(Self::MILLIS_MIN..=Self::MILLIS_MAX).contains(&millis) {
            return Err(LatencyError(millis));
        }
        let frames = u8::try_from(millis / Self::MILLIS_MIN).unwrap_or(FRAMES_MAX);
        Ok(Self { frames })
    }

    /// The latency of a listener that takes part in the conversation, and of all listeners by default. Pages of 60 ms
    /// balance the delay with the overhead of a page. Each frame of WAV is sent at once.
    pub(crate) fn of_conversation(format: Format) -> Self {
        let frames = match format {
            Format::Wav => 1,
            Format::Vorbis | Format::Opus => 3,
        };
        Self { frames }
    }

    /// The nearest latency to a duration. `None` if it is zero.
    pub(crate) fn clamped(duration: Duration) -> Option<Self> {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let millis = millis.clamp(Self::MILLIS_MIN, Self::MILLIS_MAX);
        (!duration.is_zero())
            .then(|| Self::from_millis(millis).ok())
            .flatten()
    }

    /// Number of frames of 20 ms.
    pub(crate) fn frames(self) -> u64 {
        self.frames.into()
    }
}

impl fmt::Display for LatencyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (Latency::MILLIS_MIN, Latency::MILLIS_MAX);
        write!(formatter, "must be {min} to {max} ms, and is {}", self.0)
    }
}

impl error::Error for LatencyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_bounded_and_rounded_down_to_frames() {
        for (millis, frames) in [(20, 1), (39, 1), (60, 3), (200, 10), (1_000, 50)] {
            assert_eq!(Latency::from_millis(millis), Ok(Latency { frames }));
        }
        for millis in [0, 19, 1_001, u64::MAX] {
            let error = Latency::from_millis(millis).expect_err("out of bounds");
            let expected = format!("must be 20 to 1000 ms, and is {millis}");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn settings_are_clamped_and_zero_is_none() {
        let clamped = |millis| Latency::clamped(Duration::from_millis(millis)).map(Latency::frames);
        assert_eq!(
            [0, 1, 210, 5_000].map(clamped),
            [None, Some(1), Some(10), Some(50)]
        );
    }
}
