//! As much of WAV as a recorder needs: where the samples begin, and the lengths that a stream does
//! not know before its end.

use std::io::{self, Seek, SeekFrom, Write};

/// Bytes before the first sample in what a server streams.
pub(super) const HEADER_LENGTH: usize = 44;

/// Whether these bytes begin a WAV file.
pub(super) fn is_wav(start: &[u8]) -> bool {
    start.starts_with(b"RIFF")
}

/// Writes into the header how long a recording of so many bytes has become. One that is longer than
/// the header can say keeps the length that stands for an endless stream.
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

/// Samples out of pieces of any length.
#[derive(Debug, Default)]
pub(super) struct SampleReader {
    skip: usize,
    odd: Option<u8>,
}

impl SampleReader {
    /// The samples that come after so many other bytes.
    pub(super) fn after(skip: usize) -> Self {
        Self { skip, odd: None }
    }

    /// The samples that are whole with this piece. Half a sample waits for the next one.
    pub(super) fn take(&mut self, bytes: &[u8]) -> impl Iterator<Item = i16> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let mut bytes = bytes.iter().skip(skipped).copied();
        std::iter::from_fn(move || {
            let low = self.odd.take().or_else(|| bytes.next())?;
            let Some(high) = bytes.next() else {
                self.odd = Some(low);
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
    fn samples_survive_any_cutting() {
        let bytes: Vec<u8> = (0..44).chain([1, 0, 0xff, 0xff, 0, 0x80]).collect();
        for size in 1..=bytes.len() {
            let mut samples = SampleReader::after(HEADER_LENGTH);
            let heard: Vec<i16> = bytes
                .chunks(size)
                .flat_map(|piece| samples.take(piece).collect::<Vec<_>>())
                .collect();
            assert_eq!(heard, [1, -1, -32768], "in pieces of {size}");
        }
    }

    #[test]
    fn the_lengths_are_those_of_the_file() {
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
    fn what_is_too_short_or_too_long_keeps_its_header() {
        for bytes in [0, 1 << 40] {
            let mut file = Cursor::new(vec![0xff; 44]);
            write_lengths(&mut file, bytes).unwrap();
            assert_eq!(file.into_inner(), [0xff; 44]);
        }
    }
}
