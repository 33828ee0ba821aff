//! The shortest way of the packets that almost all traffic is made of: a PUBLISH, and an acknowledgement of success. They come to the
//! same as in [`receive`](super::Session::receive), without what only a negotiation, an experiment or another packet needs.

use super::{Phase, Session};
use crate::codec::frame::Frame;
use crate::dialect::read;
use crate::packet::id::{PacketId, Qos};
use crate::packet::kind::Kind;
use crate::packet::{Ack, Packet};
use bytes::{Buf, Bytes};

/// PUBACK, PUBREC, PUBREL and PUBCOMP as they begin in every dialect.
const ACKS: [u8; 4] = [0x40, 0x50, 0x62, 0x70];

impl Session {
    /// Whether the connection is open and nothing but the packet itself decides what follows from it.
    #[inline]
    pub(super) fn is_ordinary(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.trial.is_none() && self.terms.experiments == 0
    }

    /// As [`Session::receive`], for a frame that is of no more use.
    pub fn take(&mut self, frame: Frame, now_ms: u64) {
        if frame.first >> 4 != Kind::Publish as u8 || !self.is_ordinary() {
            return self.receive(&frame, now_ms);
        }
        self.clock.heard(now_ms);
        match read::raise_publish(self.terms.dialect, frame, self.limits()) {
            Ok(publish) => match self.check_dictionary(Kind::Publish, &publish.dictionary) {
                Ok(()) => self.receive_publish(publish),
                Err(refusal) => self.refuse_packet(Packet::Publish(publish), refusal),
            },
            Err(error) => self.malformed(error),
        }
    }

    /// Takes an acknowledgement of success off the front of `bytes`, which are whole frames; `false`: something else stands there.
    pub fn take_ack(&mut self, bytes: &mut Bytes, now_ms: u64) -> bool {
        let Some(&[first, 2, high, low]) = bytes.first_chunk() else { return false };
        let Some(id) = PacketId::new(u16::from_be_bytes([high, low])) else { return false };
        if !ACKS.contains(&first) || !self.is_ordinary() {
            return false;
        }
        bytes.advance(4);
        self.clock.heard(now_ms);
        let ack = Ack::success(id);
        match first {
            0x40 => self.receive_final(&ack, Qos::AtLeastOnce),
            0x50 => self.receive_pubrec(&ack),
            0x62 => self.receive_pubrel(&ack),
            _ => self.receive_final(&ack, Qos::ExactlyOnce),
        }
        true
    }
}
