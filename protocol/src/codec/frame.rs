//! Frames: the fixed header of 3.1.1 (section 2.2) and the body behind it, found in any split of the bytes.
//!
//! A driver takes whole frames one by one off the front of its buffer with [`Frame::split_mut`]; nothing is copied and a frame that is
//! still incomplete stays where it is. The size limit is enforced on the header, before a byte of the body is waited for.

use super::cursor::{put_varint, varint_len};
use super::error::Malformed;
use bytes::{BufMut, Bytes, BytesMut};

/// One packet as bytes: the first byte, and the body behind Remaining Length.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    pub first: u8,
    pub body: Bytes,
}

/// A fixed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub first: u8,
    /// The length of the header itself, 2 to 5.
    pub len: usize,
    /// Remaining Length.
    pub remaining: u32,
}

impl Header {
    /// Reads a fixed header; `None`: it is not complete yet. `limit` is the most bytes of a whole packet.
    ///
    /// # Errors
    /// A fifth length byte, the reserved type 0, or a packet over the limit.
    pub fn read(bytes: &[u8], limit: u32) -> Result<Option<Header>, Malformed> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first >> 4 == 0 {
            return Err(Malformed::PacketType(0));
        }
        let mut remaining = 0u32;
        for at in 1..=4 {
            let Some(&byte) = bytes.get(at) else { return Ok(None) };
            remaining |= u32::from(byte & 0x7F) << (7 * (at - 1));
            if byte & 0x80 == 0 {
                let header = Header { first, len: 1 + at, remaining };
                let seen = header.total() as u32;
                return if seen > limit { Err(Malformed::TooLarge { limit, seen }) } else { Ok(Some(header)) };
            }
        }
        Err(Malformed::RemainingLength)
    }

    /// The length of the whole packet.
    pub const fn total(&self) -> usize {
        self.len + self.remaining as usize
    }
}

impl Frame {
    /// Takes the first whole frame off `bytes`; `None`: there is none.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn split(bytes: &mut Bytes, limit: u32) -> Result<Option<Frame>, Malformed> {
        let Some(header) = Header::read(bytes, limit)? else { return Ok(None) };
        if header.total() > bytes.len() {
            return Ok(None);
        }
        let mut body = bytes.split_to(header.total());
        bytes::Buf::advance(&mut body, header.len);
        Ok(Some(Frame { first: header.first, body }))
    }

    /// As [`Frame::split`], on a buffer that is still being filled.
    ///
    /// # Errors
    /// As [`Header::read`].
    pub fn split_mut(bytes: &mut BytesMut, limit: u32) -> Result<Option<Frame>, Malformed> {
        match Header::read(bytes, limit)? {
            Some(header) if header.total() <= bytes.len() => {
                let mut whole = bytes.split_to(header.total()).freeze();
                bytes::Buf::advance(&mut whole, header.len);
                Ok(Some(Frame { first: header.first, body: whole }))
            }
            _ => Ok(None),
        }
    }

    /// Writes header and body.
    pub fn write(&self, out: &mut BytesMut) {
        put_header(out, self.first, self.body.len());
        out.put_slice(&self.body);
    }

    /// The same frame in memory of its own: for keeping longer than the buffer it was read into.
    pub fn compact(&self) -> Self {
        Self { first: self.first, body: Bytes::copy_from_slice(&self.body) }
    }

    /// The length of the whole packet.
    pub fn total(&self) -> usize {
        1 + varint_len(self.body.len() as u32) + self.body.len()
    }
}

/// Writes a fixed header and makes room for the body.
pub fn put_header(out: &mut BytesMut, first: u8, remaining: usize) {
    out.reserve(5 + remaining);
    if remaining < 0x80 {
        return out.put_slice(&[first, remaining as u8]);
    }
    out.put_u8(first);
    put_varint(out, remaining as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_in_any_split_of_the_bytes() {
        let stream = [0xC0, 0x00, 0x30, 0x03, 0, 1, b'a', 0xD0, 0x00];
        for cut in 0..=stream.len() {
            let (mut bytes, mut firsts) = (BytesMut::from(&stream[..cut]), vec![]);
            while let Some(frame) = Frame::split_mut(&mut bytes, 100).unwrap() {
                firsts.push((frame.first, frame.body.len()));
            }
            let whole = [0, 0, 2, 2, 2, 2, 2, 7, 7, 9][cut];
            assert_eq!(bytes.len(), cut - whole, "cut at {cut}");
            assert!([(0xC0, 0), (0x30, 3), (0xD0, 0)].starts_with(&firsts), "cut at {cut}");
        }
    }

    #[test]
    fn a_size_over_the_limit_is_refused_before_the_body_comes() {
        assert_eq!(Header::read(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], 1000), Err(Malformed::TooLarge { limit: 1000, seen: 268_435_460 }));
        assert_eq!(Header::read(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF], u32::MAX), Err(Malformed::RemainingLength));
        let mut bytes = BytesMut::from(&[0xC0, 0, 0x00][..]);
        assert!(Frame::split_mut(&mut bytes, 10).is_ok_and(|frame| frame.is_some()));
        assert_eq!((Frame::split_mut(&mut bytes, 10), bytes.len()), (Err(Malformed::PacketType(0)), 1));
    }
}
