//! Headphones: a stream that is read as it comes.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{
    http::{BodyPart, HttpResponse},
    sound::{self, samples_in},
};
use crate::client::TEST_TIMEOUT;

/// Headphones that are on until they are dropped.
pub(super) struct Listener {
    pub(super) format: &'static str,
    /// From the request to the head of the answer.
    pub(super) answered_in: Duration,
    asked: Instant,
    heard: Arc<Mutex<Heard>>,
    news: watch::Receiver<()>,
    reading: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    /// When so many bytes were there.
    arrivals: Vec<(Instant, usize)>,
    end: Option<BodyPart>,
}

impl Listener {
    /// The stream that is the body of an answer.
    pub(super) fn of(answer: HttpResponse) -> Self {
        assert_eq!(answer.status, 200);
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (told, news) = watch::channel(());
        Self {
            format: match answer.header("content-type") {
                Some("audio/wav") => "wav",
                Some("audio/ogg") => "",
                other => panic!("no audio: {other:?}"),
            },
            answered_in: answer.answered - answer.asked,
            asked: answer.asked,
            reading: tokio::spawn(read(answer, heard.clone(), told)),
            heard,
            news,
        }
    }

    /// Says which of the Ogg formats this is.
    pub(super) fn in_format(mut self, format: &'static str) -> Self {
        assert_eq!(self.format == "wav", format == "wav");
        self.format = format;
        self
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no panic")
    }

    async fn until<T>(&self, there: impl Fn(&Heard) -> Option<T>) -> T {
        let mut news = self.news.clone();
        let waits = async {
            loop {
                news.mark_unchanged();
                if let Some(found) = there(&self.heard()) {
                    return found;
                }
                assert!(news.changed().await.is_ok(), "the stream goes on: {self:?}");
            }
        };
        let found = timeout(TEST_TIMEOUT, waits).await;
        found.unwrap_or_else(|_| panic!("it comes in time: {self:?}"))
    }

    /// The first bytes.
    pub(super) async fn begins(&self, count: usize) -> Vec<u8> {
        self.until(|heard| heard.bytes.get(..count).map(<[u8]>::to_vec))
            .await
    }

    /// The received samples, once there are at least `count`.
    pub(super) async fn samples(&self, count: usize) -> Vec<f64> {
        let bytes = self.bytes(count).await;
        sound::decode(self.format, &bytes)
    }

    /// The bytes that came until there were so many samples.
    pub(super) async fn bytes(&self, samples: usize) -> Vec<u8> {
        let enough = |heard: &Heard| {
            (samples_in(self.format, &heard.bytes) >= samples).then(|| heard.bytes.clone())
        };
        self.until(enough).await
    }

    /// How many samples there are already.
    pub(super) fn samples_now(&self) -> usize {
        samples_in(self.format, &self.heard().bytes)
    }

    /// So many samples that come from now on.
    pub(super) async fn next_samples(&self, count: usize) -> Vec<f64> {
        let before = self.samples_now();
        let mut samples = self.samples(before + count).await;
        samples.split_off(samples.len().saturating_sub(count))
    }

    /// From the request to the first sound, be it silence.
    pub(super) async fn first_sound_in(&self) -> Duration {
        self.samples_by(1).await - self.asked
    }

    /// When so many samples were there.
    pub(super) async fn samples_by(&self, count: usize) -> Instant {
        let arrived = |heard: &Heard| {
            let there = |(_, bytes): &&(Instant, usize)| {
                samples_in(self.format, &heard.bytes[..*bytes]) >= count
            };
            heard.arrivals.iter().find(there).map(|(at, _)| *at)
        };
        self.until(arrived).await
    }

    /// All that came, when the stream is over, and how it ended.
    pub(super) async fn end(&mut self) -> (Vec<u8>, BodyPart) {
        let ended = timeout(TEST_TIMEOUT, &mut self.reading).await;
        ended.expect("an end in time").expect("no panic");
        let mut heard = self.heard();
        let end = heard.end.take().expect("an end");
        (std::mem::take(&mut heard.bytes), end)
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let heard = self.heard();
        f.debug_struct("Listener")
            .field("format", &self.format)
            .field("bytes", &heard.bytes.len())
            .field("end", &heard.end)
            .finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(mut answer: HttpResponse, heard: Arc<Mutex<Heard>>, told: watch::Sender<()>) {
    loop {
        let piece = answer.body.any_time().await;
        let mut heard = heard.lock().expect("no panic");
        match piece {
            BodyPart::Bytes(bytes) => {
                heard.bytes.extend(bytes);
                let count = heard.bytes.len();
                heard.arrivals.push((Instant::now(), count));
            }
            end @ (BodyPart::End | BodyPart::Cut) => {
                heard.end = Some(end);
                return;
            }
        }
        drop(heard);
        told.send_replace(());
    }
}

/// The formats that a listener of this build can request.
pub(super) const FORMATS: &[&str] = if cfg!(feature = "vorbis") {
    &["wav", "opus", "ogg"]
} else {
    &["wav", "opus"]
};

/// Waits until there are no listeners and no sources.
pub(super) async fn all_are_gone(address: SocketAddr) {
    for gauge in ["voice_sources", "voice_listeners", "voice_event_streams"] {
        super::http::metric_is(address, gauge, 0).await;
    }
}
