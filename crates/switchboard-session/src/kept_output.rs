//! The numbered output of a session that a client can resume over another connection.

use std::{collections::VecDeque, time::Duration};

use bytestring::ByteString;
use switchboard_dialects::{KeepSession, ResumeError};

/// The frames of a session that its client has not acknowledged, in order. Frames are numbered from 1. If they exceed
/// the bound in bytes, the oldest are dropped, and a client that has not received these cannot resume.
#[derive(Debug)]
pub(crate) struct KeptOutput {
    settings: KeepSession,
    frames: VecDeque<ByteString>,
    /// The number of the oldest frames that are not kept any more, because they were acknowledged or dropped.
    removed: u64,
    /// The number of the last frame that the client has acknowledged.
    acknowledged: u64,
    bytes: usize,
    /// 0: no limit.
    bytes_max: usize,
}

impl KeptOutput {
    pub(crate) fn new(settings: KeepSession, bytes_max: usize) -> Self {
        Self {
            settings,
            frames: VecDeque::new(),
            removed: 0,
            acknowledged: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// The time for which the session is kept without a connection.
    pub(crate) fn time(&self) -> Duration {
        self.settings.time
    }

    /// Whether no frame that the client may have missed was dropped.
    pub(crate) fn is_complete(&self) -> bool {
        self.removed <= self.acknowledged
    }

    /// Keeps frames that follow the earlier ones.
    pub(crate) fn extend(&mut self, frames: &[ByteString]) {
        for frame in frames {
            self.bytes += frame.len();
            self.frames.push_back(frame.clone());
        }
        while self.bytes_max != 0 && self.bytes > self.bytes_max {
            self.remove_oldest();
        }
    }

    /// Removes the frames up to this number, which the client has received.
    ///
    /// # Errors
    /// [`ResumeError::NotSent`] for a number of a frame that was not sent yet.
    pub(crate) fn acknowledge(&mut self, received: u64) -> Result<(), ResumeError> {
        if received > self.removed + self.frames.len() as u64 {
            return Err(ResumeError::NotSent);
        }
        self.acknowledged = self.acknowledged.max(received);
        while self.removed < received {
            self.remove_oldest();
        }
        Ok(())
    }

    /// Checks the token of a client that has received the frames up to this number, and returns the frames that it
    /// has missed.
    ///
    /// # Errors
    /// The reason why the client cannot resume the session.
    pub(crate) fn resume(
        &mut self,
        token: &str,
        received: u64,
    ) -> Result<impl Iterator<Item = ByteString>, ResumeError> {
        if !is_equal(token.as_bytes(), self.settings.token.as_bytes()) {
            return Err(ResumeError::NotFound);
        }
        if received < self.removed {
            return Err(ResumeError::OutputDropped);
        }
        self.acknowledge(received)?;
        Ok(self.frames.iter().cloned())
    }

    fn remove_oldest(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.len();
            self.removed += 1;
        }
    }
}

/// Compares two secrets in a time that depends only on their length.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    let pairs = left.iter().zip(right);
    left.len() == right.len() && pairs.fold(0, |found, (left, right)| found | (left ^ right)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes_max: usize) -> KeptOutput {
        let settings = KeepSession {
            token: "secret".to_owned(),
            time: Duration::from_secs(60),
        };
        KeptOutput::new(settings, bytes_max)
    }

    fn frames(texts: &[&str]) -> Vec<ByteString> {
        texts.iter().map(|text| ByteString::from(*text)).collect()
    }

    fn resume(kept: &mut KeptOutput, received: u64) -> Result<Vec<ByteString>, ResumeError> {
        kept.resume("secret", received).map(Iterator::collect)
    }

    #[test]
    fn frames_after_the_last_received_one_are_returned_in_order() {
        let mut kept = kept(0);
        kept.extend(&frames(&["1", "2", "3"]));
        assert_eq!(kept.acknowledge(1), Ok(()));
        kept.extend(&frames(&["4"]));
        assert_eq!(resume(&mut kept, 2), Ok(frames(&["3", "4"])));
        assert_eq!(resume(&mut kept, 4), Ok(Vec::new()));
        assert_eq!(resume(&mut kept, 2), Err(ResumeError::OutputDropped));
        assert_eq!(resume(&mut kept, 5), Err(ResumeError::NotSent));
        assert_eq!(kept.acknowledge(5), Err(ResumeError::NotSent));
        let wrong = ["", "secreT", "secret "].map(|token| kept.resume(token, 4).err());
        assert_eq!(wrong, [const { Some(ResumeError::NotFound) }; 3]);
    }

    #[test]
    fn the_oldest_frames_are_dropped_over_the_bound() {
        let mut kept = kept(10);
        kept.extend(&frames(&["12345", "12345"]));
        assert!(kept.is_complete());
        kept.extend(&frames(&["1"]));
        assert!(!kept.is_complete());
        assert_eq!(resume(&mut kept, 0), Err(ResumeError::OutputDropped));
        assert_eq!(resume(&mut kept, 1), Ok(frames(&["12345", "1"])));
        assert!(
            kept.is_complete(),
            "the client has received what was dropped"
        );
    }

    #[test]
    fn acknowledged_frames_free_their_bytes() {
        let mut kept = kept(10);
        for number in 1..100 {
            kept.extend(&frames(&["1234567890"]));
            assert!(kept.is_complete());
            assert_eq!(kept.acknowledge(number), Ok(()));
        }
    }
}
