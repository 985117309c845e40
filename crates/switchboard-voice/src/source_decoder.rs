//! Decodes the PCM of one source: short work in place, long work on the audio threads.

use std::sync::Arc;

use bytes::Bytes;
use switchboard_audio::{PcmDecoder, SourceHandle};
use tokio::task::JoinHandle;

use crate::audio_threads::{AudioThreads, finish};

/// A message up to this size in bytes is decoded in place if it needs no resampling: that takes about 15 µs, less than
/// a change of threads.
const IN_PLACE_BYTES_MAX: usize = 16 * 1024;

/// The decoder of one source and the mixer input that it feeds.
pub(crate) struct SourceDecoder {
    input: SourceHandle,
    threads: Arc<AudioThreads>,
    /// `None` while `decoding`.
    decoder: Option<Box<PcmDecoder>>,
    /// Work in progress on the audio threads; returns the decoder.
    decoding: Option<JoinHandle<Box<PcmDecoder>>>,
}

impl SourceDecoder {
    pub(crate) fn new(
        decoder: PcmDecoder,
        input: SourceHandle,
        threads: Arc<AudioThreads>,
    ) -> Self {
        Self {
            input,
            threads,
            decoder: Some(Box::new(decoder)),
            decoding: None,
        }
    }

    pub(crate) fn input(&self) -> &SourceHandle {
        &self.input
    }

    /// Starts to decode a message. The previous one must be [decoded](Self::decoded).
    pub(crate) fn decode(&mut self, bytes: Bytes) {
        debug_assert!(self.decoding.is_none(), "one message at a time");
        let is_short =
            |decoder: &PcmDecoder| !decoder.is_resampling() && bytes.len() <= IN_PLACE_BYTES_MAX;
        match &mut self.decoder {
            Some(decoder) if is_short(decoder) => decoder.decode(&bytes, &self.input),
            Some(_) | None => self.start(move |decoder, input| decoder.decode(&bytes, input)),
        }
    }

    /// Starts to flush the resampler at the end of the source.
    pub(crate) fn finish(&mut self) {
        self.start(PcmDecoder::finish);
    }

    /// Completes when all messages are decoded. May be cancelled and called again.
    pub(crate) async fn decoded(&mut self) {
        if let Some(decoding) = &mut self.decoding {
            self.decoder = Some(finish(decoding).await);
            self.decoding = None;
        }
    }

    fn start(&mut self, work: impl FnOnce(&mut PcmDecoder, &SourceHandle) + Send + 'static) {
        let input = self.input.clone();
        self.decoding = self.decoder.take().map(|mut decoder| {
            self.threads.start(move || {
                work(&mut decoder, &input);
                decoder
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use switchboard_audio::MixSettings;

    use super::{super::audio_threads::tests::audio_threads, *};

    fn decoder(rate: u32) -> SourceDecoder {
        let input = SourceHandle::new(&MixSettings::default());
        let decoder = PcmDecoder::new(rate, 1).expect("a supported rate");
        SourceDecoder::new(decoder, input, Arc::new(audio_threads()))
    }

    #[tokio::test]
    async fn short_message_is_decoded_in_place() {
        let mut source = decoder(48_000);
        source.decode(vec![1; 1920].into());
        assert!(source.decoding.is_none() && !source.input().is_empty());
    }

    #[tokio::test]
    async fn long_and_resampled_messages_are_decoded_on_the_audio_threads() {
        for (rate, bytes) in [(48_000, IN_PLACE_BYTES_MAX + 1), (44_100, 1920)] {
            let mut source = decoder(rate);
            for _ in 0..3 {
                source.decode(vec![1; bytes].into());
                assert!(source.decoding.is_some());
                source.decoded().await;
                assert!(source.decoding.is_none() && !source.input().is_empty());
            }
            source.finish();
            source.decoded().await;
        }
    }
}
