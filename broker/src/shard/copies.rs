//! Copies of messages that wait to be acknowledged.
//!
//! A message that waits must not keep the buffer alive that it was read into. Memory of its own for each small one is what a window
//! of them spends most of its time on: a system's allocator is quick for a few pieces of one size, not for a hundred that come and go
//! together. So some share a piece. It is small, since the last of them that is acknowledged keeps all of it.

use bytes::{Bytes, BytesMut};
use candor_protocol::packet::Message;

/// Bytes of a piece: what one message that is never acknowledged keeps at most.
const PIECE: usize = 1024;
/// Larger messages have memory of their own.
const SMALL: usize = PIECE / 4;

#[derive(Debug, Default)]
pub(super) struct Copies(BytesMut);

impl Copies {
    /// As [`Copies::copy`], of bytes that stand together.
    pub(super) fn copy_bytes(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > SMALL {
            return Bytes::copy_from_slice(bytes);
        }
        self.make_room(bytes.len());
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }

    fn make_room(&mut self, len: usize) {
        if self.0.capacity() < len {
            // What is left of the last piece is given up: growing would copy, and move all that shares it.
            self.0 = BytesMut::with_capacity(PIECE);
        }
    }

    pub(super) fn copy(&mut self, message: &Message) -> Message {
        let len = message.compact_len();
        if len > SMALL {
            return message.compact();
        }
        self.make_room(len);
        message.compact_in(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_message_and_small_ones_share_a_piece() {
        let mut copies = Copies::default();
        let mut kept = vec![];
        for len in (0..2 * SMALL).chain([0, 1, 2]) {
            let message = Message::publish("a/topic", "x".repeat(len)).unwrap();
            kept.push((copies.copy(&message), message));
            assert!(copies.0.capacity() <= PIECE, "{len}");
        }
        assert!(kept.iter().all(|(copy, message)| copy == message));
        let [(one, _), (two, _)] = &kept[kept.len() - 2..] else { return };
        assert_eq!(one.topic().as_ptr() as usize + one.len(), two.topic().as_ptr() as usize, "one stands behind the other");
    }
}
