//! Names and headers of segments.

/// Bytes of a header.
pub(in crate::store) const HEADER_LEN: u64 = 64;

/// The format that is written, and the only one that is read: there was none before it.
pub(in crate::store) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"CANDOR\0L";
const CHECKED_LEN: usize = HEADER_LEN as usize - 4;

/// What stands at the beginning of a segment: magic, format, number, the segment before (0: none) and how many of its bytes are
/// good, the highest numbers that were given out, a checksum; little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Header {
    pub(in crate::store) number: u64,
    /// The segment before this one, and how many of its bytes are good.
    pub(in crate::store) previous: Option<(u64, u64)>,
    pub(in crate::store) numbers: [u64; 3],
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum BadHeader {
    NotOurs,
    /// Another broker wrote it, in this format.
    OtherFormat(u32),
    Damaged,
}

impl Header {
    pub(in crate::store) fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let (previous, good_len) = self.previous.unwrap_or_default();
        let mut out = Vec::with_capacity(HEADER_LEN as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        for number in [self.number, previous, good_len].into_iter().chain(self.numbers) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        let mut header = [0; HEADER_LEN as usize];
        header.copy_from_slice(&out);
        header
    }

    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        if !bytes.starts_with(&MAGIC) {
            return Err(if bytes.len() < HEADER_LEN as usize { BadHeader::Damaged } else { BadHeader::NotOurs });
        }
        let header = bytes.get(..HEADER_LEN as usize).ok_or(BadHeader::Damaged)?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if u32_at(CHECKED_LEN) != crc32fast::hash(&header[..CHECKED_LEN]) {
            return Err(BadHeader::Damaged);
        }
        if u32_at(8) != FORMAT {
            return Err(BadHeader::OtherFormat(u32_at(8)));
        }
        let number = |n: usize| u64::from(u32_at(12 + 8 * n)) | u64::from(u32_at(16 + 8 * n)) << 32;
        let previous = (number(1) != 0).then(|| (number(1), number(2)));
        Ok(Self { number: number(0), previous, numbers: [number(3), number(4), number(5)] })
    }
}

/// The name of a segment: 16 hexadecimal digits, so that names and numbers have one order.
pub(in crate::store) fn name_of(number: u64) -> String {
    format!("{number:016x}.seg")
}

pub(in crate::store) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|number| name_of(*number) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_and_damaged_it_is_none() {
        for previous in [None, Some((6, 1_000))] {
            let header = Header { number: 7, previous, numbers: [1, u64::MAX, 3] };
            let bytes = header.encode();
            assert_eq!(Header::decode(&bytes), Ok(header));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes;
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(Header::decode(&damaged).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert_eq!(Header::decode(&bytes[..len]), Err(BadHeader::Damaged));
            }
        }
    }

    #[test]
    fn names_have_the_order_of_numbers() {
        for number in [1, 0xAB, u64::MAX] {
            assert_eq!(number_of(&name_of(number)), Some(number));
        }
        assert!(name_of(0xFF) < name_of(0x100));
        for other in ["1.seg", "00000000000000AB.seg", "+00000000000000b.seg", "00000000000000ab.log", "lock"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
