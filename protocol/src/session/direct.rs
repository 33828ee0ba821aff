//! The shortest way of the packets that almost all traffic is made of: a PUBLISH, and an acknowledgement of success. They come to the
//! same as in [`receive`](super::Session::receive), without what only a negotiation, an experiment or another packet needs, and what
//! follows from them is handed over at once where it is one thing.

use super::outbound::Stage;
use super::{Outcome, Output, Phase, Record, Session, Ticket, Token};
use crate::codec::frame::Frame;
use crate::dialect::read;
use crate::packet::id::{PacketId, Qos};
use crate::packet::kind::Kind;
use crate::packet::{Ack, Packet, Publish, Reason};
use bytes::{Buf, Bytes};

/// PUBACK, PUBREC, PUBREL and PUBCOMP as they begin in every dialect.
const ACKS: [u8; 4] = [0x40, 0x50, 0x62, 0x70];

/// What an input came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Direct {
    /// To what [`Session::poll`] gives.
    Outputs,
    /// As [`Output::Message`].
    Message { ticket: Option<Ticket>, publish: Publish },
    /// As [`Output::Settled`] with success and nothing more.
    Settled(Token),
    /// As [`Output::Record`].
    Record(Record),
}

impl Session {
    /// Whether the connection is open and nothing but the packet itself decides what follows from it.
    #[inline]
    pub(super) fn is_ordinary(&self) -> bool {
        matches!(self.phase, Phase::Open) && self.trial.is_none() && self.terms.experiments == 0
    }

    /// As [`Session::receive`], for a frame that is of no more use.
    pub fn take(&mut self, frame: Frame, now_ms: u64) -> Direct {
        if frame.first >> 4 != Kind::Publish as u8 || !self.is_ordinary() {
            self.receive(&frame, now_ms);
            return Direct::Outputs;
        }
        self.clock.heard(now_ms);
        match read::raise_publish(self.terms.dialect, frame, self.limits()) {
            Ok(publish) => match self.check_dictionary(Kind::Publish, &publish.dictionary) {
                Ok(()) => match self.arrived(publish) {
                    Some((ticket, publish)) if self.outputs.is_empty() => return Direct::Message { ticket, publish },
                    Some((ticket, publish)) => self.outputs.push_back(Output::Message { ticket, publish }),
                    None => {}
                },
                Err(refusal) => self.refuse_packet(Packet::Publish(publish), refusal),
            },
            Err(error) => self.malformed(error),
        }
        Direct::Outputs
    }

    /// Takes an acknowledgement of success off the front of `bytes`, which are whole frames; `None`: something else stands there.
    pub fn take_ack(&mut self, bytes: &mut Bytes, now_ms: u64) -> Option<Direct> {
        let &[first, 2, high, low] = bytes.first_chunk()? else { return None };
        let id = PacketId::new(u16::from_be_bytes([high, low]))?;
        if !ACKS.contains(&first) || !self.is_ordinary() {
            return None;
        }
        bytes.advance(4);
        self.clock.heard(now_ms);
        Some(self.take_success(first, id).unwrap_or_else(|| {
            let ack = Ack::success(id);
            match first {
                0x40 => self.receive_final(&ack, Qos::AtLeastOnce),
                0x50 => self.receive_pubrec(&ack),
                0x62 => self.receive_pubrel(&ack),
                _ => self.receive_final(&ack, Qos::ExactlyOnce),
            }
            Direct::Outputs
        }))
    }

    /// The next step of an exchange, where it is the one that was waited for. `None`: it is not, and nothing was done.
    #[inline]
    fn take_success(&mut self, first: u8, id: PacketId) -> Option<Direct> {
        // What waits to be sent again may go when something ends.
        if !self.outputs.is_empty() || self.outbound.has_waiting() {
            return None;
        }
        match first {
            0x40 => self.outbound.finish_if(id, Qos::AtLeastOnce, Stage::Published).map(Direct::Settled),
            0x50 => self.outbound.record_if(id).then_some(Direct::Record(Record::Received(id))),
            0x62 => self.inbound.release(id).then_some(Direct::Record(Record::Released(id))),
            _ => self.outbound.finish_if(id, Qos::ExactlyOnce, Stage::Received).map(Direct::Settled),
        }
    }

    /// As [`Session::settle`], for a success that is answered at once: the acknowledgement. `None`: it is not, and nothing was done.
    #[inline]
    pub fn settle_directly(&mut self, ticket: Ticket, outcome: &Outcome) -> Option<[u8; 4]> {
        let is_bare = outcome.reason == Reason::SUCCESS && outcome.problem.is_none() && outcome.delay_ms.is_none();
        if !is_bare || !self.is_ordinary() || !self.outputs.is_empty() {
            return None;
        }
        let (id, qos) = self.inbound.settle_only(ticket)?;
        Some(packet(if qos == Qos::AtLeastOnce { 0x40 } else { 0x50 }, id))
    }

    /// As [`Session::recorded`], for a packet that leaves at once. `None`: it does not, and nothing was done.
    #[inline]
    pub fn recorded_directly(&mut self, record: Record) -> Option<[u8; 4]> {
        if !self.is_ordinary() || !self.outputs.is_empty() {
            return None;
        }
        match record {
            Record::Released(id) => self.inbound.released(id).then(|| packet(0x70, id)),
            Record::Received(id) => self.outbound.recorded(id).then(|| packet(0x62, id)),
        }
    }
}

/// An acknowledgement of success, the same in every dialect.
fn packet(first: u8, id: PacketId) -> [u8; 4] {
    let [high, low] = id.value().to_be_bytes();
    [first, 2, high, low]
}
