//! The bytes that wait to be written to one connection: small frames copied together, large payloads by reference.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A payload from this size on is not copied into the buffer of each receiver.
pub const SHARE_FROM: usize = 4096;
/// A buffer larger than this is given back when it has been written.
const KEEP_CAPACITY: usize = 16 * 1024;

/// What waits to be written, in order.
#[derive(Debug, Default)]
pub struct Out {
    /// Before `tail`.
    chunks: VecDeque<Bytes>,
    chunks_len: usize,
    tail: BytesMut,
}

impl Out {
    pub fn len(&self) -> usize {
        self.chunks_len + self.tail.len()
    }

    pub fn is_empty(&self) -> bool {
        self.chunks_len == 0 && self.tail.is_empty()
    }

    /// Where small frames are written.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Puts shared bytes behind what is there.
    pub fn share(&mut self, bytes: Bytes) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.chunks_len += tail.len();
            self.chunks.push_back(tail);
        }
        self.chunks_len += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// Fills `slices` with what comes next; tells how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let mut count = 0;
        for (slot, bytes) in slices.iter_mut().zip(self.chunks.iter().map(|chunk| &chunk[..]).chain(tail)) {
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// `len` bytes were written.
    pub fn advance(&mut self, mut len: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            if len < chunk.len() {
                chunk.advance(len);
                self.chunks_len -= len;
                return;
            }
            len -= chunk.len();
            self.chunks_len -= chunk.len();
            self.chunks.pop_front();
        }
        self.tail.advance(len.min(self.tail.len()));
        if self.tail.is_empty() {
            // An idle connection holds no buffer.
            if self.tail.capacity() > KEEP_CAPACITY || self.chunks.capacity() > 0 {
                *self = Self::default();
            } else {
                self.tail.clear();
            }
        }
    }

    /// Gives memory back when nothing waits.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Moves everything behind `raw`.
    pub fn take_into(&mut self, raw: &mut BytesMut) {
        for chunk in self.chunks.drain(..) {
            raw.extend_from_slice(&chunk);
        }
        raw.extend_from_slice(&self.tail);
        self.tail.clear();
        self.chunks_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(out: &Out) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = out.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn the_order_is_kept_whatever_part_is_written() {
        let mut out = Out::default();
        out.tail().extend_from_slice(b"ab");
        out.share(Bytes::from_static(b"cde"));
        out.tail().extend_from_slice(b"fg");
        assert_eq!((written(&out), out.len()), (b"abcdefg".to_vec(), 7));
        for left in (0..7).rev() {
            out.advance(1);
            assert_eq!(out.len(), left);
            assert_eq!(written(&out), b"abcdefg"[7 - left..].to_vec());
        }
        assert!(out.is_empty());
    }
}
