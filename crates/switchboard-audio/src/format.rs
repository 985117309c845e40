//! The audio formats that a listener can request.

/// The encoding of a listener's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// RIFF/WAVE of unbounded length, with raw 16-bit samples.
    Wav,
    /// Vorbis in Ogg (Vorbis I).
    Vorbis,
    /// Opus in Ogg (RFC 7845).
    Opus,
}

impl Format {
    /// The names that [`Format::parse`] accepts, for error messages.
    pub const NAMES: &str = "wav, ogg (or vorbis), opus";

    /// Parses a format name, case-insensitively. Returns `None` if the format is unknown.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "wav" => Some(Self::Wav),
            "ogg" | "vorbis" => Some(Self::Vorbis),
            "opus" => Some(Self::Opus),
            _ => None,
        }
    }

    /// The media type, without parameters because clients compare it as a string.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Vorbis | Self::Opus => "audio/ogg",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_insensitive() {
        for (name, format) in [
            ("WAV", Format::Wav),
            ("ogg", Format::Vorbis),
            ("Vorbis", Format::Vorbis),
            ("opus", Format::Opus),
        ] {
            assert_eq!(Format::parse(name), Some(format));
        }
        for name in ["", "mp3", "wav ", "opus;"] {
            assert_eq!(Format::parse(name), None);
        }
    }

    #[test]
    fn every_advertised_name_parses() {
        for name in Format::NAMES.split([',', ' ', '(', ')']) {
            assert!(["", "or"].contains(&name) || Format::parse(name).is_some());
        }
    }
}
