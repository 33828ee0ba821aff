//! What a script waits for: a packet, a message, a close.

use super::packet::Delivery;
use super::{Wire, described, hex, patience};
use crate::outcome::Checked;
use std::collections::VecDeque;
use std::time::Duration;

impl Wire {
    /// The next packet is exactly `expected`.
    ///
    /// # Errors
    /// It is another, none comes, or the peer closes.
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) -> Checked {
        let expected = expected.as_ref();
        let seen = self.next().map_err(|stop| stop.within(format!("expected {}", described(expected))))?;
        if seen == expected {
            return Ok(());
        }
        Err(self.failure(format!("expected {}, got {}", described(expected), described(&seen))))
    }

    /// The next packet matches a pattern of [`hex::Pattern`]; it is returned.
    ///
    /// # Errors
    /// As [`Wire::expect`].
    pub fn expect_hex(&mut self, pattern: &str) -> Checked<Vec<u8>> {
        let pattern = hex::Pattern::new(pattern)?;
        let seen = self.next().map_err(|stop| stop.within(format!("expected {}", pattern.as_str())))?;
        if pattern.matches(&seen) {
            return Ok(seen);
        }
        Err(self.failure(format!("expected {}, got {}", pattern.as_str(), described(&seen))))
    }

    /// The next packet is a PUBLISH.
    ///
    /// # Errors
    /// As [`Wire::expect`].
    pub fn expect_publish(&mut self) -> Checked<Delivery> {
        let packet = self.next().map_err(|stop| stop.within("expected PUBLISH"))?;
        Delivery::read(&packet).map_err(|stop| self.failure(stop.to_string()))
    }

    /// The next packet is a PUBLISH of this topic and payload.
    ///
    /// # Errors
    /// As [`Wire::expect`].
    pub fn expect_message(&mut self, topic: &str, payload: &str) -> Checked<Delivery> {
        let seen = self.expect_publish()?;
        if seen.topic == topic.as_bytes() && seen.payload == payload.as_bytes() {
            return Ok(seen);
        }
        let seen = (seen.topic_text(), seen.payload_text());
        Err(self.failure(format!("expected PUBLISH {:?}, got {seen:?}", (topic, payload))))
    }

    /// Reads on to the first packet of this type (the upper four bits of its first byte), and returns it. What came before
    /// stays to be read.
    ///
    /// # Errors
    /// As [`Wire::next`].
    pub fn skip_to(&mut self, kind: u8) -> Checked<Vec<u8>> {
        let mut before = VecDeque::new();
        let found = loop {
            let packet = self.next()?;
            if packet[0] >> 4 == kind {
                break packet;
            }
            before.push_back(packet);
        };
        before.append(&mut self.early);
        self.early = before;
        Ok(found)
    }

    /// The peer closes, without another packet before.
    ///
    /// # Errors
    /// It sends a packet, or stays open for [`patience`].
    pub fn expect_close(&mut self) -> Checked {
        self.expect_close_within(patience())
    }

    /// The peer closes within `patience`, without another packet before.
    ///
    /// # Errors
    /// It sends a packet, or stays open.
    pub fn expect_close_within(&mut self, patience: Duration) -> Checked {
        match self.next_within(patience).map_err(|stop| stop.within("expected the peer to close"))? {
            None => Ok(()),
            Some(packet) => Err(self.failure(format!("expected the peer to close, got {}", described(&packet)))),
        }
    }

    /// Reads on until the peer closes, and returns the packets that came before.
    ///
    /// # Errors
    /// It stays open for [`patience`].
    pub fn until_close(&mut self) -> Checked<Vec<Vec<u8>>> {
        self.until_close_within(patience())
    }

    /// As [`Wire::until_close`], with another patience for each packet.
    ///
    /// # Errors
    /// It stays open, and sends nothing for so long.
    pub fn until_close_within(&mut self, patience: Duration) -> Checked<Vec<Vec<u8>>> {
        let mut packets = vec![];
        while let Some(packet) = self.next_within(patience).map_err(|stop| stop.within("expected the peer to close"))? {
            packets.push(packet);
        }
        Ok(packets)
    }
}
