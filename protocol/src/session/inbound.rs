//! Messages being received from the peer: each above QoS 0 has a ticket until it is settled, and a QoS 2 identifier stays
//! taken until it is released.
//!
//! ```text
//! QoS 1   --PUBLISH--> pending --settle--> PUBACK
//! QoS 2   --PUBLISH--> pending --settle, below 0x80--> PUBREC, committed --PUBREL--> recorded --> PUBCOMP
//!                      pending --settle, from 0x80---> PUBREC with the reason; the identifier is free
//! ```
//! Acknowledgements leave in the order of the messages where the terms demand it ([MQTT-4.6.0-2], [MQTT-4.6.0-3]).

use super::{Outcome, Ticket};
use crate::codec::dictionary::Dictionary;
use crate::packet::id::{PacketId, Qos};
use crate::packet::property;
use crate::packet::publish::MessageOnly;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A message that was handed on and is not settled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pending {
    pub ticket: Ticket,
    pub id: PacketId,
    pub qos: Qos,
    pub asked: Asked,
    state: PendingState,
}

/// What the sender of a message wants to find in its acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Asked {
    /// Which durability was reached.
    pub receipt: bool,
    /// Its own name for the message, repeated in a refusal; empty: it gave none.
    pub tag: Bytes,
}

impl Asked {
    pub(super) fn of(dictionary: &Dictionary) -> Self {
        if dictionary.is_empty() || MessageOnly::is(dictionary) {
            return Self::default();
        }
        // The tag stays until the message is settled; it must not keep the buffer alive that it was read into.
        let tag = tag_of(dictionary).map(|tag| Bytes::copy_from_slice(&tag)).unwrap_or_default();
        Self { receipt: dictionary.value(property::RECEIPT_REQUEST).unwrap_or(false), tag }
    }
}

/// The most bytes of a tag: it is kept until the message is settled, and repeated.
pub(super) const TAG_LEN_MAX: usize = 32;

/// The tag of a message, if it is one that may be repeated.
pub(super) fn tag_of(dictionary: &Dictionary) -> Option<Bytes> {
    dictionary.value(property::TAG).filter(|tag| tag.len() <= TAG_LEN_MAX)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PendingState {
    Open,
    /// Settled, and waiting for those before it.
    Settled(Outcome),
    Answered,
}

/// How a QoS 2 identifier is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Taken {
    /// The message was handed on and is not settled.
    Pending(Ticket),
    /// PUBREC below 0x80 was, or is about to be, sent.
    Committed,
    /// PUBREL came and is being recorded.
    Releasing,
}

/// What to do with a PUBLISH above QoS 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Hand it on under this ticket.
    New(Ticket),
    /// It is known and committed: answer PUBREC again.
    Repeated,
    /// It is known and not settled: the answer is on its way.
    InProgress,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Inbound {
    next_ticket: Ticket,
    pending: VecDeque<Pending>,
    taken: BTreeMap<PacketId, Taken>,
}

impl Inbound {
    /// Messages that are not settled.
    pub fn open(&self) -> usize {
        self.pending.len()
    }

    /// Messages that the peer counts against the window: not acknowledged, or not released.
    pub fn in_window(&self) -> usize {
        let qos_1 = self.pending.iter().filter(|pending| pending.qos == Qos::AtLeastOnce).count();
        qos_1 + self.taken.len()
    }

    /// The QoS 2 identifiers that are taken.
    pub fn taken(&self) -> impl Iterator<Item = (PacketId, Taken)> {
        self.taken.iter().map(|(id, taken)| (*id, *taken))
    }

    /// Takes an identifier up from a record of an earlier life.
    pub fn restore(&mut self, id: PacketId) {
        self.taken.insert(id, Taken::Committed);
    }

    pub fn arrive(&mut self, id: PacketId, qos: Qos, asked: Asked) -> Arrival {
        if qos == Qos::ExactlyOnce {
            match self.taken.get(&id) {
                None => {}
                Some(Taken::Pending(_)) => return Arrival::InProgress,
                Some(Taken::Committed | Taken::Releasing) => return Arrival::Repeated,
            }
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if qos == Qos::ExactlyOnce {
            self.taken.insert(id, Taken::Pending(ticket));
        }
        self.pending.push_back(Pending { ticket, id, qos, asked, state: PendingState::Open });
        Arrival::New(ticket)
    }

    /// Settles a message; `answer` is called for each acknowledgement that may leave now.
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome, in_order: bool, mut answer: impl FnMut(&Pending, Outcome)) {
        let Ok(at) = self.pending.binary_search_by_key(&ticket, |pending| pending.ticket) else { return };
        let Some(pending) = self.pending.get_mut(at) else { return };
        if pending.state != PendingState::Open {
            return;
        }
        if pending.qos == Qos::ExactlyOnce {
            if outcome.reason.is_error() {
                self.taken.remove(&pending.id);
            } else {
                self.taken.insert(pending.id, Taken::Committed);
            }
        }
        if in_order {
            pending.state = PendingState::Settled(outcome);
        } else {
            pending.state = PendingState::Answered;
            answer(pending, outcome);
        }
        while let Some(front) = self.pending.front_mut() {
            match std::mem::replace(&mut front.state, PendingState::Answered) {
                PendingState::Open => {
                    front.state = PendingState::Open;
                    break;
                }
                PendingState::Settled(outcome) => answer(front, outcome),
                PendingState::Answered => {}
            }
            self.pending.pop_front();
        }
    }

    /// PUBREL: whether the identifier was taken, so that its release has to be recorded.
    pub fn release(&mut self, id: PacketId) -> bool {
        match self.taken.get_mut(&id) {
            Some(taken @ (Taken::Committed | Taken::Releasing)) => {
                *taken = Taken::Releasing;
                true
            }
            _ => false,
        }
    }

    /// The release was recorded: the identifier is free.
    pub fn released(&mut self, id: PacketId) -> bool {
        match self.taken.get(&id) {
            Some(Taken::Releasing) => self.taken.remove(&id).is_some(),
            _ => false,
        }
    }

    /// The connection is gone. QoS 1 messages will come again; QoS 2 messages that were handed on stay taken, so that
    /// their repetition is known, and can still be settled.
    pub fn disconnect(&mut self) {
        self.pending.retain(|pending| pending.qos == Qos::ExactlyOnce && pending.state == PendingState::Open);
    }

    /// Forgets everything; the peer no longer knows this session.
    pub fn clear(&mut self) {
        self.pending.clear();
        self.taken.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    fn settle(inbound: &mut Inbound, ticket: Ticket, in_order: bool) -> Vec<u16> {
        let mut answered = vec![];
        inbound.settle(ticket, Outcome::accepted(), in_order, |pending, _| answered.push(pending.id.value()));
        answered
    }

    #[test]
    fn acknowledgements_keep_the_order_where_it_is_demanded() {
        let mut inbound = Inbound::default();
        for n in 1..=3 {
            assert_eq!(inbound.arrive(id(n), Qos::AtLeastOnce, Asked::default()), Arrival::New(u64::from(n) - 1));
        }
        assert_eq!(settle(&mut inbound, 1, true), []);
        assert_eq!(settle(&mut inbound, 2, true), []);
        assert_eq!(settle(&mut inbound, 0, true), [1, 2, 3]);
        assert_eq!(inbound.open(), 0);
    }

    #[test]
    fn acknowledgements_go_at_once_where_order_is_free() {
        let mut inbound = Inbound::default();
        for n in 1..=3 {
            inbound.arrive(id(n), Qos::AtLeastOnce, Asked::default());
        }
        assert_eq!(settle(&mut inbound, 1, false), [2]);
        assert_eq!(settle(&mut inbound, 1, false), []);
        assert_eq!(settle(&mut inbound, 0, false), [1]);
        assert_eq!(settle(&mut inbound, 2, false), [3]);
    }

    #[test]
    fn a_qos_2_identifier_is_taken_until_it_is_released() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, Asked::default()), Arrival::New(0));
        assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, Asked::default()), Arrival::InProgress);
        assert!(!inbound.release(id(7)));
        settle(&mut inbound, 0, true);
        assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, Asked::default()), Arrival::Repeated);
        assert!(inbound.release(id(7)) && inbound.released(id(7)));
        assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, Asked::default()), Arrival::New(1));
    }

    #[test]
    fn a_refused_qos_2_message_frees_its_identifier() {
        let mut inbound = Inbound::default();
        inbound.arrive(id(7), Qos::ExactlyOnce, Asked::default());
        let refused = Outcome::refused(crate::packet::Refusal::bare(crate::packet::Reason::NOT_AUTHORIZED));
        inbound.settle(0, refused, true, |_, _| {});
        assert_eq!(inbound.arrive(id(7), Qos::ExactlyOnce, Asked::default()), Arrival::New(1));
    }

    #[test]
    fn an_unsettled_qos_2_message_survives_the_connection() {
        let mut inbound = Inbound::default();
        inbound.arrive(id(1), Qos::AtLeastOnce, Asked::default());
        inbound.arrive(id(2), Qos::ExactlyOnce, Asked::default());
        inbound.disconnect();
        assert_eq!(inbound.open(), 1);
        assert_eq!(inbound.arrive(id(2), Qos::ExactlyOnce, Asked::default()), Arrival::InProgress);
        assert_eq!(settle(&mut inbound, 1, true), [2]);
        assert_eq!(inbound.arrive(id(2), Qos::ExactlyOnce, Asked::default()), Arrival::Repeated);
    }
}
