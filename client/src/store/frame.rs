//! Frames of a log: how bytes that were written whole are told apart from bytes that were not.
//!
//! ```text
//! file    "CANDOR-S" version(1) salt(8)  frame*
//! frame   length(4) crc32(4) payload       little endian; one frame for each group that was kept together
//! ```
//! The checksum covers the file's salt, the frame's place, its length and its payload: a frame that was copied into a payload, or left over
//! from another file, is none. A group is on the disk before the next one is written, so that only the last frame of a file can be torn. One that is
//! not whole and has a whole one behind it was damaged later.

/// What a file begins with.
pub(super) const MAGIC: &[u8; 8] = b"CANDOR-S";
/// The format.
pub(super) const VERSION: u8 = 2;
/// Bytes before the first frame.
pub(super) const HEAD: usize = 17;
/// Bytes before a payload.
const FRAME_HEAD: usize = 8;

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

pub(super) fn head(salt: [u8; 8]) -> Vec<u8> {
    [&MAGIC[..], &[VERSION], &salt].concat()
}

/// Appends a frame that will stand at `offset` of its file.
pub(super) fn write(salt: [u8; 8], offset: u64, payload: &[u8], out: &mut Vec<u8>) {
    let len = (payload.len() as u32).to_le_bytes();
    out.extend_from_slice(&len);
    out.extend_from_slice(&crc(&[&salt, &offset.to_le_bytes(), &len, payload]).to_le_bytes());
    out.extend_from_slice(payload);
}

/// The payload of the whole frame at `offset`; `None`: there is none.
fn read(file: &[u8], salt: [u8; 8], offset: usize) -> Option<&[u8]> {
    let rest = file.get(offset..)?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    // No frame is empty, so that zeros are none.
    let payload = rest.get(..u32::from_le_bytes(*len) as usize).filter(|payload| !payload.is_empty())?;
    (crc(&[&salt, &(offset as u64).to_le_bytes(), len, payload]) == u32::from_le_bytes(*sum)).then_some(payload)
}

/// What the frames of a file come to.
#[derive(Debug, PartialEq)]
pub(super) struct Frames<'a> {
    /// Offset and payload of each.
    pub(super) whole: Vec<(u64, &'a [u8])>,
    /// Where the first byte stands that is no whole frame: everything from there on is a group that was never kept.
    pub(super) end: u64,
}

/// Reads all frames behind the head.
///
/// # Errors
/// The offset of something that is no frame and has a frame behind it.
pub(super) fn read_all(file: &[u8], salt: [u8; 8]) -> Result<Frames<'_>, u64> {
    let (mut whole, mut at) = (Vec::new(), HEAD);
    while let Some(payload) = read(file, salt, at) {
        whole.push((at as u64, payload));
        at += FRAME_HEAD + payload.len();
    }
    let more = (at + 1..file.len()).any(|later| read(file, salt, later).is_some());
    if more { Err(at as u64) } else { Ok(Frames { whole, end: at as u64 }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 8] = *b"saltsalt";

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut file = head(SALT);
        for payload in payloads {
            let at = file.len() as u64;
            write(SALT, at, payload, &mut file);
        }
        file
    }

    #[test]
    fn the_checksum_is_crc_32() {
        assert_eq!(crc(&[b"123456789"]), 0xCBF4_3926);
        assert_eq!(crc(&[b"1234", b"56789"]), 0xCBF4_3926);
    }

    #[test]
    fn a_file_that_ends_anywhere_has_the_frames_that_are_whole() {
        let whole = file(&[b"one", b"two", b"three"]);
        let ends = [HEAD, HEAD + 11, HEAD + 22, HEAD + 35];
        for len in HEAD..=whole.len() {
            let frames = read_all(&whole[..len], SALT).unwrap();
            let expected = ends.iter().filter(|end| **end <= len).count() - 1;
            assert_eq!((frames.whole.len(), frames.end), (expected, ends[expected] as u64), "{len}");
        }
    }

    #[test]
    fn a_bit_that_changed_before_the_last_frame_is_found_and_placed() {
        let whole = file(&[b"one", b"two", b"three"]);
        for at in HEAD..HEAD + 22 {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let frame = if at < HEAD + 11 { HEAD } else { HEAD + 11 };
                assert_eq!(read_all(&damaged, SALT), Err(frame as u64), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn what_a_tail_of_zeros_or_of_another_file_holds_is_no_frame() {
        let mut zeros = file(&[b"one"]);
        let end = zeros.len() as u64;
        zeros.extend_from_slice(&[0; 100]);
        assert_eq!(read_all(&zeros, SALT).unwrap().end, end);
        let mut other = head(*b"otherone");
        write(*b"otherone", HEAD as u64, b"two", &mut other);
        assert!(read_all(&other, SALT).unwrap().whole.is_empty());
        let nested = file(&[b"one", &file(&[b"inner"])]);
        assert_eq!(read_all(&nested[..nested.len() - 1], SALT).unwrap().whole.len(), 1, "a frame inside a torn one is not taken for one");
    }
}
