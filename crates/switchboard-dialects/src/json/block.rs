//! The bytes that end or interrupt the plain part of a JSON string: quotes, backslashes and control characters. They
//! are searched in blocks: each block gives a mask with one bit for each byte.

use wide::u8x16;

/// The bytes of a block.
const BLOCK: usize = 32;

/// The special bytes of a text, in order, from a position on.
pub(super) struct SpecialBytes<'a> {
    bytes: &'a [u8],
    /// The position after the current block.
    next_block: usize,
    /// The special bytes of the current block that are still to come. Bits beyond the text may be set.
    mask: u32,
}

impl<'a> SpecialBytes<'a> {
    pub(super) fn new(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            next_block: position,
            mask: 0,
        }
    }

    /// The position of the next special byte, which is skipped. The only place that reads a block: the compiler makes
    /// slow code of a mask that comes from several.
    #[inline]
    pub(super) fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            let rest = self.bytes.get(self.next_block..)?;
            let block = match rest.first_chunk() {
                Some(block) => *block,
                None if rest.is_empty() => return None,
                None => padded(rest),
            };
            self.mask = special_mask(&block);
            self.next_block += BLOCK;
        }
        let position = self.next_block - BLOCK + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(position).filter(|position| *position < self.bytes.len())
    }

    /// Skips the special bytes before `position`, which is not before the current block.
    #[inline]
    pub(super) fn skip_to(&mut self, position: usize) {
        if position < self.next_block {
            self.mask &= u32::MAX << (position + BLOCK - self.next_block);
        } else {
            self.mask = 0;
            self.next_block = position;
        }
    }
}

/// The block of the last bytes of a text. Its other bytes are 0, and so special.
fn padded(rest: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    block
}

#[inline]
fn special_mask(block: &[u8; BLOCK]) -> u32 {
    let (halves, _) = block.as_chunks();
    halves
        .iter()
        .rev()
        .fold(0, |mask, half| (mask << 16) | half_mask(half))
}

#[inline]
fn half_mask(half: &[u8; 16]) -> u32 {
    let half = u8x16::new(*half);
    let is_quote = half.simd_eq(u8x16::splat(b'"'));
    let is_backslash = half.simd_eq(u8x16::splat(b'\\'));
    let is_control = half.min(u8x16::splat(0x1f)).simd_eq(half);
    (is_quote | is_backslash | is_control).to_bitmask()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_special(byte: u8) -> bool {
        matches!(byte, b'"' | b'\\' | 0..0x20)
    }

    #[test]
    fn each_special_byte_has_its_bit_in_the_mask() {
        for byte in 0..=u8::MAX {
            for (place, background) in (0..16).flat_map(|place| [(place, b'x'), (place, 0x80)]) {
                let mut half = [background; 16];
                half[place] = byte;
                let expected = u32::from(is_special(byte)) << place;
                assert_eq!(half_mask(&half), expected, "{byte} at {place}");
            }
            let expected = if is_special(byte) { 0xffff } else { 0 };
            assert_eq!(half_mask(&[byte; 16]), expected);
        }
    }

    #[test]
    fn special_bytes_are_found_in_order_across_blocks() {
        for length in 0..100 {
            for step in 1..40 {
                let special = [b'"', b'\\', 0, 0x1f];
                let bytes: Vec<_> = (0..length)
                    .map(|i| if i % step == 0 { special[i % 4] } else { 0xc3 })
                    .collect();
                for from in 0..=length {
                    let mut found = SpecialBytes::new(&bytes, from);
                    let found: Vec<_> = std::iter::from_fn(|| found.next()).collect();
                    let expected = (from..length).filter(|i| i % step == 0);
                    assert_eq!(
                        found,
                        expected.collect::<Vec<_>>(),
                        "{length} {step} {from}"
                    );
                }
            }
        }
    }

    #[test]
    fn skipped_special_bytes_are_not_found() {
        let bytes = [b'"'; 100];
        for to in 1..=100 {
            let mut special = SpecialBytes::new(&bytes, 0);
            assert_eq!(special.next(), Some(0));
            special.skip_to(to);
            assert_eq!(special.next(), Some(to).filter(|to| *to < 100));
        }
    }
}
