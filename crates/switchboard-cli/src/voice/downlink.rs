//! Audio in: a response that goes on until the room or call ends.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::{
    client::causes,
    meter::LevelGauge,
    output::AudioOutput,
    wav::{self, SampleReader},
};

/// A server sends silence too; one that sends nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum DownlinkFormat {
    /// Samples as they are: 96 kB a second
    Wav,
    /// Ogg Vorbis
    #[value(alias = "vorbis")]
    Ogg,
    /// Ogg Opus: 3 kB a second
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

    /// The format of a file of this name; none if it has no extension.
    fn of_name(path: &Path) -> Result<Option<Self>, String> {
        let Some(extension) = path.extension() else {
            return Ok(None);
        };
        match &*extension.to_string_lossy().to_ascii_lowercase() {
            "wav" => Ok(Some(Self::Wav)),
            "ogg" | "oga" => Ok(Some(Self::Ogg)),
            "opus" => Ok(Some(Self::Opus)),
            other => Err(format!(
                "{}: there is no format .{other}; use .wav, .ogg, .oga or .opus, or say which with --format",
                path.display()
            )),
        }
    }
}

/// By whom something was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    Us,
    Them,
}

/// What to do with what is heard.
pub(super) struct Downlink {
    pub(super) format: DownlinkFormat,
    pub(super) seconds: Option<u32>,
    output: Option<AudioOutput>,
}

impl Downlink {
    /// Opens the file, so that nobody is called for nothing.
    pub(super) fn open(
        path: Option<&Path>,
        format: Option<DownlinkFormat>,
        seconds: Option<u32>,
    ) -> Result<Self, String> {
        let format = match (format, path) {
            (None, Some(path)) => DownlinkFormat::of_name(path)?,
            (format, _) => format,
        };
        let output = AudioOutput::open(path)?;
        let usual = match &output {
            // The meter sees samples alone: no stranger's packets are decoded for its sake.
            None => DownlinkFormat::Wav,
            Some(_) => DownlinkFormat::Opus,
        };
        Ok(Self {
            format: format.unwrap_or(usual),
            seconds,
            output,
        })
    }

    /// Done when it has gone on for as long as was asked.
    pub(super) fn is_enough(&self) -> impl Future<Output = ()> + use<> {
        let seconds = self.seconds;
        async move {
            match seconds {
                Some(seconds) => sleep(Duration::from_secs(seconds.into())).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Takes the stream until it ends, the output wants no more, or `enough` is done; then writes
    /// what is left.
    pub(super) async fn hear(
        &mut self,
        stream: Incoming,
        gauge: &LevelGauge,
        enough: impl Future<Output = ()>,
    ) -> Result<EndedBy, String> {
        let heard = tokio::select! {
            heard = self.take(stream, gauge) => heard,
            () = enough => Ok(EndedBy::Us),
        };
        let written = match self.output.take() {
            Some(output) => output.finish().await,
            None => Ok(()),
        };
        heard.and_then(|by| written.map(|()| by))
    }

    async fn take(&self, mut stream: Incoming, gauge: &LevelGauge) -> Result<EndedBy, String> {
        let mut samples =
            (self.format == DownlinkFormat::Wav).then(|| SampleReader::after(wav::HEADER_LENGTH));
        while let Some(piece) = next_piece(&mut stream).await? {
            gauge.count(piece.len());
            if let Some(samples) = &mut samples {
                gauge.hear(samples.take(&piece));
            }
            if let Some(output) = &self.output
                && !output.write(piece).await
            {
                return Ok(EndedBy::Us);
            }
        }
        Ok(EndedBy::Them)
    }
}

async fn next_piece(stream: &mut Incoming) -> Result<Option<Bytes>, String> {
    loop {
        let frame = timeout(SILENCE_MAX, stream.frame()).await;
        match frame.map_err(|_| "the server sends nothing any more".to_owned())? {
            None => return Ok(None),
            Some(Err(error)) => return Err(format!("the stream broke off: {}", causes(&error))),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

/// A gauge for what is heard.
pub(super) fn gauge() -> Arc<LevelGauge> {
    LevelGauge::new("heard")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_name_says_what_it_holds() {
        for (name, format) in [
            ("a.wav", Some(DownlinkFormat::Wav)),
            ("a.b.OGG", Some(DownlinkFormat::Ogg)),
            ("/tmp/a.opus", Some(DownlinkFormat::Opus)),
            ("-", None),
            ("opus", None),
            ("/dev/null", None),
        ] {
            assert_eq!(
                DownlinkFormat::of_name(Path::new(name)),
                Ok(format),
                "{name}"
            );
        }
        for name in ["a.mp3", "a.wave", "meeting.2026"] {
            let words = DownlinkFormat::of_name(Path::new(name)).unwrap_err();
            assert!(words.contains(name) && words.contains(".opus"), "{words}");
        }
    }
}
