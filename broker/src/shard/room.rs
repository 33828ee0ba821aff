//! Places in queues, where publishers learn that one is full. A message claims its place with every session that would be owed it
//! before anything is kept (see [`super::route`]): so its publisher is refused for all of them or for none, whatever their shards,
//! and what is acknowledged finds its place. Or its acknowledgement waits here, behind its receipt, until there is room. Reading
//! goes on: what holds a publisher back is its own window.

use super::keeping::{Life, Then, not_kept};
use super::matched::Matched;
use super::roll::{Claim, Places};
use super::{CrossingTarget, Shard};
use crate::message::Envelope;
use crate::router::{Subscriber, Target};
use crate::store::Reached;
use crate::wrapped;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Durability, Overflow, Problem, Publish, Qos, Reason, Refusal, Retry};
use candor_protocol::session::Ticket;

/// The places that were claimed for a message.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Ascending.
    targets: Vec<Subscriber>,
    /// The picks of shared groups, by their places; ascending.
    picks: Vec<usize>,
    /// Where more waits than should.
    beyond: Vec<Subscriber>,
}

impl Claims {
    pub(super) fn has_target(&self, subscriber: Subscriber) -> bool {
        !self.targets.is_empty() && self.targets.binary_search(&subscriber).is_ok()
    }

    pub(super) fn has_pick(&self, at: usize) -> bool {
        !self.picks.is_empty() && self.picks.binary_search(&at).is_ok()
    }

    /// The sessions whose queues the acknowledgement waits for.
    pub(super) fn into_beyond(self) -> Vec<Subscriber> {
        self.beyond
    }
}

/// An acknowledgement that waits for room.
#[derive(Debug)]
pub(super) struct Held {
    /// Whose queues.
    pub full: Vec<Subscriber>,
    pub of: Life,
    pub ticket: Ticket,
    /// As in [`Then::Settle`].
    pub promised: Durability,
}

impl Shard {
    pub(super) fn tells_publishers(&self) -> bool {
        self.settings.queue.overflow.tells_publishers()
    }

    /// Whether a publisher could be refused for what becomes of its message: of QoS 0 nobody is told.
    pub(super) fn is_room_asked(&self, qos: Qos) -> bool {
        qos != Qos::AtMostOnce && (self.keeper.failure().is_some() || self.tells_publishers())
    }

    /// Whether a message can be kept where it has to be.
    ///
    /// # Errors
    /// It has to, and cannot.
    pub(super) fn check_kept(&self, matched: &Matched<'_>, is_taken: bool) -> Result<(), Refusal> {
        if self.keeper.failure().is_none() {
            return Ok(());
        }
        let mut all = matched.targets.iter().chain(matched.picks.as_slice().iter().map(|pick| pick.target));
        let is_kept = |target| is_owed(matched, &target) && self.shared.session(target.subscriber).is_some();
        if matched.envelope.retain || is_taken || all.any(is_kept) { Err(not_kept()) } else { Ok(()) }
    }

    /// What those that would get a message say to it, and the store, as in [`Shard::route`]: but for shared groups, since nobody has a
    /// turn for a message that does not come.
    ///
    /// # Errors
    /// It would not be taken.
    pub(super) fn foresee_room(&self, slot: u32, publish: &Publish) -> Result<(), Refusal> {
        if !self.is_room_asked(publish.qos) {
            return Ok(());
        }
        let Publish { qos, retain, .. } = *publish;
        let (message, hop) = (publish.message.clone(), Dictionary::EMPTY);
        let envelope = Envelope { message, qos, retain, expires_at_ms: None, stamps: None, hop };
        let matches = self.shared.targets(envelope.message.topic());
        let carrier = matches.has_wrapped().then(|| wrapped::wrap(&envelope));
        let from = Some(self.subscriber(slot));
        let has_number = self.clients.get(slot).is_some_and(|client| client.number.is_some());
        let plain = Matched::new(&envelope, from, &matches.targets, &matches.picks);
        let wrapped = carrier.as_ref().map(|carrier| Matched::new(carrier, from, &matches.wrapped_targets, &matches.wrapped_picks));
        for matched in std::iter::once(&plain).chain(&wrapped) {
            self.check_kept(matched, qos == Qos::ExactlyOnce && has_number)?;
            let bytes = matched.envelope.len() as u64;
            let is_full = |target: &Target| {
                let places = self.places(target.subscriber).filter(|_| is_owed(matched, target));
                places.is_some_and(|places| places.foresee(bytes, &self.settings.queue) == Claim::Refused)
            };
            let refused = if self.tells_publishers() { matched.targets.iter().filter(is_full).count() } else { 0 };
            if refused > 0 {
                return Err(queue_full(self.settings.queue.overflow, refused));
            }
        }
        Ok(())
    }

    /// Claims the places of a message with all sessions that are kept over their connections.
    ///
    /// # Errors
    /// One of them has no room: then no place is claimed.
    pub(super) fn claim_places(&mut self, matched: &Matched<'_>) -> Result<Claims, Refusal> {
        let mut claims = Claims::default();
        let owed = |target: &Target| is_owed(matched, target);
        let bytes = matched.envelope.len() as u64;
        let mut refused = 0;
        for target in matched.targets.iter().filter(owed) {
            match self.claim(target.subscriber, bytes, &mut claims.beyond) {
                Some(true) => claims.targets.push(target.subscriber),
                Some(false) => refused += 1,
                None => {}
            }
        }
        for (at, pick) in matched.picks.as_slice().iter().enumerate().filter(|(_, pick)| owed(&pick.target)) {
            match self.claim(pick.target.subscriber, bytes, &mut claims.beyond) {
                Some(true) => claims.picks.push(at),
                Some(false) => refused += 1,
                None => {}
            }
        }
        if refused == 0 {
            return Ok(claims);
        }
        self.give_places_back(&claims, matched);
        Err(queue_full(self.settings.queue.overflow, refused))
    }

    /// A message is not taken for which places were claimed.
    pub(super) fn give_places_back(&mut self, claims: &Claims, matched: &Matched<'_>) {
        let bytes = matched.envelope.len() as u64;
        claims.targets.iter().for_each(|subscriber| self.give_place_back(*subscriber, bytes));
        let picks = claims.picks.iter().filter_map(|at| matched.picks.as_slice().get(*at));
        picks.for_each(|pick| self.give_place_back(pick.target.subscriber, bytes));
    }

    /// Whether a session could be handed one more message, as far as is known here.
    pub(super) fn has_room(&self, subscriber: Subscriber) -> bool {
        self.places(subscriber).is_none_or(|places| places.has_room(&self.settings.queue))
    }

    /// Whether there is a place; `None`: nobody asks.
    fn claim(&self, subscriber: Subscriber, bytes: u64, beyond: &mut Vec<Subscriber>) -> Option<bool> {
        match self.places(subscriber)?.claim(bytes, &self.settings.queue) {
            Claim::NotAsked => None,
            Claim::Taken => Some(true),
            Claim::TakenBeyond => {
                beyond.push(subscriber);
                Some(true)
            }
            Claim::Refused => Some(false),
        }
    }

    fn places(&self, subscriber: Subscriber) -> Option<&Places> {
        self.shared.roll(subscriber.shard)?.places(subscriber.slot)
    }

    /// A message does not come for which a place was claimed.
    pub(super) fn give_place_back(&mut self, subscriber: Subscriber, bytes: u64) {
        let has_room = self.places(subscriber).is_some_and(|places| places.change((1, bytes), (0, 0), &self.settings.queue));
        self.has_room |= has_room;
    }

    /// Hands a message to a session that it has a place with, if it needed one.
    pub(super) fn bring(&mut self, target: &CrossingTarget, envelope: &Envelope, is_shared: bool) {
        if !target.has_place {
            return self.deliver(target, envelope, is_shared);
        }
        let bytes = envelope.len() as u64;
        let Some(client) = self.clients.get_mut(target.slot) else {
            return self.give_place_back(self.subscriber(target.slot), bytes);
        };
        // What was claimed counts as the session's own, and is then what it came to.
        client.told_room = (client.told_room.0 + 1, client.told_room.1 + bytes);
        self.deliver(target, envelope, is_shared);
        self.note_room(target.slot);
    }

    /// Says to all shards how much waits for a session.
    pub(super) fn note_room(&mut self, slot: u32) {
        if !self.tells_publishers() {
            return;
        }
        let (Some(client), Some(roll)) = (self.clients.get_mut(slot), self.shared.roll(self.index)) else { return };
        let now = (client.queue.len() as u64, client.queue.bytes() as u64);
        let before = std::mem::replace(&mut client.told_room, now);
        let Some(places) = roll.places_of(slot) else { return };
        places.set_open(client.is_durable());
        self.has_room |= before != now && places.change(before, now, &self.settings.queue);
    }

    /// Nothing waits for a session any more: it has ended.
    pub(super) fn end_room(&mut self, slot: u32, told_room: (u64, u64)) {
        let places = self.shared.roll(self.index).and_then(|roll| roll.places(slot));
        if let Some(places) = places.filter(|_| self.settings.queue.overflow.tells_publishers()) {
            places.set_open(false);
            self.has_room |= places.change(told_room, (0, 0), &self.settings.queue);
        }
    }

    /// Whether a queue of this shard has room again, so that others have to look; asked once a turn.
    pub fn take_room(&mut self) -> bool {
        let has_room = std::mem::take(&mut self.has_room);
        if has_room {
            self.look_for_room();
        }
        has_room
    }

    /// A queue somewhere has room again: what waited for it may go on.
    pub fn look_for_room(&mut self) {
        for (held, reached) in std::mem::take(&mut self.held) {
            self.hold(held, reached);
        }
        self.release();
    }

    /// A message has its receipt: its acknowledgement waits until none of the queues holds more than it should.
    pub(super) fn hold(&mut self, mut held: Box<Held>, reached: Reached) {
        let limits = self.settings.queue;
        // What was not kept is refused, whether there is room or not.
        let waits = reached.is_some();
        held.full.retain(|subscriber| waits && self.places(*subscriber).is_some_and(|places| places.awaits(&limits)));
        match held.full.is_empty() {
            true => self.keeper.due(Then::Settle { of: held.of, ticket: held.ticket, is_matched: true, promised: held.promised }, reached),
            false => self.held.push((held, reached)),
        }
    }
}

/// Whether a session is owed a message above QoS 0.
fn is_owed(matched: &Matched<'_>, target: &Target) -> bool {
    matched.wants(target) && target.subscription.qos != Qos::AtMostOnce
}

/// The refusal of a message for which there is no room.
fn queue_full(overflow: Overflow, sessions: usize) -> Refusal {
    let rule = if overflow == Overflow::RefusePublisher { "overflow refuse-publisher" } else { "overflow hold-back" };
    let problem = Problem::titled("a queue that the message is meant for is full").rule(rule);
    let problem = problem.detail(format!("full queues: {sessions}")).retry(Retry::After { after_ms: 1000, jitter_ms: 4000 });
    Refusal::new(Reason::QUEUE_OVERFLOW, problem)
}
