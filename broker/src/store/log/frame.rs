//! Frames: one batch each. Length of the payload, checksum of all that follows it, where the frame's group begins; little-endian.

/// Bytes in front of a payload.
pub(in crate::store) const FRAME_HEAD_LEN: usize = 12;

/// A frame where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Frame<'a> {
    /// The offset of its group in the segment.
    pub(in crate::store) group: u64,
    pub(in crate::store) payload: &'a [u8],
}

impl Frame<'_> {
    pub(in crate::store) fn len(&self) -> usize {
        FRAME_HEAD_LEN + self.payload.len()
    }
}

/// Fills in the head of the frame that begins at `at` in `out` and ends with it; `group` is the offset of its group.
///
/// A group has less than 4 GiB: the caller sees to it.
pub(in crate::store) fn close_frame(out: &mut [u8], at: usize, group: u32) {
    let Some(frame) = out.get_mut(at..).filter(|frame| frame.len() >= FRAME_HEAD_LEN) else { return };
    let len = (frame.len() - FRAME_HEAD_LEN) as u32;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[8..12].copy_from_slice(&group.to_le_bytes());
    let checksum = checksum(len, &frame[8..]);
    frame[4..8].copy_from_slice(&checksum.to_le_bytes());
}

/// The frame at the front of the bytes; `None`: there is none.
pub(in crate::store) fn open_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let head: &[u8; FRAME_HEAD_LEN] = bytes.first_chunk()?;
    let u32_at = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let len = u32_at(0);
    let frame = bytes.get(..FRAME_HEAD_LEN.checked_add(len as usize)?)?;
    (checksum(len, &frame[8..]) == u32_at(4)).then(|| Frame { group: u64::from(u32_at(8)), payload: &frame[FRAME_HEAD_LEN..] })
}

/// The length is part of it, so that a frame of zeros is none.
fn checksum(len: u32, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!len);
    hasher.update(rest);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_as_it_was_and_damaged_or_cut_it_is_none() {
        let mut bytes = b"before".to_vec();
        bytes.extend_from_slice(&[0; FRAME_HEAD_LEN]);
        bytes.extend_from_slice(b"payload");
        close_frame(&mut bytes, 6, 64);
        let frame = &bytes[6..];
        assert_eq!(open_frame(frame), Some(Frame { group: 64, payload: b"payload" }));
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_frame(&damaged), None, "bit {bit}");
        }
        for len in 0..frame.len() {
            assert_eq!(open_frame(&frame[..len]), None);
        }
        assert_eq!(open_frame(&[0; 100]), None, "zeros");
    }
}
