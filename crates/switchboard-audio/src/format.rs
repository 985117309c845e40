//! The audio formats that a listener can request.

use std::{error, fmt};

/// The encoding of a listener's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// RIFF/WAVE of unbounded length, with raw 16-bit samples.
    Wav,
    /// Vorbis in Ogg (Vorbis I). Needs the cargo feature `vorbis`.
    Vorbis,
    /// Opus in Ogg (RFC 7845).
    Opus,
}

/// A format name that [`Format::parse`] does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// No format has this name.
    Unknown,
    /// The format is Vorbis, and this program is built without the cargo feature `vorbis`.
    BuiltWithoutVorbis,
}

impl Format {
    /// The formats that this build encodes.
    pub const AVAILABLE: &[Self] = if cfg!(feature = "vorbis") {
        &[Self::Wav, Self::Vorbis, Self::Opus]
    } else {
        &[Self::Wav, Self::Opus]
    };

    /// The names that [`Format::parse`] accepts, for error messages.
    pub const NAMES: &str = if cfg!(feature = "vorbis") {
        "wav, ogg (or vorbis), opus"
    } else {
        "wav, opus"
    };

    /// Parses a format name, case-insensitively.
    ///
    /// # Errors
    /// If the format is unknown, or is Vorbis in a build without it.
    pub fn parse(name: &str) -> Result<Self, FormatError> {
        match name.to_ascii_lowercase().as_str() {
            "wav" => Ok(Self::Wav),
            "ogg" | "vorbis" if cfg!(feature = "vorbis") => Ok(Self::Vorbis),
            "ogg" | "vorbis" => Err(FormatError::BuiltWithoutVorbis),
            "opus" => Ok(Self::Opus),
            _ => Err(FormatError::Unknown),
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

impl fmt::Display for FormatError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self {
            Self::Unknown => "Unknown audio format",
            Self::BuiltWithoutVorbis => {
                "Vorbis is not available: this build lacks the cargo feature `vorbis`"
            }
        };
        write!(
            formatter,
            "{problem}. `format` must be one of: {}.",
            Format::NAMES
        )
    }
}

impl error::Error for FormatError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_insensitive() {
        for (name, format) in [("WAV", Format::Wav), ("opus", Format::Opus)] {
            assert_eq!(Format::parse(name), Ok(format));
        }
        for name in ["", "mp3", "wav ", "opus;"] {
            assert_eq!(Format::parse(name), Err(FormatError::Unknown));
        }
    }

    #[test]
    fn vorbis_depends_on_its_cargo_feature() {
        let expected = match cfg!(feature = "vorbis") {
            true => Ok(Format::Vorbis),
            false => Err(FormatError::BuiltWithoutVorbis),
        };
        for name in ["ogg", "Vorbis"] {
            assert_eq!(Format::parse(name), expected);
        }
        assert_eq!(
            Format::AVAILABLE.contains(&Format::Vorbis),
            expected.is_ok()
        );
        let message = FormatError::BuiltWithoutVorbis.to_string();
        assert!(message.contains("feature `vorbis`"), "{message}");
    }

    #[test]
    fn every_advertised_name_parses() {
        for name in Format::NAMES.split([',', ' ', '(', ')']) {
            assert!(["", "or"].contains(&name) || Format::parse(name).is_ok());
        }
    }
}
