//! Messages being delivered to the peer, and the packet identifiers in use towards it.
//!
//! ```text
//! QoS 1   Published --PUBACK-------------------------------> settled
//! QoS 2   Published --PUBREC 0--> Received --PUBCOMP-------> settled
//!         Published --PUBREC from 0x80---------------------> settled
//! ```
//! After a connection was lost every message is `Waiting` until it is sent again, with DUP and its identifier
//! ([MQTT-4.4.0-1]), in the order of the first sendings ([MQTT-4.6.0-1]). Where both ends count, each message has a number, and
//! what the peer says it holds decides what is sent again, and how: see [`reconcile`](super::reconcile).

mod again;

use super::{Outcome, Token};
use crate::codec::dictionary::Dictionary;
use crate::packet::id::{PacketId, Qos};
use crate::packet::message::Message;
use std::collections::VecDeque;
use std::num::NonZeroU64;

/// A message for the peer, with what is said of it on this hop.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Delivery {
    pub message: Message,
    pub qos: Qos,
    pub retain: bool,
    /// The keys of this hop, without the message map.
    pub hop: Dictionary,
}

/// How far a delivery above QoS 0 has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Sent on an earlier connection, not yet on this one.
    Waiting(Again),
    /// PUBLISH was sent.
    Published,
    /// PUBREC 0 came on this connection and is being recorded: PUBREL waits for that. If the connection ends before, PUBLISH is
    /// sent again: PUBREL on the strength of what is not kept would lose the message's identifier in a crash.
    Recording,
    /// PUBREC 0 was recorded, and PUBREL was sent.
    Received,
}

/// What is sent again on the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Again {
    /// PUBLISH with DUP and its identifier.
    Publish,
    /// PUBREL: that PUBREC came is recorded.
    Release,
    /// PUBLISH as if it had never been sent: the peer said that it did not receive it.
    New,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InFlight {
    pub token: Token,
    pub stage: Stage,
    /// Its place in the count of first transmissions; `None`: it was not counted.
    pub number: Option<u64>,
    /// It was sent before the count began: the peer may hold it under its identifier, whatever the count says.
    pub is_older: bool,
    /// Its PUBLISH has not left yet: its owner waits for a record that it depends on.
    pub is_unsent: bool,
    /// In place: memory of its own for each message of a window is what an allocator is slowest at.
    pub delivery: Delivery,
    /// What PUBREC said beyond success: it is the outcome once PUBCOMP has come.
    pub committed: Option<Box<Outcome>>,
}

/// What stands under a packet identifier.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Slot {
    Free,
    Message(InFlight),
    /// A SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
    Request(Token),
}

/// What a message takes beside its text: its place, and the head of the memory that the text stands in.
const SLOT_BYTES: usize = size_of::<Slot>() + 32;

impl Slot {
    fn bytes(&self) -> usize {
        match self {
            Slot::Message(message) => message.delivery.message.len() + message.delivery.hop.as_bytes().len() + SLOT_BYTES,
            _ => 0,
        }
    }
}

/// Identifiers run from 1 to 65,534; 65,535 is the offer's.
const IDS: u32 = 65_534;

/// The ring of identifiers in use: consecutive from `first`, freed in any order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outbound {
    first: u16,
    slots: VecDeque<Slot>,
    /// Messages that were sent on this connection and are not settled.
    open: u16,
    /// Messages of an earlier connection that have to be sent again.
    waiting: u16,
    window: u16,
    /// Of the messages in the ring.
    bytes: usize,
    /// The number of the next first transmission since the count began; `None`: nothing is counted.
    next_number: Option<NonZeroU64>,
    /// The highest number that the peer has acknowledged.
    acknowledged: u64,
}

/// A delivery as a store gives it back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Restored {
    pub id: PacketId,
    pub token: Token,
    pub delivery: Delivery,
    /// Whether [`Record::Received`](super::Record::Received) was kept for it: PUBREL is owed.
    pub received: bool,
    /// Its number in the count; `None` where the count is not restored.
    pub number: Option<u64>,
}

impl Outbound {
    pub fn new(window: u16) -> Self {
        Self { first: 1, slots: VecDeque::new(), open: 0, waiting: 0, window, bytes: 0, next_number: None, acknowledged: 0 }
    }

    /// What a store has kept of an earlier life, in the order of the first sendings. `None`: an identifier stands twice, or they
    /// do not run in that order around the ring, which no sequence of sendings leaves behind.
    ///
    /// A store must keep, before the packet leaves that depends on it: each message with its identifier (again, if a resumption
    /// gives it another), that [`Record::Received`](super::Record::Received) came, and that it was settled. The count of first
    /// transmissions, `sent`, with each message's number, is kept at every sending or not at all: a store without it restores
    /// `None`, and leaves [`Parked::mark`](super::Parked::mark) empty, so that no exchange is built on it.
    pub fn restore(messages: impl IntoIterator<Item = Restored>, sent: Option<u64>) -> Option<Self> {
        let mut outbound = Self::new(1);
        outbound.set_sent(sent);
        for message in messages {
            if !outbound.put_back(message) {
                return None;
            }
        }
        Some(outbound)
    }

    /// As [`Outbound::restore`], one message after the other; `false`: its identifier has no place behind those before.
    pub fn put_back(&mut self, message: Restored) -> bool {
        let Restored { id, token, delivery, received, number } = message;
        if u32::from(id.value()) > IDS {
            return false;
        }
        if self.slots.is_empty() {
            self.first = id.value();
        }
        let distance = (u32::from(id.value()) + IDS - u32::from(self.first)) % IDS;
        if (distance as usize) < self.slots.len() {
            return false;
        }
        self.slots.resize(distance as usize, Slot::Free);
        let stage = Stage::Waiting(if received { Again::Release } else { Again::Publish });
        let number = number.filter(|number| self.sent().is_some_and(|sent| *number <= sent));
        self.push(Slot::Message(InFlight { token, stage, number, is_older: false, is_unsent: false, delivery, committed: None }));
        self.waiting += 1;
        true
    }

    pub fn set_window(&mut self, window: u16) {
        self.window = window.max(1);
    }

    /// How many more messages above QoS 0 may be sent now.
    ///
    /// The ring may not span much more than the window: a peer that settles all but the oldest message would otherwise
    /// make it grow to 65,534 slots.
    pub fn credit(&self) -> usize {
        let window = usize::from(self.window);
        let span = (2 * window + 16).min(IDS as usize);
        window.saturating_sub(usize::from(self.open)).min(span.saturating_sub(self.slots.len()))
    }

    /// Messages that are not settled.
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| matches!(slot, Slot::Message(_))).count()
    }

    pub fn is_empty(&self) -> bool {
        !self.slots.iter().any(|slot| matches!(slot, Slot::Message(_)))
    }

    fn id_at(&self, index: usize) -> PacketId {
        let number = (u32::from(self.first) - 1 + index as u32) % IDS + 1;
        PacketId::new(number as u16).unwrap_or(PacketId::MIN)
    }

    fn index(&self, id: PacketId) -> Option<usize> {
        let (id, first) = (u32::from(id.value()), u32::from(self.first));
        let distance = if id >= first { id - first } else { id + IDS - first } as usize;
        (id <= IDS && distance < self.slots.len()).then_some(distance)
    }

    /// Takes a message up and gives it an identifier; the caller asked [`Outbound::credit`].
    pub fn start(&mut self, delivery: Delivery, token: Token) -> PacketId {
        self.open += 1;
        let number = self.count();
        self.push(Slot::Message(InFlight {
            token,
            stage: Stage::Published,
            number,
            is_older: false,
            is_unsent: false,
            delivery,
            committed: None,
        }))
    }

    fn count(&mut self) -> Option<u64> {
        let number = self.next_number?;
        self.next_number = Some(number.saturating_add(1));
        Some(number.get())
    }

    /// First transmissions since the count began; `None`: nothing is counted.
    pub fn sent(&self) -> Option<u64> {
        self.next_number.map(|next| next.get() - 1)
    }

    fn set_sent(&mut self, sent: Option<u64>) {
        self.next_number = sent.map(|sent| NonZeroU64::MIN.saturating_add(sent));
    }

    /// Counts from 0 on, or no more. Messages that are not settled have no number until they are sent again.
    pub(super) fn begin_count(&mut self, counts: bool) {
        self.set_sent(counts.then_some(0));
        self.acknowledged = 0;
        self.each_message(|message| message.number = None);
    }

    fn each_message(&mut self, mut visit: impl FnMut(&mut InFlight)) {
        for slot in &mut self.slots {
            if let Slot::Message(message) = slot {
                visit(message);
            }
        }
    }

    /// Gives a request an identifier; `None`: all are in use.
    pub fn request(&mut self, token: Token) -> Option<PacketId> {
        (self.slots.len() < IDS as usize).then(|| self.push(Slot::Request(token)))
    }

    /// What the messages that are not settled take, in bytes: topics, payloads and dictionaries, for each its own although several
    /// receivers may share them, and their places.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, slot: Slot) -> PacketId {
        let id = self.id_at(self.slots.len());
        self.bytes += slot.bytes();
        self.slots.push_back(slot);
        id
    }

    /// The message under an identifier.
    pub fn get(&self, id: PacketId) -> Option<&InFlight> {
        match self.slots.get(self.index(id)?) {
            Some(Slot::Message(message)) => Some(message),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, id: PacketId) -> Option<&mut InFlight> {
        let index = self.index(id)?;
        match self.slots.get_mut(index) {
            Some(Slot::Message(message)) => Some(message),
            _ => None,
        }
    }

    /// Ends a delivery and frees its identifier.
    pub fn finish(&mut self, id: PacketId) -> Option<InFlight> {
        self.get(id)?;
        match self.free(id)? {
            Slot::Message(message) => {
                match message.stage {
                    Stage::Waiting(_) => self.waiting -= 1,
                    _ => self.open -= 1,
                }
                self.acknowledged = self.acknowledged.max(message.number.unwrap_or(0));
                Some(message)
            }
            _ => None,
        }
    }

    /// Ends a delivery of this QoS that has come so far, and frees its identifier: the owner's name for it. `None`: it is another one,
    /// or more was said of it than success, and nothing was done.
    #[inline]
    pub(super) fn finish_if(&mut self, id: PacketId, qos: Qos, stage: Stage) -> Option<Token> {
        let index = self.index(id)?;
        let slot = self.slots.get_mut(index)?;
        let Slot::Message(message) = &*slot else { return None };
        if message.stage != stage || message.delivery.qos != qos || message.committed.is_some() {
            return None;
        }
        let (token, number) = (message.token, message.number.unwrap_or(0));
        self.bytes -= slot.bytes();
        self.open -= 1;
        self.acknowledged = self.acknowledged.max(number);
        if index == 0 {
            // Almost always.
            self.drop_first();
        } else {
            *slot = Slot::Free;
        }
        self.drop_free();
        Some(token)
    }

    /// PUBREC with success came for a delivery at QoS 2 that waited for it: it is to be recorded. `false`: nothing was done.
    #[inline]
    pub(super) fn record_if(&mut self, id: PacketId) -> bool {
        match self.get_mut(id) {
            Some(message) if message.stage == Stage::Published && message.delivery.qos == Qos::ExactlyOnce => {
                message.stage = Stage::Recording;
                true
            }
            _ => false,
        }
    }

    /// Ends a request and frees its identifier.
    pub fn answered(&mut self, id: PacketId) -> Option<Token> {
        match self.slots.get(self.index(id)?) {
            Some(Slot::Request(token)) => {
                let token = *token;
                self.free(id);
                Some(token)
            }
            _ => None,
        }
    }

    fn free(&mut self, id: PacketId) -> Option<Slot> {
        let index = self.index(id)?;
        let slot = std::mem::replace(self.slots.get_mut(index)?, Slot::Free);
        self.bytes -= slot.bytes();
        self.drop_free();
        Some(slot)
    }

    /// The ring begins with an identifier that is in use.
    #[inline]
    fn drop_free(&mut self) {
        while let Some(Slot::Free) = self.slots.front() {
            self.drop_first();
        }
    }

    #[inline]
    fn drop_first(&mut self) {
        self.slots.pop_front();
        self.first = if u32::from(self.first) == IDS { 1 } else { self.first + 1 };
    }

    /// Gives the memory of the ring back if nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.slots.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    /// Gives up every message; the peer no longer knows this session.
    pub fn clear(&mut self) -> Vec<InFlight> {
        (self.open, self.waiting, self.bytes, self.next_number, self.acknowledged) = (0, 0, 0, None, 0);
        let messages = std::mem::take(&mut self.slots).into_iter();
        messages.filter_map(|slot| if let Slot::Message(message) = slot { Some(message) } else { None }).collect()
    }

    /// The highest number that the peer has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Every message that is not settled, in the order of the first sendings.
    pub fn messages(&self) -> impl Iterator<Item = (PacketId, &InFlight)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match slot {
            Slot::Message(message) => Some((self.id_at(index), message)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(n: u64) -> Delivery {
        let message = Message::publish("t", n.to_string()).unwrap();
        Delivery { message, qos: Qos::AtLeastOnce, retain: false, hop: Dictionary::EMPTY }
    }

    #[test]
    fn identifiers_are_used_again_only_when_they_are_free() {
        let mut outbound = Outbound::new(10);
        for round in 0..100_000u64 {
            let a = outbound.start(delivery(round), round);
            let b = outbound.start(delivery(round), round);
            assert_ne!(a, b);
            assert_eq!(outbound.finish(b).unwrap().token, round);
            assert_eq!(outbound.finish(a).unwrap().token, round);
            assert!(outbound.finish(a).is_none() && outbound.slots.is_empty());
            assert_eq!(outbound.bytes(), 0);
        }
    }

    #[test]
    fn a_peer_that_never_settles_the_oldest_does_not_make_the_ring_grow() {
        let mut outbound = Outbound::new(10);
        let stuck = outbound.start(delivery(0), 0);
        let mut sent = 1;
        while outbound.credit() > 0 {
            let id = outbound.start(delivery(sent), sent);
            outbound.finish(id);
            sent += 1;
        }
        assert!(sent < 50, "{sent}");
        outbound.finish(stuck);
        assert_eq!(outbound.credit(), 10);
    }

    #[test]
    fn what_was_sent_is_sent_again_in_its_order_with_its_identifier() {
        let mut outbound = Outbound::new(10);
        let ids: Vec<_> = (0..4).map(|n| outbound.start(delivery(n), n)).collect();
        let request = outbound.request(99).unwrap();
        outbound.finish(ids[1]);
        outbound.get_mut(ids[2]).unwrap().stage = Stage::Received;
        assert_eq!(outbound.disconnect(), [99]);
        assert_eq!(outbound.answered(request), None);
        outbound.set_window(2);
        let mut again = vec![];
        while let Some((id, true, message)) = outbound.resend() {
            again.push((id, message.token, message.stage));
        }
        assert_eq!(again, [(ids[0], 0, Stage::Published), (ids[2], 2, Stage::Received)]);
        assert!(outbound.has_waiting() && outbound.credit() == 0);
        outbound.finish(ids[0]);
        assert_eq!(outbound.resend().map(|(id, _, message)| (id, message.token)), Some((ids[3], 3)));
    }

    #[test]
    fn what_a_store_has_kept_is_sent_again_as_it_stood() {
        let restored = |id: u16, token, received, number| Restored {
            id: PacketId::new(id).unwrap(),
            token,
            delivery: Delivery { qos: Qos::ExactlyOnce, ..delivery(token) },
            received,
            number: Some(number),
        };
        // The ring goes on behind its end; what was settled in between left a gap.
        let parts = [restored(65_533, 1, true, 7), restored(65_534, 2, false, 8), restored(2, 3, false, 10)];
        let mut outbound = Outbound::restore(parts.clone(), Some(10)).unwrap();
        assert_eq!((outbound.len(), outbound.sent()), (3, Some(10)));
        outbound.set_window(10);
        let mut again = vec![];
        while let Some((id, dup, message)) = outbound.resend() {
            again.push((id.value(), dup, message.stage, message.number));
        }
        let expected =
            [(65_533, true, Stage::Received, Some(7)), (65_534, true, Stage::Published, Some(8)), (2, true, Stage::Published, Some(10))];
        assert_eq!(again, expected);
        assert_eq!(outbound.start(delivery(4), 4).value(), 3);

        let [first, second, third] = parts;
        assert!(Outbound::restore([first.clone(), first.clone()], None).is_none(), "twice");
        assert!(Outbound::restore([first, third, second], None).is_none(), "out of order");
        assert!(Outbound::restore([restored(65_535, 1, false, 1)], None).is_none(), "the offer's identifier");
    }
}
