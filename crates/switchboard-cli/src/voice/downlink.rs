//! Receives audio: a streamed response that lasts until the room or call ends.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::{
    meter::LevelGauge,
    output::AudioOutput,
    wav::{self, SampleReader},
};

/// Timeout for the next chunk. The server sends silence too, so a server that sends nothing is lost.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// The format of a received stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DownlinkFormat {
    /// Raw 16-bit samples: 96 kB per second
    Wav,
    /// Ogg Vorbis: 10 kB per second
    #[value(alias = "vorbis")]
    Ogg,
    /// Ogg Opus: 3 kB per second
    Opus,
}

impl DownlinkFormat {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Ogg => "ogg",
            Self::Opus => "opus",
        }
    }

    /// The format for a file name's extension; `None` if it has no extension.
    ///
    /// # Errors
    /// If the extension is unknown.
    fn from_file_name(path: &Path) -> anyhow::Result<Option<Self>> {
        let Some(extension) = path.extension() else {
            return Ok(None);
        };
        match &*extension.to_string_lossy().to_ascii_lowercase() {
            "wav" => Ok(Some(Self::Wav)),
            "ogg" | "oga" => Ok(Some(Self::Ogg)),
            "opus" => Ok(Some(Self::Opus)),
            other => Err(anyhow!(
                "{}: unknown extension .{other}; use .wav, .ogg, .oga or .opus, or choose a format with --format",
                path.display()
            )),
        }
    }
}

/// The side that ended a stream or a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// This client.
    Local,
    /// The server or the other user.
    Remote,
}

/// Format, duration and output of the received audio.
pub(super) struct Downlink {
    pub(super) format: DownlinkFormat,
    pub(super) seconds: Option<u32>,
    output: Option<AudioOutput>,
}

impl Downlink {
    /// Opens the output. This happens before the request, so that a call is not started in vain.
    pub(super) fn open(
        path: Option<&Path>,
        format: Option<DownlinkFormat>,
        seconds: Option<u32>,
    ) -> anyhow::Result<Self> {
        let format = match (format, path) {
            (None, Some(path)) => DownlinkFormat::from_file_name(path)?,
            (format, _) => format,
        };
        let output = AudioOutput::open(path)?;
        let default = match &output {
            // The meter needs raw samples; compressed audio of other users is not decoded for it.
            None => DownlinkFormat::Wav,
            Some(_) => DownlinkFormat::Opus,
        };
        Ok(Self {
            format: format.unwrap_or(default),
            seconds,
            output,
        })
    }

    /// Completes after `--seconds`; never without that option.
    pub(super) fn time_limit(&self) -> impl Future<Output = ()> + use<> {
        let seconds = self.seconds;
        async move {
            match seconds {
                Some(seconds) => sleep(Duration::from_secs(seconds.into())).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Receives the stream until it ends, the output is closed, or `enough` completes; then writes the queued
    /// chunks.
    pub(super) async fn receive(
        &mut self,
        stream: Incoming,
        gauge: &LevelGauge,
        enough: impl Future<Output = ()>,
    ) -> anyhow::Result<EndedBy> {
        let received = tokio::select! {
            received = self.receive_chunks(stream, gauge) => received,
            () = enough => Ok(EndedBy::Local),
        };
        let written = match self.output.take() {
            Some(output) => output.finish().await,
            None => Ok(()),
        };
        received.and_then(|by| written.map(|()| by))
    }

    async fn receive_chunks(
        &self,
        mut stream: Incoming,
        gauge: &LevelGauge,
    ) -> anyhow::Result<EndedBy> {
        let mut samples =
            (self.format == DownlinkFormat::Wav).then(|| SampleReader::after(wav::HEADER_LENGTH));
        while let Some(chunk) = next_chunk(&mut stream).await? {
            gauge.count(chunk.len());
            if let Some(samples) = &mut samples {
                gauge.push_samples(samples.push(&chunk));
            }
            if let Some(output) = &self.output
                && !output.write(chunk).await
            {
                return Ok(EndedBy::Local);
            }
        }
        Ok(EndedBy::Remote)
    }
}

async fn next_chunk(stream: &mut Incoming) -> anyhow::Result<Option<Bytes>> {
    loop {
        let frame = timeout(SILENCE_MAX, stream.frame()).await;
        match frame.map_err(|_| anyhow!("timeout: no audio from the server for 20 s"))? {
            None => return Ok(None),
            Some(Err(error)) => return Err(error).context("audio stream failed"),
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
        }
    }
}

/// Creates a gauge for the received audio.
pub(super) fn gauge() -> Arc<LevelGauge> {
    LevelGauge::new("received")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_follows_the_file_extension() {
        for (name, format) in [
            ("a.wav", Some(DownlinkFormat::Wav)),
            ("a.b.OGG", Some(DownlinkFormat::Ogg)),
            ("/tmp/a.opus", Some(DownlinkFormat::Opus)),
            ("-", None),
            ("opus", None),
            ("/dev/null", None),
        ] {
            let found = DownlinkFormat::from_file_name(Path::new(name));
            assert_eq!(found.unwrap(), format, "{name}");
        }
        for name in ["a.mp3", "a.wave", "meeting.2026"] {
            let message = DownlinkFormat::from_file_name(Path::new(name))
                .unwrap_err()
                .to_string();
            assert!(
                message.contains(name) && message.contains(".opus"),
                "{message}"
            );
        }
    }
}
