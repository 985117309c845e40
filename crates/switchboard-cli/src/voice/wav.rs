//! WAV for recording: the header length, and the length fields, which are known only at the end of a stream.

use std::io::{self, Seek, SeekFrom, Write};

/// Length of the WAV header with which a server's stream begins, in bytes.
pub(super) const HEADER_LENGTH: usize = 44;

/// Whether `start` is the beginning of a WAV file.
pub(super) fn is_wav(start: &[u8]) -> bool {
    start.starts_with(b"RIFF")
}

/// Writes the length fields of a recording of `bytes` bytes. A recording that is too long for the fields
/// keeps the length of an unbounded stream.
pub(super) fn write_lengths(file: &mut (impl Write + Seek), bytes: u64) -> io::Result<()> {
    let length_after = |offset| u32::try_from(bytes.checked_sub(offset)?).ok();
    for (field, offset) in [(4, 8), (40, HEADER_LENGTH as u64)] {
        if let Some(length) = length_after(offset) {
            file.seek(SeekFrom::Start(field))?;
            file.write_all(&length.to_le_bytes())?;
        }
    }
    Ok(())
}

/// Decodes 16-bit samples from chunks of any length.
#[derive(Debug, Default)]
pub(super) struct SampleReader {
    /// The bytes still to be skipped.
    skip: usize,
    /// The first byte of a sample whose second byte is in the next chunk.
    odd_byte: Option<u8>,
}

impl SampleReader {
    /// Creates a reader that skips the first `skip` bytes.
    pub(super) fn after(skip: usize) -> Self {
        Self {
            skip,
            odd_byte: None,
        }
    }

    /// The samples that are complete with this chunk. An odd byte is kept for the next call.
    pub(super) fn push(&mut self, bytes: &[u8]) -> impl Iterator<Item = i16> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let mut bytes = bytes.iter().skip(skipped).copied();
        std::iter::from_fn(move || {
            let low = self.odd_byte.take().or_else(|| bytes.next())?;
            let Some(high) = bytes.next() else {
                self.odd_byte = Some(low);
                return None;
            };
            Some(i16::from_le_bytes([low, high]))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn samples_are_decoded_from_chunks_of_any_size() {
        let bytes: Vec<u8> = (0..44).chain([1, 0, 0xff, 0xff, 0, 0x80]).collect();
        for size in 1..=bytes.len() {
            let mut samples = SampleReader::after(HEADER_LENGTH);
            let samples: Vec<i16> = bytes
                .chunks(size)
                .flat_map(|chunk| samples.push(chunk).collect::<Vec<_>>())
                .collect();
            assert_eq!(samples, [1, -1, -32768], "in chunks of {size}");
        }
    }

    #[test]
    fn length_fields_match_the_file() {
        let mut file = Cursor::new(vec![0xff; 144]);
        write_lengths(&mut file, 144).unwrap();
        let file = file.into_inner();
        assert_eq!(file[4..8], 136_u32.to_le_bytes());
        assert_eq!(file[40..44], 100_u32.to_le_bytes());
        assert!(
            file[..4]
                .iter()
                .chain(&file[8..40])
                .chain(&file[44..])
                .all(|&byte| byte == 0xff)
        );
    }

    #[test]
    fn header_of_a_too_short_or_too_long_file_is_unchanged() {
        for bytes in [0, 1 << 40] {
            let mut file = Cursor::new(vec![0xff; 44]);
            write_lengths(&mut file, bytes).unwrap();
            assert_eq!(file.into_inner(), [0xff; 44]);
        }
    }
}
