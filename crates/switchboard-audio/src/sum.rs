//! Arithmetic of mixing. Sums have 32 bits, which is exact for up to 65,536 sources at full scale. They are clamped to
//! 16 bits once, at the end, so the order of the sources does not matter. The loops run over arrays of fixed length,
//! so the compiler vectorizes them.

use crate::{FRAME_SAMPLES, Frame};

/// The sums of one frame, before they are clamped to 16 bits.
pub(crate) type SampleSums = [i32; FRAME_SAMPLES];

pub(crate) fn add(sum: &mut SampleSums, frame: &Frame) {
    for (sum, &sample) in sum.iter_mut().zip(frame) {
        *sum += i32::from(sample);
    }
}

pub(crate) fn subtract(sum: &mut SampleSums, frame: &Frame) {
    for (sum, &sample) in sum.iter_mut().zip(frame) {
        *sum -= i32::from(sample);
    }
}

/// Clamps the sums to 16 bits.
#[expect(clippy::cast_possible_truncation, reason = "clamped just before")]
pub(crate) fn saturate(frame: &mut Frame, sum: &SampleSums) {
    for (sample, &sum) in frame.iter_mut().zip(sum) {
        *sample = sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
    }
}

/// Whether a frame is digital silence.
pub(crate) fn is_silent(frame: &Frame) -> bool {
    frame.iter().fold(0, |bits, &sample| bits | sample) == 0
}
