//! Tones that the tests send, and the analysis of received audio.

use std::{fs, path::Path};

use crate::{AMPLITUDE, FRAME, RATE};

/// The raw samples of a sine.
pub(crate) fn tone(frequency: f64, millis: usize, rate: u32, channels: usize) -> Vec<u8> {
    let count = rate as usize * millis / 1000;
    let sample = |at: usize| {
        let phase = at as f64 * frequency / f64::from(rate) * std::f64::consts::TAU;
        ((AMPLITUDE * phase.sin()).round() as i16)
            .to_le_bytes()
            .repeat(channels)
    };
    (0..count).flat_map(sample).collect()
}

/// The samples of a WAV file.
pub(crate) struct Recording(Vec<f64>);

impl Recording {
    /// Reads a file and checks its header.
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).expect("a file");
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(
            (&bytes[..4], &bytes[8..16], &bytes[36..40]),
            (&b"RIFF"[..], &b"WAVEfmt "[..], &b"data"[..])
        );
        assert_eq!(
            (number(4) as usize, number(40) as usize),
            (bytes.len() - 8, bytes.len() - 44)
        );
        assert_eq!(
            (number(20), number(24)),
            (0x0001_0001, RATE),
            "one channel of PCM"
        );
        let sample = |pair: &[u8]| f64::from(i16::from_le_bytes([pair[0], pair[1]]));
        Self(bytes[44..].chunks_exact(2).map(sample).collect())
    }

    /// The amplitude of a frequency in each frame of 20 ms.
    pub(crate) fn amplitudes(&self, frequency: f64) -> Vec<f64> {
        self.0
            .chunks_exact(FRAME)
            .map(|frame| amplitude_of(frame, frequency))
            .collect()
    }

    /// Checks that the tone has its amplitude and duration; late audio may leave gaps.
    pub(crate) fn assert_tone(&self, frequency: f64, millis: usize) {
        let amplitudes = self.amplitudes(frequency);
        let is_loud = |amplitude: &&f64| (**amplitude / AMPLITUDE - 1.0).abs() < 0.05;
        let loud = amplitudes.iter().filter(is_loud).count() * 20;
        assert!(
            loud >= millis * 8 / 10,
            "{loud} of {millis} ms at {frequency} Hz: {amplitudes:?}"
        );
        let energy: f64 = self.0.iter().map(|sample| sample * sample).sum();
        let lasted = energy / (AMPLITUDE * AMPLITUDE / 2.0) / f64::from(RATE) * 1000.0;
        assert!(
            (lasted - millis as f64).abs() < 50.0,
            "{lasted} of {millis} ms: {amplitudes:?}"
        );
    }

    /// Checks that the tone is absent, except for the click at the start or end of another tone.
    pub(crate) fn assert_no_tone(&self, frequency: f64) {
        let amplitudes = self.amplitudes(frequency);
        let loud = amplitudes
            .iter()
            .filter(|&&amplitude| amplitude > AMPLITUDE / 4.0)
            .count();
        assert!(loud <= 2, "{frequency} Hz: {amplitudes:?}");
    }
}

/// The amplitude of a frequency.
fn amplitude_of(samples: &[f64], frequency: f64) -> f64 {
    let phase_step = frequency / f64::from(RATE) * std::f64::consts::TAU;
    let (sine, cosine) =
        samples
            .iter()
            .enumerate()
            .fold((0.0, 0.0), |(sine, cosine), (at, sample)| {
                let phase = at as f64 * phase_step;
                (sine + sample * phase.sin(), cosine + sample * phase.cos())
            });
    f64::hypot(sine, cosine) * 2.0 / samples.len() as f64
}
