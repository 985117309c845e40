//! A microphone that is a request body. Audio ahead of the clock waits, so that a clip that is posted
//! at once is heard whole; the server reads the body no faster than that.

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

use super::{
    SERVER_STOPS, VoiceService,
    answer::{REPLACED, VoiceError, VoiceResult},
    attachment::AudioAttachment,
    audio::{AudioSource, BURST_SECS, PcmParameters},
};

/// Audio is passed on so much earlier than it is heard, or half of the mixer's queue if that is less.
const LEAD_MAX: Duration = Duration::from_millis(80);

/// A wait that lasts so much too long is a pause of this process: the audio it delayed is not late.
const PAUSE_MIN: Duration = Duration::from_millis(60);

/// Pauses of the process delay one body by so much at most, lest a live microphone fall ever further
/// behind.
const PAUSES_MAX: Duration = Duration::from_secs(2);

/// Pieces in a second.
const PIECES_PER_SECOND: u64 = 50;

/// After the last piece is due, the remaining audio has so much longer to be heard.
const TAIL: Duration = Duration::from_millis(100);

impl VoiceService {
    pub(super) async fn up_by_body(
        &self,
        seat: AudioAttachment,
        sound: PcmParameters,
        body: Body,
    ) -> VoiceResult {
        let latency_max = self.state.mix().latency_max;
        let mut upload = Upload {
            pace: UploadPace::new(&sound, latency_max),
            piece: usize::try_from(sound.real_time() / PIECES_PER_SECOND).unwrap_or(usize::MAX),
            source: AudioSource::new(self, &seat, sound),
            body: body.into_data_stream(),
            latency_max,
            gone: self.heartbeat.gone,
        };
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Ok(SERVER_STOPS.into_response()),
            () = seat.studio.ended() => Ok("The call has ended.\n".into_response()),
            () = seat.replaced() => Err(VoiceError::new(StatusCode::CONFLICT, REPLACED)),
            done = upload.run() => done.map(IntoResponse::into_response),
        }
    }
}

/// A body on its way to the mixer.
struct Upload {
    pace: UploadPace,
    /// Bytes that are passed on at once.
    piece: usize,
    source: AudioSource,
    body: BodyDataStream,
    latency_max: Duration,
    gone: Duration,
}

impl Upload {
    /// Done when the body is over and all of it could be heard.
    async fn run(&mut self) -> Result<(), VoiceError> {
        while let Some(bytes) = self.next().await? {
            for piece in bytes.chunks(self.piece.max(1)) {
                let now = Instant::now();
                let due = self.pace.due(now);
                if due > now {
                    sleep_until(due.into()).await;
                    self.pace.waited(due, Instant::now());
                }
                self.source.push(piece);
                self.pace.passed(piece.len(), Instant::now());
            }
        }
        self.source.finish();
        self.is_heard().await;
        Ok(())
    }

    /// The next bytes, or that it is over. A client that sends nothing for too long is gone.
    async fn next(&mut self) -> Result<Option<Bytes>, VoiceError> {
        match timeout(self.gone, self.body.next()).await {
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(_))) => Err(VoiceError::bad("The audio broke off.")),
            Ok(None) => Ok(None),
            Err(_) => Err(VoiceError::new(
                StatusCode::REQUEST_TIMEOUT,
                "No audio came for too long.",
            )),
        }
    }

    /// Waits until the mixer has taken everything, or would have if there were a listener.
    async fn is_heard(&mut self) {
        let now = Instant::now();
        let end = self.pace.end(now) + self.latency_max + TAIL;
        while !self.source.is_empty() && Instant::now() < end {
            sleep(FRAME).await;
        }
    }
}

/// When to pass on audio: at the pace of the clock since the first byte, and never more bytes a second
/// than the limit of the source. Time is an argument.
#[derive(Debug)]
struct UploadPace {
    /// Bytes that last a second.
    real_time: u64,
    /// Bytes a second; 0 is no limit.
    limit: u64,
    lead: Duration,
    began: Option<Instant>,
    /// Bytes since then.
    passed: u64,
    /// How much of the pauses of this process may still be made up for.
    pauses_left: Duration,
    /// When the burst of the limit is whole again.
    paid_until: Option<Instant>,
}

impl UploadPace {
    fn new(sound: &PcmParameters, latency_max: Duration) -> Self {
        Self {
            real_time: sound.real_time().max(1),
            limit: sound.bytes_per_second.into(),
            lead: LEAD_MAX.min(latency_max / 2),
            began: None,
            passed: 0,
            pauses_left: PAUSES_MAX,
            paid_until: None,
        }
    }

    /// When the next piece may be passed on.
    fn due(&self, now: Instant) -> Instant {
        let by_clock = self.began.map_or(now, |began| {
            let ahead = (began + lasting(self.passed, self.real_time)).checked_sub(self.lead);
            ahead.unwrap_or(now)
        });
        let burst = Duration::from_secs(BURST_SECS.into());
        let by_limit = self.paid_until.and_then(|until| until.checked_sub(burst));
        by_clock.max(by_limit.unwrap_or(now)).max(now)
    }

    /// The wait until `due` is over. A pause of this process does not make the audio late.
    fn waited(&mut self, due: Instant, now: Instant) {
        let pause = now.saturating_duration_since(due);
        if pause >= PAUSE_MIN {
            let delay = pause.min(self.pauses_left);
            self.pauses_left -= delay;
            self.began = self.began.map(|began| began + delay);
        }
    }

    /// So much is passed on now.
    fn passed(&mut self, bytes: usize, now: Instant) {
        let bytes = bytes as u64;
        self.began.get_or_insert(now);
        self.passed += bytes;
        if self.limit > 0 {
            let paid_until = self.paid_until.map_or(now, |until| until.max(now));
            self.paid_until = Some(paid_until + lasting(bytes, self.limit));
        }
    }

    /// When everything that was passed on will have been heard.
    fn end(&self, now: Instant) -> Instant {
        let end = self
            .began
            .map(|began| began + lasting(self.passed, self.real_time));
        end.map_or(now, |end| end.max(now))
    }
}

fn lasting(bytes: u64, bytes_per_second: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_second);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms of mono at 48 kHz.
    const PIECE: usize = 1920;
    const PIECE_LASTS: Duration = Duration::from_millis(20);
    const LATENCY_MAX: Duration = Duration::from_millis(200);

    fn pace(limit: u64) -> UploadPace {
        UploadPace {
            real_time: 96_000,
            limit,
            lead: LEAD_MAX.min(LATENCY_MAX / 2),
            began: None,
            passed: 0,
            pauses_left: PAUSES_MAX,
            paid_until: None,
        }
    }

    /// Passes on so many pieces, each as soon as may be; when the last one is.
    fn pass(pace: &mut UploadPace, pieces: u32, mut now: Instant) -> Instant {
        for _ in 0..pieces {
            let due = pace.due(now);
            pace.waited(due, due);
            now = due;
            pace.passed(PIECE, now);
        }
        now
    }

    #[test]
    fn a_clip_that_is_there_at_once_takes_as_long_as_it_lasts() {
        let start = Instant::now();
        let mut pace = pace(400_000);
        let now = pass(&mut pace, 250, start);
        assert_eq!(now - start, PIECE_LASTS * 249 - LEAD_MAX);
        assert_eq!(pace.end(now) - start, PIECE_LASTS * 250);
    }

    #[test]
    fn no_more_than_lead_and_one_piece_waits_for_the_mixer() {
        let start = Instant::now();
        let mut pace = pace(0);
        let mut now = start;
        for count in 1..=500 {
            now = pass(&mut pace, 1, now);
            let ahead = (PIECE_LASTS * count).saturating_sub(now - start);
            assert!(ahead <= LEAD_MAX + PIECE_LASTS, "{ahead:?}");
        }
    }

    #[test]
    fn audio_that_is_late_is_passed_on_at_once_and_does_not_stay_behind() {
        let start = Instant::now();
        let mut pace = pace(0);
        pass(&mut pace, 1, start);
        let late = start + Duration::from_secs(5);
        assert_eq!(pass(&mut pace, 250, late), late, "five seconds' worth");
        let next = pass(&mut pace, 10, late);
        assert!(next > late, "what is ahead waits again");
    }

    #[test]
    fn late_audio_comes_no_faster_than_the_limit_of_bytes() {
        let start = Instant::now();
        let mut pace = pace(192_000);
        pass(&mut pace, 1, start);
        let late = start + Duration::from_secs(3600);
        // One piece may overdraw the burst.
        let burst = 192_000 * BURST_SECS / PIECE as u32 + 1;
        assert_eq!(pass(&mut pace, burst, late), late);
        let next = pass(&mut pace, 100, late);
        assert_eq!((next - late).as_millis(), 1000);
    }

    #[test]
    fn a_pause_of_the_process_does_not_make_audio_late() {
        let start = Instant::now();
        let mut pace = pace(0);
        let now = pass(&mut pace, 50, start);
        let due = pace.due(now);
        let woken = due + Duration::from_secs(1);
        pace.waited(due, woken);
        pace.passed(PIECE, woken);
        let due = pace.due(woken);
        assert_eq!(due, woken + PIECE_LASTS);
        pace.waited(due, due + Duration::from_secs(60));
        assert_eq!(
            pace.pauses_left,
            Duration::ZERO,
            "it does not fall ever further behind"
        );
    }
}
