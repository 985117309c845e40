//! The bytes that end or interrupt the plain part of a JSON string: quotes, backslashes and control characters. They
//! are searched in blocks: each block gives a mask with one bit for each byte.

use fearless_simd::{Simd, prelude::*, u8x64};

/// The bytes of a block.
pub(super) const BLOCK: usize = 64;

/// The special bytes of a text, in order.
#[derive(Clone, Copy, Default)]
pub(super) struct SpecialBytes {
    /// The position after the current block.
    next_block: usize,
    /// The special bytes of the current block that are still to come.
    mask: u64,
}

impl SpecialBytes {
    /// The position of the next special byte of `bytes`. The text is the same in all calls. This is the only place that
    /// reads a block: the compiler makes slow code of a mask that comes from several.
    #[inline(always)]
    pub(super) fn peek<S: Simd>(&mut self, simd: S, bytes: &[u8]) -> Option<usize> {
        while self.mask == 0 {
            let rest = bytes.get(self.next_block..)?;
            self.mask = match rest.first_chunk() {
                Some(block) => special_mask(simd, *block),
                None => last_mask(simd, bytes, rest),
            };
            self.next_block += BLOCK;
        }
        Some(self.first())
    }

    /// The position of the next special byte, if it is in the current block.
    #[inline(always)]
    pub(super) fn peek_in_block(&self) -> Option<usize> {
        (self.mask != 0).then(|| self.first())
    }

    #[inline(always)]
    fn first(&self) -> usize {
        self.next_block.wrapping_sub(BLOCK) + self.mask.trailing_zeros() as usize
    }

    /// Skips the special byte that was found last.
    #[inline(always)]
    pub(super) fn skip(&mut self) {
        self.mask &= self.mask.wrapping_sub(1);
    }

    /// Skips `BYTES` bytes from the special byte on that [`SpecialBytes::peek`] has found.
    #[inline(always)]
    pub(super) fn skip_bytes<const BYTES: usize>(&mut self) {
        let offset = self.mask.trailing_zeros();
        let end = offset as usize + BYTES;
        if end > BLOCK {
            self.next_block += end - BLOCK;
            self.mask = 0;
        } else {
            self.mask &= !(((1_u64 << BYTES) - 1) << (offset % u64::BITS));
        }
    }

    /// Skips the special bytes before `position`, which is not before the current block.
    #[inline(always)]
    pub(super) fn skip_to(&mut self, position: usize) {
        if position < self.next_block {
            self.mask &= u64::MAX << ((position + BLOCK - self.next_block) % BLOCK);
        } else {
            self.mask = 0;
            self.next_block = position;
        }
    }
}

/// The mask for the rest of a text, which is shorter than a block.
#[inline(always)]
fn last_mask<S: Simd>(simd: S, bytes: &[u8], rest: &[u8]) -> u64 {
    if let Some(last) = bytes.last_chunk() {
        let passed = BLOCK - rest.len();
        let mask = special_mask(simd, *last);
        return mask.checked_shr(passed as u32).unwrap_or(0);
    }
    let mut block = [b' '; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    special_mask(simd, block)
}

/// Whether no byte is special. Faster than [`SpecialBytes`] for texts that are shorter than a block.
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHEST: u64 = 0x80 * ONES;
    // Whether a byte of the word is less than `bound`.
    let has_less = |word: u64, bound: u64| word.wrapping_sub(bound * ONES) & !word & HIGHEST != 0;
    let (words, rest) = bytes.as_chunks();
    let is_plain_word = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let backslashes_as_zeros = word ^ (u64::from(b'\\') * ONES);
        !has_less(word ^ (2 * ONES), 0x21) && !has_less(backslashes_as_zeros, 1)
    };
    let is_plain_byte = |byte: &u8| !matches!(byte, 0..0x20 | b'"' | b'\\');
    words.iter().all(is_plain_word)
        && match bytes.last_chunk() {
            Some(last) => is_plain_word(last),
            None => rest.iter().all(is_plain_byte),
        }
}

/// Control characters and the quote are the bytes up to 0x20, if the second lowest bit is inverted.
#[inline(always)]
fn special_mask<S: Simd>(simd: S, block: [u8; BLOCK]) -> u64 {
    let bytes = u8x64::simd_from(simd, block);
    let is_backslash = bytes.simd_eq(b'\\');
    let is_other = (bytes ^ 0x02).simd_le(0x20);
    (is_backslash | is_other).to_bitmask()
}

#[cfg(test)]
mod tests {
    use fearless_simd::{Level, dispatch};

    use super::*;

    fn is_special(byte: u8) -> bool {
        matches!(byte, b'"' | b'\\' | 0..0x20)
    }

    /// Calls `test` with a function that peeks, for the features of this processor and for those of every processor.
    fn at_each_level(test: impl Fn(&dyn Fn(&mut SpecialBytes, &[u8]) -> Option<usize>)) {
        for level in [Level::new(), Level::baseline()] {
            test(&|special, bytes| dispatch!(level, simd => special.peek(simd, bytes)));
        }
    }

    fn skip_all<const BYTES: usize>(bytes: &[u8]) {
        at_each_level(|peek| {
            for from in 0..BYTES {
                let mut special = SpecialBytes::default();
                special.skip_to(from);
                let found = std::iter::from_fn(|| {
                    let position = peek(&mut special, bytes)?;
                    special.skip_bytes::<BYTES>();
                    Some(position)
                });
                assert!(found.eq((from..bytes.len()).step_by(BYTES)), "from {from}");
            }
        });
    }

    #[test]
    fn bytes_are_skipped_across_blocks() {
        skip_all::<2>(&[b'\\'; 200]);
        skip_all::<4>(&[b'\\'; 200]);
    }

    #[test]
    fn each_special_byte_has_its_bit_in_the_mask() {
        for level in [Level::new(), Level::baseline()] {
            let mask = |block| dispatch!(level, simd => special_mask(simd, block));
            for byte in 0..=u8::MAX {
                for (place, background) in
                    (0..BLOCK).flat_map(|place| [(place, b'x'), (place, 0x80)])
                {
                    let mut block = [background; BLOCK];
                    block[place] = byte;
                    let expected = u64::from(is_special(byte)) << place;
                    assert_eq!(mask(block), expected, "{byte} at {place}");
                }
                let expected = if is_special(byte) { u64::MAX } else { 0 };
                assert_eq!(mask([byte; BLOCK]), expected);
            }
        }
    }

    #[test]
    fn a_plain_text_has_no_special_byte() {
        for byte in 0..=u8::MAX {
            for (place, background) in (0..20).flat_map(|place| [(place, b'x'), (place, 0xff)]) {
                let mut bytes = [background; 20];
                bytes[place] = byte;
                assert_eq!(is_plain(&bytes), !is_special(byte), "{byte} at {place}");
            }
        }
        assert!(is_plain(b""));
    }

    #[test]
    fn special_bytes_are_found_in_order_across_blocks() {
        at_each_level(|peek| {
            for length in [0, 1, 15, 16, 17, 63, 64, 65, 100, 127, 128, 129, 150] {
                for step in 1..40 {
                    let special = [b'"', b'\\', 0, 0x1f];
                    let bytes: Vec<_> = (0..length)
                        .map(|i| if i % step == 0 { special[i % 4] } else { 0xc3 })
                        .collect();
                    for from in 0..=length {
                        let mut found = SpecialBytes::default();
                        found.skip_to(from);
                        let next = || {
                            let position = peek(&mut found, &bytes)?;
                            found.skip();
                            Some(position)
                        };
                        let found: Vec<_> = std::iter::from_fn(next).collect();
                        let expected = (from..length).filter(|i| i % step == 0);
                        assert_eq!(
                            found,
                            expected.collect::<Vec<_>>(),
                            "{length} {step} {from}"
                        );
                    }
                }
            }
        });
    }

    #[test]
    fn skipped_special_bytes_are_not_found() {
        let bytes = [b'"'; 200];
        at_each_level(|peek| {
            for to in 1..=200 {
                let mut special = SpecialBytes::default();
                assert_eq!(peek(&mut special, &bytes), Some(0));
                special.skip();
                special.skip_to(to);
                let expected = Some(to).filter(|to| *to < bytes.len());
                assert_eq!(peek(&mut special, &bytes), expected);
            }
        });
    }
}
