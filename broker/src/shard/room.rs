//! Places in queues, where publishers learn that one is full. A message claims its place with every session that would be owed it
//! before anything is kept (see [`super::route`]): so its publisher is refused for all of them or for none, whatever their shards,
//! and what is acknowledged finds its place. Or its acknowledgement waits here, behind its receipt, until there is room. Reading
//! goes on: what holds a publisher back is its own window.

use super::client::Client;
use super::keeping::{Life, Then, not_kept};
use super::matched::Matched;
use super::roll::{Claim, Places};
use super::{CrossingTarget, Shard};
use crate::message::Envelope;
use crate::queue::{QueueLimits, Space};
use crate::router::{Subscriber, Target};
use crate::store::Reached;
use crate::wrapped;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Durability, Problem, Publish, Qos, Reason, Refusal, Retry};
use candor_protocol::session::Ticket;

/// The places that were claimed for a message.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Ascending.
    targets: Vec<Subscriber>,
    /// The picks of shared groups, by their places; ascending.
    picks: Vec<usize>,
    /// Where more waits than should.
    beyond: Vec<Full>,
}

/// A queue in which more waits than should, or the part of it that is of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full {
    subscriber: Subscriber,
    space: Option<Space>,
}

impl Claims {
    pub(super) fn has_target(&self, subscriber: Subscriber) -> bool {
        !self.targets.is_empty() && self.targets.binary_search(&subscriber).is_ok()
    }

    pub(super) fn has_pick(&self, at: usize) -> bool {
        !self.picks.is_empty() && self.picks.binary_search(&at).is_ok()
    }

    /// The sessions whose queues the acknowledgement waits for.
    pub(super) fn into_beyond(self) -> Vec<Full> {
        self.beyond
    }
}

/// An acknowledgement that waits for room.
#[derive(Debug)]
pub(super) struct Held {
    pub full: Vec<Full>,
    pub of: Life,
    pub ticket: Ticket,
    /// As in [`Then::Settle`].
    pub promised: Durability,
}

impl Shard {
    /// Whether publishers learn of full queues, of all messages or of some.
    pub(super) fn tells_publishers(&self) -> bool {
        self.settings.queue.overflow.tells_publishers() || self.settings.namespaces.tells_publishers()
    }

    /// The limits of a queue that publishers of a namespace's messages learn of: its own, and the namespace's.
    fn told_limits(&self, space: Option<Space>) -> impl Iterator<Item = (Option<Space>, QueueLimits)> + use<> {
        let of_space = space.and_then(|space| Some((Some(space), self.settings.namespaces.get(space)?.queue)));
        let all = [Some((None, self.settings.queue)), of_space];
        all.into_iter().flatten().filter(|(_, limits)| limits.overflow.tells_publishers())
    }

    /// Those of the whole queue, or of a namespace's part of it.
    fn limits_of(&self, space: Option<Space>) -> QueueLimits {
        let namespace = space.and_then(|space| self.settings.namespaces.get(space));
        namespace.map_or(self.settings.queue, |namespace| namespace.queue)
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
        let space = self.settings.namespaces.of(envelope.message.topic_str());
        let plain = Matched::new(&envelope, from, &matches.targets, &matches.picks);
        let wrapped = carrier.as_ref().map(|carrier| Matched::new(carrier, from, &matches.wrapped_targets, &matches.wrapped_picks));
        for matched in std::iter::once(&plain).chain(&wrapped) {
            self.check_kept(matched, qos == Qos::ExactlyOnce && has_number)?;
            let bytes = matched.envelope.len() as u64;
            let mut refused = Refused::default();
            for target in matched.targets.iter().filter(|target| is_owed(matched, target)) {
                let is_full = |(space, limits): &(Option<Space>, QueueLimits)| {
                    self.places(target.subscriber, *space).is_some_and(|places| places.foresee(bytes, limits) == Claim::Refused)
                };
                if self.is_asked(target.subscriber)
                    && let Some((space, _)) = self.told_limits(space).find(is_full)
                {
                    refused.add(space);
                }
            }
            if refused.count > 0 {
                return Err(self.queue_full(refused));
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
        if self.told_limits(matched.space).next().is_none() {
            return Ok(claims);
        }
        let owed = |target: &Target| is_owed(matched, target);
        let bytes = matched.envelope.len() as u64;
        let mut refused = Refused::default();
        for target in matched.targets.iter().filter(owed) {
            match self.claim(target.subscriber, bytes, matched.space, &mut claims.beyond) {
                Ok(true) => claims.targets.push(target.subscriber),
                Ok(false) => {}
                Err(space) => refused.add(space),
            }
        }
        for (at, pick) in matched.picks.as_slice().iter().enumerate().filter(|(_, pick)| owed(&pick.target)) {
            match self.claim(pick.target.subscriber, bytes, matched.space, &mut claims.beyond) {
                Ok(true) => claims.picks.push(at),
                Ok(false) => {}
                Err(space) => refused.add(space),
            }
        }
        if refused.count == 0 {
            return Ok(claims);
        }
        self.give_places_back(&claims, matched);
        Err(self.queue_full(refused))
    }

    /// A message is not taken for which places were claimed.
    pub(super) fn give_places_back(&mut self, claims: &Claims, matched: &Matched<'_>) {
        let bytes = matched.envelope.len() as u64;
        claims.targets.iter().for_each(|subscriber| self.give_place_back(*subscriber, bytes, matched.space));
        let picks = claims.picks.iter().filter_map(|at| matched.picks.as_slice().get(*at));
        picks.for_each(|pick| self.give_place_back(pick.target.subscriber, bytes, matched.space));
    }

    /// Whether a session could be handed one more message of a namespace, as far as is known here.
    pub(super) fn has_room(&self, subscriber: Subscriber, space: Option<Space>) -> bool {
        let has_room = |(space, limits)| self.places(subscriber, space).is_none_or(|places| places.has_room(&limits));
        self.told_limits(space).all(has_room)
    }

    /// Claims a place in a session's queue, and in the namespace's part of it; `false`: publishers do not learn of this queue.
    ///
    /// # Errors
    /// Where there is none: then nothing is claimed.
    fn claim(&mut self, subscriber: Subscriber, bytes: u64, space: Option<Space>, beyond: &mut Vec<Full>) -> Result<bool, Option<Space>> {
        // Asked once for both, so that they are claimed together or not at all.
        if !self.is_asked(subscriber) {
            return Ok(false);
        }
        // There are two at most.
        let mut claimed = None;
        for (space, limits) in self.told_limits(space) {
            let Some(places) = self.shared.roll(subscriber.shard).and_then(|roll| roll.places_of(subscriber.slot, space)) else { continue };
            match places.claim(bytes, &limits) {
                Claim::Taken => {}
                Claim::TakenBeyond => beyond.push(Full { subscriber, space }),
                Claim::Refused => {
                    claimed.into_iter().for_each(|at| self.unclaim(subscriber, bytes, at));
                    return Err(space);
                }
            }
            claimed = Some((space, limits));
        }
        Ok(true)
    }

    /// Whether publishers learn of a session's queue.
    fn is_asked(&self, subscriber: Subscriber) -> bool {
        self.places(subscriber, None).is_some_and(Places::is_open)
    }

    fn places(&self, subscriber: Subscriber, space: Option<Space>) -> Option<&Places> {
        self.shared.roll(subscriber.shard)?.places(subscriber.slot, space)
    }

    /// A message does not come for which a place was claimed.
    pub(super) fn give_place_back(&mut self, subscriber: Subscriber, bytes: u64, space: Option<Space>) {
        self.told_limits(space).for_each(|at| self.unclaim(subscriber, bytes, at));
    }

    fn unclaim(&mut self, subscriber: Subscriber, bytes: u64, (space, limits): (Option<Space>, QueueLimits)) {
        let has_room = self.places(subscriber, space).is_some_and(|places| places.change((1, bytes), (0, 0), &limits));
        self.has_room |= has_room;
    }

    /// Hands a message to a session that it has a place with, if it needed one.
    pub(super) fn bring(&mut self, target: &CrossingTarget, envelope: &Envelope, is_shared: bool) {
        if !target.has_place {
            return self.deliver(target, envelope, is_shared);
        }
        let bytes = envelope.len() as u64;
        let space = self.frames.space(envelope, &self.settings.namespaces);
        let told = self.told_limits(space);
        let Some(client) = self.clients.get_mut(target.slot) else {
            return self.give_place_back(self.subscriber(target.slot), bytes, space);
        };
        // What was claimed counts as the session's own, and is then what it came to.
        for (space, _) in told {
            let told = client.told_room_of(space);
            *told = (told.0 + 1, told.1 + bytes);
        }
        self.deliver(target, envelope, is_shared);
        self.note_room(target.slot);
    }

    /// Says to all shards how much waits for a session.
    pub(super) fn note_room(&mut self, slot: u32) {
        if !self.tells_publishers() {
            return;
        }
        let (Some(client), Some(roll)) = (self.clients.get_mut(slot), self.shared.roll(self.index)) else { return };
        let Some(places) = roll.places_of(slot, None) else { return };
        places.set_open(client.is_durable());
        if self.settings.queue.overflow.tells_publishers() {
            let now = (client.queue.len() as u64, client.queue.bytes() as u64);
            let before = std::mem::replace(&mut client.told_room, now);
            self.has_room |= before != now && places.change(before, now, &self.settings.queue);
        }
        for (space, namespace) in self.settings.namespaces.telling() {
            let share = client.queue.share(space);
            let now = (share.len as u64, share.bytes as u64);
            if client.told_shares.get(space.index()).copied().unwrap_or_default() == now {
                continue;
            }
            let before = std::mem::replace(client.told_room_of(Some(space)), now);
            let places = roll.places_of(slot, Some(space));
            self.has_room |= places.is_some_and(|places| places.change(before, now, &namespace.queue));
        }
    }

    /// Nothing waits for a session any more: it has ended.
    pub(super) fn end_room(&mut self, slot: u32, client: &Client) {
        let Some(roll) = self.shared.roll(self.index).filter(|_| self.tells_publishers()) else { return };
        if let Some(places) = roll.places(slot, None) {
            places.set_open(false);
            if self.settings.queue.overflow.tells_publishers() {
                self.has_room |= places.change(client.told_room, (0, 0), &self.settings.queue);
            }
        }
        for (space, namespace) in self.settings.namespaces.telling() {
            let told = client.told_shares.get(space.index()).copied().unwrap_or_default();
            let places = roll.places(slot, Some(space));
            self.has_room |= places.is_some_and(|places| places.change(told, (0, 0), &namespace.queue));
        }
    }

    /// The refusal of a message for which there is no room.
    fn queue_full(&self, refused: Refused) -> Refusal {
        let namespace = refused.space.and_then(|space| self.settings.namespaces.get(space));
        let overflow = self.limits_of(refused.space).overflow;
        let rule = match namespace {
            None => format!("overflow {overflow}"),
            Some(namespace) => format!("overflow {overflow} of namespace {}", namespace.filter),
        };
        let problem = Problem::titled("a queue that the message is meant for is full").rule(rule);
        let problem = problem.detail(format!("full queues: {}", refused.count));
        Refusal::new(Reason::QUEUE_OVERFLOW, problem.retry(Retry::After { after_ms: 1000, jitter_ms: 4000 }))
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
        // What was not kept is refused, whether there is room or not.
        let waits = reached.is_some();
        held.full.retain(|full| {
            waits && self.places(full.subscriber, full.space).is_some_and(|places| places.awaits(&self.limits_of(full.space)))
        });
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

/// The queues in which there is no place for a message.
#[derive(Debug, Default, Clone, Copy)]
struct Refused {
    count: usize,
    /// In some of them it is the part of this namespace that is full.
    space: Option<Space>,
}

impl Refused {
    fn add(&mut self, space: Option<Space>) {
        self.count += 1;
        self.space = self.space.or(space);
    }
}
