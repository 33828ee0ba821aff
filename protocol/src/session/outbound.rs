//! Messages being delivered to the peer, and the packet identifiers in use towards it.
//!
//! ```text
//! QoS 1   Published --PUBACK-------------------------------> settled
//! QoS 2   Published --PUBREC 0--> Received --PUBCOMP-------> settled
//!         Published --PUBREC from 0x80---------------------> settled
//! ```
//! After a connection was lost every message is `Waiting` until it is sent again, with DUP and its identifier
//! ([MQTT-4.4.0-1]), in the order of the first sendings ([MQTT-4.6.0-1]).

use super::{Outcome, Token};
use crate::codec::dictionary::Dictionary;
use crate::packet::id::{PacketId, Qos};
use crate::packet::message::Message;
use std::collections::VecDeque;

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
    /// Sent on an earlier connection, not yet on this one. `true`: PUBREC had come, so PUBREL is owed.
    Waiting(bool),
    /// PUBLISH was sent.
    Published,
    /// PUBREC 0 came; it is being recorded, or PUBREL was sent.
    Received,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InFlight {
    pub token: Token,
    pub stage: Stage,
    /// Boxed, so that the ring of identifiers stays small.
    pub delivery: Box<Delivery>,
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

/// Identifiers run from 1 to 65,534; 65,535 is the offer's.
const IDS: u32 = 65_534;

/// The ring of identifiers in use: consecutive from `first`, freed in any order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outbound {
    first: u16,
    slots: VecDeque<Slot>,
    /// Messages that were sent on this connection and are not settled.
    open: u32,
    /// Messages of an earlier connection that have to be sent again.
    waiting: u32,
    window: u16,
}

impl Outbound {
    pub fn new(window: u16) -> Self {
        Self { first: 1, slots: VecDeque::new(), open: 0, waiting: 0, window }
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
        window.saturating_sub(self.open as usize).min(span.saturating_sub(self.slots.len()))
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
        let distance = (u32::from(id.value()) + IDS - u32::from(self.first)) % IDS;
        (u32::from(id.value()) <= IDS && (distance as usize) < self.slots.len()).then_some(distance as usize)
    }

    /// Takes a message up and gives it an identifier; the caller asked [`Outbound::credit`].
    pub fn start(&mut self, delivery: Delivery, token: Token) -> PacketId {
        self.open += 1;
        self.push(Slot::Message(InFlight { token, stage: Stage::Published, delivery: Box::new(delivery), committed: None }))
    }

    /// Gives a request an identifier; `None`: all are in use.
    pub fn request(&mut self, token: Token) -> Option<PacketId> {
        (self.slots.len() < IDS as usize).then(|| self.push(Slot::Request(token)))
    }

    /// Takes a message up from a record of an earlier life, under the identifier that it was sent with: it will be sent again, or
    /// `received`, its release. Called in the order of the first sendings; `false`: the identifier has no place behind those before.
    pub fn restore(&mut self, id: PacketId, delivery: Delivery, token: Token, received: bool) -> bool {
        let number = id.value();
        if u32::from(number) > IDS {
            return false;
        }
        if self.slots.is_empty() {
            self.first = number;
        }
        let distance = ((u32::from(number) + IDS - u32::from(self.first)) % IDS) as usize;
        if distance < self.slots.len() {
            return false;
        }
        self.slots.resize(distance, Slot::Free);
        let stage = Stage::Waiting(received);
        self.slots.push_back(Slot::Message(InFlight { token, stage, delivery: Box::new(delivery), committed: None }));
        self.waiting += 1;
        true
    }

    fn push(&mut self, slot: Slot) -> PacketId {
        let id = self.id_at(self.slots.len());
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
                Some(message)
            }
            _ => None,
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
        while let Some(Slot::Free) = self.slots.front() {
            self.slots.pop_front();
            self.first = if u32::from(self.first) == IDS { 1 } else { self.first + 1 };
        }
        Some(slot)
    }

    /// The connection is gone: what was sent will be sent again, requests are forgotten and their tokens returned.
    pub fn disconnect(&mut self) -> Vec<Token> {
        let mut requests = Vec::new();
        for slot in &mut self.slots {
            match slot {
                Slot::Message(message) => {
                    message.stage = match message.stage {
                        Stage::Waiting(received) => Stage::Waiting(received),
                        Stage::Published => Stage::Waiting(false),
                        Stage::Received => Stage::Waiting(true),
                    }
                }
                Slot::Request(token) => {
                    requests.push(*token);
                    *slot = Slot::Free;
                }
                Slot::Free => {}
            }
        }
        while let Some(Slot::Free) = self.slots.front() {
            self.slots.pop_front();
            self.first = if u32::from(self.first) == IDS { 1 } else { self.first + 1 };
        }
        self.open = 0;
        self.waiting = self.len() as u32;
        requests
    }

    /// Gives up every message; the peer no longer knows this session.
    pub fn clear(&mut self) -> Vec<InFlight> {
        (self.open, self.waiting) = (0, 0);
        let messages = std::mem::take(&mut self.slots).into_iter();
        messages.filter_map(|slot| if let Slot::Message(message) = slot { Some(message) } else { None }).collect()
    }

    /// The next message that has to be sent again, as far as the window allows.
    pub fn resend(&mut self) -> Option<(PacketId, &InFlight)> {
        if self.waiting == 0 || self.open >= u32::from(self.window) {
            return None;
        }
        let index = self.slots.iter().position(|slot| matches!(slot, Slot::Message(InFlight { stage: Stage::Waiting(_), .. })))?;
        let id = self.id_at(index);
        self.open += 1;
        self.waiting -= 1;
        match self.slots.get_mut(index) {
            Some(Slot::Message(message)) => {
                message.stage = if message.stage == Stage::Waiting(true) { Stage::Received } else { Stage::Published };
                Some((id, message))
            }
            _ => None,
        }
    }

    /// Whether messages of an earlier connection have not been sent again yet.
    pub fn has_waiting(&self) -> bool {
        self.waiting > 0
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
        while let Some((id, message)) = outbound.resend() {
            again.push((id, message.token, message.stage));
        }
        assert_eq!(again, [(ids[0], 0, Stage::Published), (ids[2], 2, Stage::Received)]);
        assert!(outbound.has_waiting() && outbound.credit() == 0);
        outbound.finish(ids[0]);
        assert_eq!(outbound.resend().map(|(id, message)| (id, message.token)), Some((ids[3], 3)));
    }

    #[test]
    fn what_an_earlier_life_has_sent_comes_again_under_its_identifiers() {
        let id = |n| PacketId::new(n).unwrap();
        let mut outbound = Outbound::new(1);
        let taken: Vec<bool> = [(65_533, false), (2, true), (4, false), (3, false)]
            .into_iter()
            .map(|(n, received)| outbound.restore(id(n), delivery(n.into()), n.into(), received))
            .collect();
        // The ring has a gap where messages were settled; what comes out of order is not believed.
        assert_eq!(taken, [true, true, true, false]);
        outbound.set_window(10);
        let mut again = vec![];
        while let Some((id, message)) = outbound.resend() {
            again.push((id.value(), message.stage));
        }
        assert_eq!(again, [(65_533, Stage::Published), (2, Stage::Received), (4, Stage::Published)]);
        assert_eq!(outbound.start(delivery(9), 9), id(5));
        for n in [65_533, 2, 4, 5] {
            assert!(outbound.finish(id(n)).is_some(), "{n}");
        }
        assert!(outbound.is_empty() && outbound.slots.is_empty());
    }
}
