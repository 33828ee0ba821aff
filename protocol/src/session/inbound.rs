//! Messages being received from the peer: each above QoS 0 has a ticket until it is settled, and a QoS 2 identifier stays
//! taken until it is released.
//!
//! ```text
//! QoS 1   --PUBLISH--> pending --settle--> PUBACK
//! QoS 2   --PUBLISH--> pending --settle, below 0x80--> PUBREC, committed --PUBREL--> recorded --> PUBCOMP
//!                      pending --settle, from 0x80---> PUBREC with the reason; the identifier is free
//! ```
//! A message that an earlier connection left open is answered when the peer has repeated it, and not before: its repetition may
//! be on the way, and an answer that crosses it would free the identifier, so that the same message is taken for a new one. The
//! same holds for PUBCOMP. So nothing that was received on one connection is ever answered on another without being asked.
//!
//! Acknowledgements leave in the order of the messages where the terms demand it ([MQTT-4.6.0-2], [MQTT-4.6.0-3]).

mod count;
#[cfg(test)]
mod tests;

use self::count::{Count, next_number};
use super::by_id::ById;
use super::{Outcome, Ticket};
use crate::codec::dictionary::Dictionary;
use crate::packet::id::{PacketId, Qos};
use crate::packet::publish::MessageOnly;
use crate::packet::{Reason, property};
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
    number: Option<u64>,
    /// It came, or was repeated, on this connection.
    is_here: bool,
    /// The exchange of this connection lists it with its outcome.
    is_told: bool,
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
    #[inline]
    pub(super) fn of(dictionary: &Dictionary) -> Self {
        if dictionary.is_empty() || MessageOnly::is(dictionary) {
            return Self::default();
        }
        // The tag stays until the message is settled; it must not keep the buffer alive that it was read into.
        let tag = tag_of(dictionary).map(|tag| Bytes::copy_from_slice(&tag)).unwrap_or_default();
        Self { receipt: dictionary.value(property::RECEIPT_REQUEST).unwrap_or(false), tag }
    }
}

/// The tag in the dictionary of a PUBLISH, if it is one that may be repeated.
pub fn tag_of(dictionary: &Dictionary) -> Option<Bytes> {
    dictionary.value(property::TAG).filter(|tag| tag.len() <= property::TAG_LEN_MAX)
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
    /// It is known and committed with this reason: answer PUBREC again.
    Repeated(Reason),
    /// It is known and not settled: the answer is on its way.
    InProgress,
    /// It is known, and was settled while the peer was away: answer what [`Inbound::settled_meanwhile`] gives.
    Settled,
}

/// A QoS 2 identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    taken: Taken,
    number: Option<u64>,
    /// What PUBREC said, or says.
    reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Inbound {
    next_ticket: Ticket,
    pending: VecDeque<Pending>,
    taken: ById<Entry>,
    /// `None`: nothing is counted.
    count: Option<Box<Count>>,
    window: u16,
}

impl Default for Inbound {
    fn default() -> Self {
        Self { next_ticket: 0, pending: VecDeque::new(), taken: ById::default(), count: None, window: 1 }
    }
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
        self.taken.iter().map(|(id, entry)| (id, entry.taken))
    }

    /// Takes an identifier up from a record of an earlier life, without a number: the count ends with what a store does not keep.
    pub fn restore(&mut self, id: PacketId) {
        self.taken.insert(id, Entry { taken: Taken::Committed, number: None, reason: Reason::SUCCESS });
    }

    /// As [`Inbound::restore`], with its number and the reason of its PUBREC, for a store that keeps the count as well.
    pub fn restore_counted(&mut self, id: PacketId, number: u64, reason: Reason) {
        self.taken.insert(id, Entry { taken: Taken::Committed, number: Some(number), reason });
    }

    /// How many first transmissions an earlier life received. It is worth something only if it was kept with every message, in the
    /// same step; and if no outcome but success was told in the last window, since those are not restored.
    pub fn restore_count(&mut self, received: u64) {
        self.count.get_or_insert_default().resume(received);
    }

    /// First arrivals since the count began; `None`: nothing is counted.
    pub fn counted(&self) -> Option<u64> {
        self.count.as_ref().map(|count| count.received())
    }

    /// The QoS 2 identifiers that are committed, with number and reason: what [`Inbound::restore_counted`] takes.
    pub fn committed(&self) -> impl Iterator<Item = (PacketId, Option<u64>, Reason)> {
        let committed = self.taken.iter().filter(|(_, entry)| !matches!(entry.taken, Taken::Pending(_)));
        committed.map(|(id, entry)| (id, entry.number, entry.reason))
    }

    pub(super) fn set_window(&mut self, window: u16) {
        self.window = self.window.max(window);
    }

    /// Counts from 0 on, or no more. What is not settled has no number until it is repeated.
    pub(super) fn begin_count(&mut self, counts: bool) {
        self.count = counts.then(Box::default);
        self.taken.values_mut().for_each(|entry| entry.number = None);
        self.pending.iter_mut().for_each(|pending| (pending.number, pending.is_told) = (None, false));
    }

    /// Whether a PUBLISH repeats one that is open, so that it takes no more of the window.
    pub fn is_open(&self, id: PacketId, qos: Qos) -> bool {
        qos == Qos::ExactlyOnce && self.taken.get(id).is_some()
    }

    pub fn arrive(&mut self, id: PacketId, qos: Qos, dup: bool, asked: Asked) -> Arrival {
        let interrupted = self.count.as_mut().and_then(|count| count.take_interrupted(id)).filter(|_| dup && qos == Qos::AtLeastOnce);
        let ticket = self.next_ticket;
        let number = match qos {
            Qos::ExactlyOnce => {
                if let Some(known) = self.repeat(id) {
                    return known;
                }
                let number = next_number(&mut self.count);
                self.taken.insert(id, Entry { taken: Taken::Pending(ticket), number, reason: Reason::SUCCESS });
                number
            }
            _ => interrupted.or_else(|| next_number(&mut self.count)),
        };
        self.next_ticket += 1;
        self.pending.push_back(Pending { ticket, id, qos, asked, state: PendingState::Open, number, is_here: true, is_told: false });
        Arrival::New(ticket)
    }

    /// A QoS 2 identifier comes again.
    fn repeat(&mut self, id: PacketId) -> Option<Arrival> {
        let entry = *self.taken.get(id)?;
        let number = entry.number.or_else(|| next_number(&mut self.count));
        self.taken.insert(id, Entry { number, ..entry });
        let Taken::Pending(ticket) = entry.taken else { return Some(Arrival::Repeated(entry.reason)) };
        let Some(at) = self.find(ticket) else { return Some(Arrival::InProgress) };
        let pending = self.pending.get_mut(at)?;
        let was_here = std::mem::replace(&mut pending.is_here, true);
        pending.number = number;
        let is_settled = !was_here && matches!(pending.state, PendingState::Settled(_));
        Some(if is_settled { Arrival::Settled } else { Arrival::InProgress })
    }

    fn find(&self, ticket: Ticket) -> Option<usize> {
        self.pending.binary_search_by_key(&ticket, |pending| pending.ticket).ok()
    }

    /// Settles a message; `answer` is called for each acknowledgement that may leave now.
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome, in_order: bool, mut answer: impl FnMut(&Pending, Outcome)) {
        let is_next = |pending: &Pending| pending.ticket == ticket && pending.is_here && pending.state == PendingState::Open;
        // Almost always: there is none before it, and its answer leaves whatever the order.
        if self.pending.front().is_some_and(is_next)
            && let Some(pending) = self.pending.pop_front()
        {
            self.commit(pending.id, pending.qos, pending.number, outcome.reason);
            answer(&pending, outcome);
            return self.answer_following(answer);
        }
        let Some(pending) = self.find(ticket).and_then(|at| self.pending.get_mut(at)) else { return };
        if pending.state != PendingState::Open {
            return;
        }
        pending.state = PendingState::Settled(outcome);
        if pending.is_here {
            self.answer_settled(ticket, in_order, answer);
        }
    }

    /// As [`Inbound::settle`] with a success of which nothing more is told, where the message is the first of all and none behind it
    /// waits for its answer: this one is answered, and no other. `None`: it is not so, and nothing was done.
    #[inline]
    pub(super) fn settle_only(&mut self, ticket: Ticket) -> Option<(PacketId, Qos)> {
        let is_open = |pending: &Pending| pending.is_here && matches!(pending.state, PendingState::Open);
        let first = self.pending.front().filter(|first| first.ticket == ticket && is_open(first) && !first.asked.receipt)?;
        let (id, qos, number) = (first.id, first.qos, first.number);
        if self.pending.get(1).is_some_and(|next| !is_open(next)) {
            return None;
        }
        self.pending.pop_front();
        self.commit(id, qos, number, Reason::SUCCESS);
        Some((id, qos))
    }

    /// Whether a message, which is no repetition by its DUP, would be new, and the only one that is not settled.
    #[inline]
    pub(super) fn is_alone(&self, id: PacketId, qos: Qos) -> bool {
        let is_interrupted = self.count.as_ref().is_some_and(|count| count.has_interrupted());
        let may_be_known = is_interrupted || qos == Qos::ExactlyOnce && self.taken.get(id).is_some();
        self.pending.is_empty() && !may_be_known
    }

    /// What [`Inbound::arrive`] and [`Inbound::settle_only`] come to for a message that [`Inbound::is_alone`].
    #[inline]
    pub(super) fn arrive_settled(&mut self, id: PacketId, qos: Qos) {
        self.next_ticket += 1;
        let number = next_number(&mut self.count);
        self.commit(id, qos, number, Reason::SUCCESS);
    }

    /// The answer to a message that was settled while its peer was away, and has been repeated.
    pub fn settled_meanwhile(&mut self, id: PacketId, in_order: bool, answer: impl FnMut(&Pending, Outcome)) {
        if let Some(Entry { taken: Taken::Pending(ticket), .. }) = self.taken.get(id) {
            self.answer_settled(*ticket, in_order, answer);
        }
    }

    fn answer_settled(&mut self, ticket: Ticket, in_order: bool, mut answer: impl FnMut(&Pending, Outcome)) {
        let Some(at) = self.find(ticket) else { return };
        let Some(Pending { id, qos, number, state: PendingState::Settled(outcome), .. }) = self.pending.get(at) else { return };
        let (id, qos, number, reason) = (*id, *qos, *number, outcome.reason);
        self.commit(id, qos, number, reason);
        if !in_order {
            self.answer_at(at, &mut answer);
        }
        self.answer_following(answer);
    }

    /// Answers what was settled and has none before it that waits.
    fn answer_following(&mut self, mut answer: impl FnMut(&Pending, Outcome)) {
        // What nobody has repeated yet holds up nothing: a peer that has given it up will not.
        let mut at = 0;
        while let Some(pending) = self.pending.get(at) {
            match &pending.state {
                PendingState::Answered => drop(self.pending.remove(at)),
                _ if !pending.is_here => at += 1,
                PendingState::Settled(_) => self.answer_at(at, &mut answer),
                PendingState::Open => break,
            }
        }
    }

    fn answer_at(&mut self, at: usize, answer: &mut impl FnMut(&Pending, Outcome)) {
        let Some(pending) = self.pending.get_mut(at) else { return };
        if let PendingState::Settled(outcome) = std::mem::replace(&mut pending.state, PendingState::Answered) {
            answer(pending, outcome);
        }
    }

    /// An outcome is certain, and is, or is about to be, told.
    fn commit(&mut self, id: PacketId, qos: Qos, number: Option<u64>, reason: Reason) {
        if qos == Qos::ExactlyOnce {
            let committed = Entry { taken: Taken::Committed, number, reason };
            match self.taken.get_mut(id) {
                _ if reason.is_error() => drop(self.taken.remove(id)),
                Some(entry) => *entry = committed,
                None => self.taken.insert(id, committed),
            }
        }
        if let (Some(number), Some(count)) = (number, self.count.as_deref_mut()) {
            count.outcome(number, qos, reason, self.window);
        }
    }

    /// Every counted message that the peer may believe unfinished: its number, and its outcome if there is one. What is listed
    /// with an outcome is told with it, once [`Inbound::listed`] says that the list is in force.
    pub(super) fn list(&mut self) -> BTreeMap<u64, Option<Reason>> {
        let mut list: BTreeMap<u64, Option<Reason>> = BTreeMap::new();
        if let Some(count) = &self.count {
            list.extend(count.unheard());
        }
        let committed = self.taken.iter().map(|(_, entry)| entry).filter(|entry| !matches!(entry.taken, Taken::Pending(_)));
        list.extend(committed.filter_map(|entry| Some((entry.number?, Some(entry.reason)))));
        for pending in &mut self.pending {
            let Some(number) = pending.number else { continue };
            let outcome = if let PendingState::Settled(outcome) = &pending.state { Some(outcome.reason) } else { None };
            pending.is_told = outcome.is_some();
            if pending.state != PendingState::Answered {
                list.insert(number, outcome);
            }
        }
        list
    }

    /// The peer acts on the last [`Inbound::list`] (`true`), or will repeat everything.
    pub(super) fn listed(&mut self, is_in_force: bool) {
        let (told, rest) = std::mem::take(&mut self.pending).into_iter().partition(|pending| pending.is_told && is_in_force);
        self.pending = rest;
        self.pending.iter_mut().for_each(|pending| pending.is_told = false);
        let told: VecDeque<Pending> = told;
        for pending in told {
            if let PendingState::Settled(outcome) = &pending.state {
                self.commit(pending.id, pending.qos, pending.number, outcome.reason);
            }
        }
    }

    /// PUBREL: whether the identifier was taken, so that its release has to be recorded.
    pub fn release(&mut self, id: PacketId) -> bool {
        match self.taken.get_mut(id) {
            Some(Entry { taken: taken @ (Taken::Committed | Taken::Releasing), .. }) => {
                *taken = Taken::Releasing;
                true
            }
            _ => false,
        }
    }

    /// The release was recorded: the identifier is free.
    pub fn released(&mut self, id: PacketId) -> bool {
        let is_released = self.taken.get(id).is_some_and(|entry| entry.taken == Taken::Releasing);
        if is_released {
            self.taken.remove(id);
        }
        is_released
    }

    /// The connection is gone. QoS 1 messages will come again; QoS 2 messages that were handed on stay taken, so that
    /// their repetition is known, and can still be settled.
    pub fn disconnect(&mut self) {
        if let Some(count) = &mut self.count {
            for pending in &self.pending {
                if let (Qos::AtLeastOnce, PendingState::Open | PendingState::Settled(_), Some(number)) =
                    (pending.qos, &pending.state, pending.number)
                {
                    count.interrupt(pending.id, number);
                }
            }
        }
        let taken = &self.taken;
        self.pending.retain_mut(|pending| {
            (pending.is_here, pending.is_told) = (false, false);
            matches!(taken.get(pending.id), Some(Entry { taken: Taken::Pending(ticket), .. }) if *ticket == pending.ticket)
        });
        for entry in self.taken.values_mut().filter(|entry| entry.taken == Taken::Releasing) {
            entry.taken = Taken::Committed;
        }
    }

    /// Gives the memory of what is not there any more back.
    pub(super) fn rest(&mut self) {
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
        self.taken.rest();
    }

    /// Forgets everything; the peer no longer knows this session.
    pub fn clear(&mut self) {
        self.pending.clear();
        self.taken.clear();
        self.begin_count(false);
    }
}
