//! What a listener can ask for.

/// How a listener's stream is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// RIFF/WAVE with an endless length: 16-bit samples as they are.
    Wav,
    /// Ogg Vorbis.
    Vorbis,
    /// Ogg Opus, RFC 7845.
    Opus,
}

impl Format {
    /// What [`Format::parse`] takes, for an answer that has to name it.
    pub const NAMES: &str = "wav, ogg (or vorbis), opus";

    /// Reads the `format` of a request, in any case. `None`: it is no format of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "wav" => Some(Self::Wav),
            "ogg" | "vorbis" => Some(Self::Vorbis),
            "opus" => Some(Self::Opus),
            _ => None,
        }
    }

    /// The media type, exactly as clients compare it: as a string, without parameters.
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
    fn names_in_any_case() {
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
    fn each_name_told_is_taken() {
        for name in Format::NAMES.split([',', ' ', '(', ')']) {
            assert!(["", "or"].contains(&name) || Format::parse(name).is_some());
        }
    }
}
