//! The bytes that wait to be written to one connection: small frames copied together, large payloads by reference.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::IoSlice;

/// A payload from this size on is not copied into the buffer of each receiver.
pub const SHARE_FROM: usize = 4096;
/// The most bytes of all buffers that a shard keeps for whoever writes next.
const SPARE_BYTES_MAX: usize = 1024 * 1024;
/// A buffer larger than this goes back to the system.
const SPARE_BUFFER_MAX: usize = 256 * 1024;

/// The buffers that a shard's connections write into, one after the other. A connection that has nothing to write holds none; one
/// that writes in every turn need not ask the system for memory each time, and gets what was used last, which is still in the cache.
#[derive(Debug, Default)]
pub struct Spare {
    buffers: Vec<BytesMut>,
    bytes: usize,
}

impl Spare {
    #[inline]
    fn take(&mut self) -> BytesMut {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    #[inline]
    fn put(&mut self, buffer: BytesMut) {
        let capacity = buffer.capacity();
        if capacity > 0 && capacity <= SPARE_BUFFER_MAX && self.bytes + capacity <= SPARE_BYTES_MAX {
            self.bytes += capacity;
            self.buffers.push(buffer);
        }
    }
}

/// What waits to be written, in order.
#[derive(Debug, Default)]
pub struct Out {
    /// Before `tail`; there only while something waits there.
    chunks: Option<Box<Chunks>>,
    tail: BytesMut,
}

#[derive(Debug, Default)]
struct Chunks {
    queue: VecDeque<Bytes>,
    len: usize,
}

impl Chunks {
    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        self.queue.push_back(bytes);
    }

    /// Takes `len` bytes off the front; tells how many more they were than there are.
    fn advance(&mut self, mut len: usize) -> usize {
        while let Some(chunk) = self.queue.front_mut() {
            if len < chunk.len() {
                chunk.advance(len);
                self.len -= len;
                return 0;
            }
            len -= chunk.len();
            self.len -= chunk.len();
            self.queue.pop_front();
        }
        len
    }
}

impl Out {
    pub fn len(&self) -> usize {
        self.chunks.as_ref().map_or(0, |chunks| chunks.len) + self.tail.len()
    }

    /// The memory that it takes: of what is copied, the room besides that there is for more.
    pub fn memory(&self) -> usize {
        self.chunks.as_ref().map_or(0, |chunks| chunks.len) + self.tail.capacity()
    }

    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.chunks.as_ref().is_none_or(|chunks| chunks.len == 0)
    }

    /// Where small frames are written.
    #[inline]
    pub fn tail(&mut self, spare: &mut Spare) -> &mut BytesMut {
        if self.tail.capacity() == 0 {
            self.tail = spare.take();
        }
        &mut self.tail
    }

    /// Gives the buffer back if nothing waits in it.
    #[inline]
    pub fn rest(&mut self, spare: &mut Spare) {
        if self.is_empty() {
            spare.put(std::mem::take(&mut self.tail));
            self.chunks = None;
        }
    }

    /// Puts shared bytes behind what is there.
    pub fn share(&mut self, bytes: Bytes) {
        let chunks = self.chunks.get_or_insert_default();
        if !self.tail.is_empty() {
            chunks.push(self.tail.split().freeze());
        }
        chunks.push(bytes);
    }

    /// Fills `slices` with what comes next; tells how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let mut count = 0;
        let chunks = self.chunks.iter().flat_map(|chunks| chunks.queue.iter().map(|chunk| &chunk[..]));
        for (slot, bytes) in slices.iter_mut().zip(chunks.chain(tail)) {
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        count
    }

    /// `len` bytes were written.
    pub fn advance(&mut self, len: usize) {
        let len = self.chunks.as_mut().map_or(len, |chunks| chunks.advance(len));
        if len >= self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(len);
        }
    }

    /// Moves everything behind `raw`.
    pub fn take_into(&mut self, raw: &mut BytesMut) {
        for chunk in self.chunks.take().into_iter().flat_map(|chunks| chunks.queue) {
            raw.extend_from_slice(&chunk);
        }
        raw.extend_from_slice(&self.tail);
        self.tail.clear();
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
        let (mut out, mut spare) = (Out::default(), Spare::default());
        out.tail(&mut spare).extend_from_slice(b"ab");
        out.share(Bytes::from_static(b"cde"));
        out.tail(&mut spare).extend_from_slice(b"fg");
        assert_eq!((written(&out), out.len()), (b"abcdefg".to_vec(), 7));
        for left in (0..7).rev() {
            out.advance(1);
            assert_eq!(out.len(), left);
            assert_eq!(written(&out), b"abcdefg"[7 - left..].to_vec());
        }
        assert!(out.is_empty());
    }

    #[test]
    fn it_takes_the_room_that_a_buffer_has_and_of_what_is_shared_its_length() {
        let (mut out, mut spare) = (Out::default(), Spare::default());
        out.tail(&mut spare).reserve(1000);
        out.tail(&mut spare).extend_from_slice(b"ab");
        assert!((1000..2000).contains(&out.memory()), "{}", out.memory());
        let before = out.memory();
        out.share(Bytes::from_static(b"cde"));
        assert!((before..before + 10).contains(&(out.memory() + 2)), "what is copied lies in the same buffer still: {}", out.memory());
        out.advance(5);
        out.rest(&mut spare);
        assert_eq!(out.memory(), 0);
    }

    #[test]
    fn a_buffer_goes_from_who_has_written_to_who_writes_next() {
        let (mut one, mut two, mut spare) = (Out::default(), Out::default(), Spare::default());
        one.tail(&mut spare).reserve(1000);
        one.tail(&mut spare).extend_from_slice(b"ab");
        one.rest(&mut spare);
        assert_eq!((one.len(), spare.buffers.len()), (2, 0), "something waits in it");
        one.advance(2);
        one.rest(&mut spare);
        assert_eq!((one.tail.capacity(), spare.buffers.len()), (0, 1));
        assert!(two.tail(&mut spare).capacity() >= 1000 && spare.bytes == 0);
        two.tail(&mut spare).reserve(SPARE_BUFFER_MAX + 1);
        two.rest(&mut spare);
        assert_eq!((two.tail.capacity(), spare.bytes), (0, 0), "what is too large goes back to the system");
    }

    #[test]
    fn what_is_kept_for_the_next_is_bounded() {
        let mut spare = Spare::default();
        for _ in 0..100 {
            spare.put(BytesMut::with_capacity(SPARE_BUFFER_MAX));
        }
        assert_eq!((spare.buffers.len(), spare.bytes), (SPARE_BYTES_MAX / SPARE_BUFFER_MAX, SPARE_BYTES_MAX));
        while spare.take().capacity() > 0 {}
        assert_eq!(spare.bytes, 0);
    }
}
