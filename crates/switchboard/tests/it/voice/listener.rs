//! Listeners of voice, which record their stream.

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

/// A connected listener. It disconnects when dropped.
pub(super) struct Listener {
    /// `wav`, `opus` or `ogg` (Vorbis); empty until [`Listener::in_format`] sets it for an Ogg stream.
    pub(super) format: &'static str,
    /// Time from the request to the head of the response.
    pub(super) head_latency: Duration,
    sent_at: Instant,
    recording: Arc<Mutex<StreamRecording>>,
    changes: watch::Receiver<()>,
    reading: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct StreamRecording {
    bytes: Vec<u8>,
    /// Time and total size in bytes after each chunk.
    arrivals: Vec<(Instant, usize)>,
    end: Option<BodyPart>,
}

impl Listener {
    /// Reads the stream in the body of a response.
    pub(super) fn of(answer: HttpResponse) -> Self {
        assert_eq!(answer.status, 200);
        let recording = Arc::new(Mutex::new(StreamRecording::default()));
        let (changed, changes) = watch::channel(());
        Self {
            format: match answer.header("content-type") {
                Some("audio/wav") => "wav",
                Some("audio/ogg") => "",
                other => panic!("not audio: {other:?}"),
            },
            head_latency: answer.head_at - answer.sent_at,
            sent_at: answer.sent_at,
            reading: tokio::spawn(read(answer, recording.clone(), changed)),
            recording,
            changes,
        }
    }

    /// Sets the format of the stream: the media type of Ogg does not tell Opus from Vorbis.
    pub(super) fn in_format(mut self, format: &'static str) -> Self {
        assert_eq!(self.format == "wav", format == "wav");
        self.format = format;
        self
    }

    fn recording(&self) -> MutexGuard<'_, StreamRecording> {
        self.recording.lock().expect("poisoned by a panic")
    }

    /// Waits until `find` returns a value.
    async fn until<T>(&self, find: impl Fn(&StreamRecording) -> Option<T>) -> T {
        let mut changes = self.changes.clone();
        let waits = async {
            loop {
                changes.mark_unchanged();
                if let Some(found) = find(&self.recording()) {
                    return found;
                }
                assert!(
                    changes.changed().await.is_ok(),
                    "the stream ended early: {self:?}"
                );
            }
        };
        let found = timeout(TEST_TIMEOUT, waits).await;
        found.unwrap_or_else(|_| panic!("timeout: {self:?}"))
    }

    /// The first `count` bytes.
    pub(super) async fn first_bytes(&self, count: usize) -> Vec<u8> {
        self.until(|recording| recording.bytes.get(..count).map(<[u8]>::to_vec))
            .await
    }

    /// The received samples, once there are at least `count`.
    pub(super) async fn samples(&self, count: usize) -> Vec<f64> {
        let bytes = self.bytes(count).await;
        sound::decode(self.format, &bytes)
    }

    /// The received bytes, once they contain at least `samples` samples.
    pub(super) async fn bytes(&self, samples: usize) -> Vec<u8> {
        let enough = |recording: &StreamRecording| {
            (samples_in(self.format, &recording.bytes) >= samples).then(|| recording.bytes.clone())
        };
        self.until(enough).await
    }

    /// Number of samples received so far.
    pub(super) fn samples_now(&self) -> usize {
        samples_in(self.format, &self.recording().bytes)
    }

    /// The last `count` samples, once that many have been received from now on.
    pub(super) async fn next_samples(&self, count: usize) -> Vec<f64> {
        let before = self.samples_now();
        let mut samples = self.samples(before + count).await;
        samples.split_off(samples.len().saturating_sub(count))
    }

    /// Time from the request to the first samples, which may be silence.
    pub(super) async fn first_samples_latency(&self) -> Duration {
        self.samples_by(1).await - self.sent_at
    }

    /// The time at which the first `count` samples had been received.
    pub(super) async fn samples_by(&self, count: usize) -> Instant {
        let arrived = |recording: &StreamRecording| {
            let is_enough = |(_, bytes): &&(Instant, usize)| {
                samples_in(self.format, &recording.bytes[..*bytes]) >= count
            };
            recording.arrivals.iter().find(is_enough).map(|(at, _)| *at)
        };
        self.until(arrived).await
    }

    /// Waits for the end of the stream. Returns all bytes and how it ended.
    pub(super) async fn end(&mut self) -> (Vec<u8>, BodyPart) {
        let ended = timeout(TEST_TIMEOUT, &mut self.reading).await;
        ended
            .expect("timeout: the stream does not end")
            .expect("the task panicked");
        let mut recording = self.recording();
        let end = recording.end.take().expect("the stream has no end");
        (std::mem::take(&mut recording.bytes), end)
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let recording = self.recording();
        f.debug_struct("Listener")
            .field("format", &self.format)
            .field("bytes", &recording.bytes.len())
            .field("end", &recording.end)
            .finish_non_exhaustive()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(
    mut answer: HttpResponse,
    recording: Arc<Mutex<StreamRecording>>,
    changed: watch::Sender<()>,
) {
    loop {
        let part = answer.body.next_without_timeout().await;
        let mut recording = recording.lock().expect("poisoned by a panic");
        match part {
            BodyPart::Bytes(bytes) => {
                recording.bytes.extend(bytes);
                let count = recording.bytes.len();
                recording.arrivals.push((Instant::now(), count));
            }
            end @ (BodyPart::End | BodyPart::Cut) => {
                recording.end = Some(end);
                return;
            }
        }
        drop(recording);
        changed.send_replace(());
    }
}

/// The formats that a listener of this build can request.
pub(super) const FORMATS: &[&str] = if cfg!(feature = "vorbis") {
    &["wav", "opus", "ogg"]
} else {
    &["wav", "opus"]
};

/// Waits until the metrics count no source, listener and event stream.
pub(super) async fn wait_until_all_are_detached(address: SocketAddr) {
    for gauge in ["voice_sources", "voice_listeners", "voice_event_streams"] {
        super::http::wait_for_metric(address, gauge, 0).await;
    }
}
