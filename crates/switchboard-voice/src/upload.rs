//! Microphones that send audio as a request body. The body is read and passed to the mixer at the pace of real time:
//! otherwise the mixer's queue would overflow, and a clip that is posted at once would not be heard in full.

use std::time::{Duration, Instant};

use axum::{
    body::{Body, BodyDataStream},
    http::StatusCode,
    response::IntoResponse,
};
use bytes::Bytes;
use futures_util::StreamExt;
use switchboard_audio::FRAME;
use tokio::time::{sleep, sleep_until, timeout};

use crate::{
    answer::{REPLACED, VoiceError, VoiceResult},
    attachment::AudioAttachment,
    audio::{AudioSource, BURST_SECS, PcmParameters},
    clock,
    service::{SERVER_STOPS, VoiceService},
};

/// Audio is passed to the mixer at most this long before it is due, so that the mixer does not run empty between two
/// chunks. [`UploadPace::new`] also limits it to half of the mixer's queue.
const LEAD_MAX: Duration = Duration::from_millis(80);

/// If a wait lasts this much longer than planned, the process itself has paused. The schedule is then delayed by the
/// pause, and the audio is not taken for late.
const PAUSE_MIN: Duration = Duration::from_millis(60);

/// Maximum total delay that pauses of the process add to one body, so that a live microphone does not fall
/// behind without bound.
const PAUSES_MAX: Duration = Duration::from_secs(2);

/// Chunks per second of audio.
const CHUNKS_PER_SECOND: u64 = 50;

/// Extra time after the end of the audio, in which the mixer can consume the rest of it.
const TAIL: Duration = Duration::from_millis(100);

/// Response to an upload whose access token has expired.
const EXPIRED: &str = "The access token has expired.";

impl VoiceService {
    /// Passes the audio of a request body to the mixer until the body, the call, the room or the server ends.
    /// `attachment` is the user's microphone in that call or room.
    pub(crate) async fn publish_by_body(
        &self,
        attachment: AudioAttachment,
        pcm: PcmParameters,
        body: Body,
    ) -> VoiceResult {
        let latency_max = self.state.mix().latency_max;
        let mut upload = Upload {
            pace: UploadPace::new(&pcm, latency_max),
            chunk: usize::try_from(pcm.real_time_bytes_per_second() / CHUNKS_PER_SECOND)
                .unwrap_or(usize::MAX),
            source: AudioSource::new(self, &attachment, pcm),
            body: body.into_data_stream(),
            latency_max,
            idle_timeout: self.heartbeat.timeout,
        };
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Ok(SERVER_STOPS.into_response()),
            () = attachment.mixer.ended() => Ok("The call has ended.\n".into_response()),
            () = attachment.replaced() => Err(VoiceError::new(StatusCode::CONFLICT, REPLACED)),
            () = attachment.expired() => Err(VoiceError::new(StatusCode::UNAUTHORIZED, EXPIRED)),
            done = upload.run() => done.map(IntoResponse::into_response),
        }
    }
}

/// A request body that is being passed to the mixer.
struct Upload {
    pace: UploadPace,
    /// Maximum bytes that are passed to the mixer at once.
    chunk: usize,
    source: AudioSource,
    body: BodyDataStream,
    latency_max: Duration,
    idle_timeout: Duration,
}

impl Upload {
    /// Completes when the body has ended and all of its audio has had time to be mixed.
    async fn run(&mut self) -> Result<(), VoiceError> {
        while let Some(mut bytes) = self.next().await? {
            while !bytes.is_empty() {
                let chunk = bytes.split_to(self.chunk.clamp(1, bytes.len()));
                let now = clock::now();
                let due = self.pace.due(now);
                if due > now {
                    sleep_until(due.into()).await;
                    self.pace.record_wait(due, clock::now());
                }
                let length = chunk.len();
                self.source.push(chunk).await;
                self.pace.record_passed(length, clock::now());
            }
        }
        self.source.finish().await;
        self.wait_until_mixed().await;
        Ok(())
    }

    /// The next bytes, or `None` at the end of the body. Fails if the client sends nothing for `idle_timeout`.
    async fn next(&mut self) -> Result<Option<Bytes>, VoiceError> {
        match timeout(self.idle_timeout, self.body.next()).await {
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(_))) => Err(VoiceError::bad("The request body ended early.")),
            Ok(None) => Ok(None),
            Err(_) => Err(VoiceError::new(
                StatusCode::REQUEST_TIMEOUT,
                "Timeout: no audio received.",
            )),
        }
    }

    /// Waits until the mixer has consumed all audio. Without a listener it consumes none, so the wait is limited.
    async fn wait_until_mixed(&mut self) {
        let now = clock::now();
        let end = self.pace.end(now) + self.latency_max + TAIL;
        while !self.source.is_empty() && clock::now() < end {
            sleep(FRAME).await;
        }
    }
}

/// Schedules the chunks of an upload: at the pace of real time since the first byte, and never more bytes per
/// second than the limit of the source. The time is an argument, for the tests.
#[derive(Debug)]
struct UploadPace {
    /// Bytes per second of audio that is played in real time.
    real_time_bytes_per_second: u64,
    /// Byte limit per second; 0 is no limit.
    bytes_per_second_max: u64,
    /// How far ahead of real time a chunk may be passed on.
    lead: Duration,
    /// The time at which the first byte was passed on, plus the pauses of the process.
    began: Option<Instant>,
    /// Bytes passed on since `began`.
    passed: u64,
    /// Remaining delay that pauses of this process may still add.
    pauses_left: Duration,
    /// Token bucket of the byte limit: the time at which the bucket is full again. Its size is `BURST_SECS` of the
    /// limit.
    burst_full_at: Option<Instant>,
}

impl UploadPace {
    fn new(pcm: &PcmParameters, latency_max: Duration) -> Self {
        Self {
            real_time_bytes_per_second: pcm.real_time_bytes_per_second().max(1),
            bytes_per_second_max: pcm.bytes_per_second_max.into(),
            lead: LEAD_MAX.min(latency_max / 2),
            began: None,
            passed: 0,
            pauses_left: PAUSES_MAX,
            burst_full_at: None,
        }
    }

    /// The time at which the next chunk may be passed on.
    fn due(&self, now: Instant) -> Instant {
        let by_clock = self.began.map_or(now, |began| {
            let due = (began + duration_of(self.passed, self.real_time_bytes_per_second))
                .checked_sub(self.lead);
            due.unwrap_or(now)
        });
        let burst = Duration::from_secs(BURST_SECS.into());
        let by_limit = self
            .burst_full_at
            .and_then(|until| until.checked_sub(burst));
        by_clock.max(by_limit.unwrap_or(now)).max(now)
    }

    /// Records that a wait until `due` has ended at `now`.
    fn record_wait(&mut self, due: Instant, now: Instant) {
        let pause = now.saturating_duration_since(due);
        if pause >= PAUSE_MIN {
            let delay = pause.min(self.pauses_left);
            self.pauses_left -= delay;
            self.began = self.began.map(|began| began + delay);
        }
    }

    /// Records that `bytes` were passed on at `now`.
    fn record_passed(&mut self, bytes: usize, now: Instant) {
        let bytes = bytes as u64;
        self.began.get_or_insert(now);
        self.passed += bytes;
        if self.bytes_per_second_max > 0 {
            let burst_full_at = self.burst_full_at.map_or(now, |until| until.max(now));
            self.burst_full_at =
                Some(burst_full_at + duration_of(bytes, self.bytes_per_second_max));
        }
    }

    /// The end of the audio passed on so far, if it is played in real time; at least `now`.
    fn end(&self, now: Instant) -> Instant {
        let end = self
            .began
            .map(|began| began + duration_of(self.passed, self.real_time_bytes_per_second));
        end.map_or(now, |end| end.max(now))
    }
}

/// The duration of `bytes` at a rate.
fn duration_of(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of 20 ms of mono at 48 kHz.
    const CHUNK: usize = 1920;
    const CHUNK_DURATION: Duration = Duration::from_millis(20);
    const LATENCY_MAX: Duration = Duration::from_millis(200);

    fn pace(bytes_per_second_max: u64) -> UploadPace {
        UploadPace {
            real_time_bytes_per_second: 96_000,
            bytes_per_second_max,
            lead: LEAD_MAX.min(LATENCY_MAX / 2),
            began: None,
            passed: 0,
            pauses_left: PAUSES_MAX,
            burst_full_at: None,
        }
    }

    /// Passes on `chunks` chunks, each as soon as it is due. Returns the time of the last one.
    fn pass(pace: &mut UploadPace, chunks: u32, mut now: Instant) -> Instant {
        for _ in 0..chunks {
            let due = pace.due(now);
            pace.record_wait(due, due);
            now = due;
            pace.record_passed(CHUNK, now);
        }
        now
    }

    #[test]
    fn clip_sent_at_once_is_passed_on_in_real_time() {
        let start = clock::now();
        let mut pace = pace(400_000);
        let now = pass(&mut pace, 250, start);
        assert_eq!(now - start, CHUNK_DURATION * 249 - LEAD_MAX);
        assert_eq!(pace.end(now) - start, CHUNK_DURATION * 250);
    }

    #[test]
    fn mixer_queue_holds_at_most_the_lead_and_one_chunk() {
        let start = clock::now();
        let mut pace = pace(0);
        let mut now = start;
        for count in 1..=500 {
            now = pass(&mut pace, 1, now);
            let ahead = (CHUNK_DURATION * count).saturating_sub(now - start);
            assert!(ahead <= LEAD_MAX + CHUNK_DURATION, "{ahead:?}");
        }
    }

    #[test]
    fn late_audio_is_passed_on_at_once_and_catches_up() {
        let start = clock::now();
        let mut pace = pace(0);
        pass(&mut pace, 1, start);
        let late = start + Duration::from_secs(5);
        assert_eq!(pass(&mut pace, 250, late), late, "5 s of late audio");
        let next = pass(&mut pace, 10, late);
        assert!(next > late, "audio ahead of real time waits again");
    }

    #[test]
    fn late_audio_is_bounded_by_the_byte_limit() {
        let start = clock::now();
        let mut pace = pace(192_000);
        pass(&mut pace, 1, start);
        let late = start + Duration::from_secs(3600);
        // One chunk may overdraw the burst.
        let burst = 192_000 * BURST_SECS / CHUNK as u32 + 1;
        assert_eq!(pass(&mut pace, burst, late), late);
        let next = pass(&mut pace, 100, late);
        assert_eq!((next - late).as_millis(), 1000);
    }

    #[test]
    fn a_pause_of_the_process_does_not_make_audio_late() {
        let start = clock::now();
        let mut pace = pace(0);
        let now = pass(&mut pace, 50, start);
        let due = pace.due(now);
        let woken = due + Duration::from_secs(1);
        pace.record_wait(due, woken);
        pace.record_passed(CHUNK, woken);
        let due = pace.due(woken);
        assert_eq!(due, woken + CHUNK_DURATION);
        pace.record_wait(due, due + Duration::from_secs(60));
        assert_eq!(
            pace.pauses_left,
            Duration::ZERO,
            "the total delay is bounded"
        );
    }
}
