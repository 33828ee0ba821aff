//! A message that was taken: to the store, to the retained messages, and to all who get it.

use super::keeping::{HeldBack, Then};
use super::matched::{Matched, Numbers, Ready};
use super::room::{Claims, Full};
use super::shared::{Matches, RetainedGuard};
use super::wills::Armed;
use super::{Crossing, CrossingTarget, RetainedMessage, Shard, Shared};
use crate::message::Envelope;
use crate::router::{Retained, Subscriber, Target};
use crate::store::record::Owed;
use crate::store::{MessageNumber, Record, SessionNumber};
use crate::wrapped;
use candor_protocol::packet::reserved::SYS;
use candor_protocol::packet::{PacketId, Qos, Refusal};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where a message comes from; by default from the broker itself.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// The publisher's session.
    pub from: Option<u32>,
    /// Its QoS 2 identifier.
    pub taken: Option<PacketId>,
    /// It is a will, and the store has it.
    pub armed: Option<Armed>,
}

/// What became of a message.
#[derive(Debug, Clone)]
pub(super) struct Routed {
    /// How many get it, the store of retained messages included.
    pub reached: usize,
    /// How many sessions get it.
    pub sessions: usize,
    /// Something was kept for it that its acknowledgement waits for.
    pub is_kept: bool,
    /// Sessions whose queues are full, where the acknowledgement waits for that.
    pub full: Vec<Full>,
}

impl Shard {
    /// Keeps a message where it has to be, stores it if it is to be retained, and hands it to all who get it, or holds it back
    /// until it may be.
    ///
    /// # Errors
    /// It has to be kept, and cannot be: nobody gets it, and nothing was changed.
    pub(super) fn route(&mut self, envelope: &Envelope, source: Source) -> Result<Routed, Refusal> {
        // Taken out for the time that the shard itself is changed; what stands there meanwhile is empty and never asked.
        let mut matches = self.matches.take().unwrap_or_default();
        let routed = if envelope.retain {
            let shared = Arc::clone(&self.shared);
            // Held from the match to the change: who subscribes meanwhile finds the message in one of the two.
            let retained = shared.retained_mut();
            shared.matching(envelope.message.topic(), &mut matches);
            self.route_to(envelope, source, &matches, Some(retained))
        } else {
            self.shared.matching(envelope.message.topic(), &mut matches);
            match self.may_go_at_once(envelope, &source) {
                true => Ok(self.route_at_once(envelope, source.from, &matches)),
                false => self.route_to(envelope, source, &matches, None),
            }
        };
        self.matches = Some(matches);
        routed
    }

    /// Whether nothing has to be kept or claimed for a message that is not retained, and nothing is before it.
    #[inline]
    fn may_go_at_once(&self, envelope: &Envelope, source: &Source) -> bool {
        let is_kept_nowhere = envelope.qos == Qos::AtMostOnce || !(self.keeper.keeps() || self.tells_publishers());
        is_kept_nowhere && source.armed.is_none() && !self.is_held_back(source.from)
    }

    /// Whether messages of a publisher wait, so that its next ones do.
    fn is_held_back(&self, from: Option<u32>) -> bool {
        from.and_then(|slot| self.clients.get(slot)).is_some_and(|client| client.held_back > 0)
    }

    /// What [`Shard::route_to`] comes to where [`Shard::may_go_at_once`].
    #[inline]
    fn route_at_once(&mut self, envelope: &Envelope, from: Option<u32>, matches: &Matches) -> Routed {
        let from = from.map(|slot| self.subscriber(slot));
        let mut sessions = self.hand_on_all(&Matched::new(envelope, from, &matches.targets, &matches.picks), None);
        if matches.has_wrapped() {
            let envelope = &wrapped::wrap(envelope);
            let wrapped = Matched::new(envelope, from, &matches.wrapped_targets, &matches.wrapped_picks);
            sessions += self.hand_on_all(&wrapped, None);
        }
        Routed { reached: sessions, sessions, is_kept: false, full: Vec::new() }
    }

    /// `retained`: where a message goes that is to be retained.
    fn route_to(
        &mut self,
        envelope: &Envelope,
        source: Source,
        matches: &Matches,
        mut retained: Option<RetainedGuard<'_>>,
    ) -> Result<Routed, Refusal> {
        let Source { from, taken, mut armed } = source;
        let from_subscriber = from.map(|slot| self.subscriber(slot));
        // Made once for all who get it so.
        let carrier = matches.has_wrapped().then(|| wrapped::wrap(envelope));
        // As it is, and wrapped.
        let space = self.settings.namespaces.of(envelope.message.topic_str());
        let plain = Matched::new(envelope, from_subscriber, &matches.targets, &matches.picks).of_space(space);
        let wrapped = carrier
            .as_ref()
            .map(|envelope| Matched::new(envelope, from_subscriber, &matches.wrapped_targets, &matches.wrapped_picks).of_space(space));
        let taken = taken.and_then(|id| Some((self.clients.get(from?)?.number?, id)));
        let mut ready = self.find_room(&plain, wrapped.as_ref(), from.is_some(), taken.is_some())?;
        let is_cleared = envelope.message.payload().is_empty();
        // What the broker says of itself is true of this process alone.
        let keeps = self.keeper.keeps() && !envelope.message.topic().starts_with(SYS.as_bytes());
        let number = (keeps && envelope.retain && !is_cleared).then(|| self.shared.next_message());
        let version = retained.as_deref_mut().map(|retained| retain(retained, &self.shared, envelope, number));
        drop(retained);
        ready[0].numbers = self.keep_all(&plain, number, version.filter(|_| keeps), taken);
        if let Some(wrapped) = wrapped.as_ref().filter(|_| self.keeper.keeps()) {
            ready[1].numbers = self.keep_message(wrapped, None);
        }
        if let Some(Armed { client_id, message, .. }) = armed.clone() {
            self.keeper.keep(Record::WillPublished { client_id, message });
        }
        let is_kept = ready.iter().any(|ready| ready.numbers.is_kept);
        let must_wait = self.is_held_back(from) || is_kept && envelope.qos == Qos::ExactlyOnce || armed.is_some();
        let (mut sessions, mut full) = (0, Vec::new());
        for (matched, ready) in [Some(plain), wrapped].iter().flatten().zip(ready) {
            let carried = armed.clone().map(|armed| Armed { is_carried: true, ..armed });
            let armed = std::mem::replace(&mut armed, carried);
            sessions += self.hand(matched, &ready, from, must_wait, armed);
            full.append(&mut ready.claims.into_beyond());
        }
        let reached = sessions + usize::from(envelope.retain && !is_cleared);
        Ok(Routed { reached, sessions, is_kept, full })
    }

    /// Hands a message to all who get it, or holds it back until it may go; tells how many they are.
    fn hand(&mut self, matched: &Matched<'_>, ready: &Ready, from: Option<u32>, must_wait: bool, armed: Option<Armed>) -> usize {
        if !must_wait {
            return self.hand_on_all(matched, Some(ready));
        }
        let by_shard = self.collect(matched, ready);
        self.hold_back(matched.envelope, from, by_shard, armed)
    }

    /// Finds room for a message as it is and wrapped: for both or neither.
    fn find_room(
        &mut self,
        plain: &Matched<'_>,
        wrapped: Option<&Matched<'_>>,
        has_publisher: bool,
        is_taken: bool,
    ) -> Result<[Ready; 2], Refusal> {
        let ready = |claims| Ready { claims, numbers: Numbers::default() };
        let first = self.check_room(plain, has_publisher, is_taken)?;
        match wrapped.map_or_else(|| Ok(Claims::default()), |wrapped| self.check_room(wrapped, has_publisher, is_taken)) {
            Ok(second) => Ok([ready(first), ready(second)]),
            Err(refusal) => {
                self.give_places_back(&first, plain);
                Err(refusal)
            }
        }
    }

    /// Whether a message can be taken where it has to be kept, and finds a place where it has to: all or nothing.
    fn check_room(&mut self, matched: &Matched<'_>, has_publisher: bool, is_taken: bool) -> Result<Claims, Refusal> {
        // A will has nobody to be refused.
        if !has_publisher || !self.is_room_asked(matched.envelope.qos) {
            return Ok(Claims::default());
        }
        self.check_kept(matched, is_taken)?;
        if self.tells_publishers() { self.claim_places(matched) } else { Ok(Claims::default()) }
    }

    /// Keeps a message, what it does to its topic, and the identifier that it came under.
    fn keep_all(
        &mut self,
        matched: &Matched<'_>,
        number: Option<MessageNumber>,
        version: Option<u64>,
        taken: Option<(SessionNumber, PacketId)>,
    ) -> Numbers {
        if !self.keeper.keeps() {
            return Numbers::default();
        }
        let mut numbers = self.keep_message(matched, number);
        if let Some(version) = version {
            self.keeper.keep(match number {
                Some(message) => Record::Retained { message, version },
                None => Record::RetainedCleared { topic: matched.envelope.message.topic().into(), version },
            });
            numbers.is_kept = true;
        }
        if number.is_some() {
            self.keeper.then(Then::Retained(Box::new(RetainedMessage::new(matched.envelope.compact(), number))));
        }
        if let Some((session, id)) = taken {
            self.keeper.keep(Record::Taken { session, id });
            numbers.is_kept = true;
        }
        numbers
    }

    /// Keeps a message for all sessions that are owed it, whatever their shards, and for its topic if it has a number already.
    fn keep_message(&mut self, matched: &Matched<'_>, number: Option<MessageNumber>) -> Numbers {
        let mut numbers = Numbers { message: number, ..Numbers::default() };
        let mut owed: Vec<Owed> = Vec::new();
        let mut again = Vec::new();
        let owes = |target: &Target| {
            let session = self.shared.session(target.subscriber).filter(|_| matched.wants(target))?;
            let CrossingTarget { qos, retain, .. } = matched.target(*target, None);
            (qos != Qos::AtMostOnce).then_some(Owed { session, qos, retain })
        };
        if matched.envelope.qos != Qos::AtMostOnce {
            owed.extend(matched.targets.iter().filter_map(|target| owes(&target)));
            for (at, pick) in matched.picks.as_slice().iter().enumerate() {
                let Some(one) = owes(&pick.target) else { continue };
                match owed.iter().any(|other| other.session == one.session) {
                    true => again.push((at, one)),
                    false => owed.push(one),
                }
            }
        }
        if owed.is_empty() && number.is_none() {
            return numbers;
        }
        let mut envelope = matched.envelope.compact();
        // What waits in the store, and is found there after a restart, waits no longer than in a queue; but a topic keeps its message.
        if let Some(at_ms) = self.settings.latest_expiry(self.now.unix_ms, matched.space).filter(|_| number.is_none()) {
            envelope.expire_by(at_ms);
        }
        for (at, one) in again {
            let message = self.shared.next_message();
            numbers.again.push((at, message));
            self.keeper.keep(Record::Message { message, envelope: envelope.clone(), owed: vec![one] });
        }
        let message = number.unwrap_or_else(|| self.shared.next_message());
        (numbers.message, numbers.is_kept) = (Some(message), true);
        self.keeper.keep(Record::Message { message, envelope, owed });
        numbers
    }

    /// Hands a message to all who get it; tells how many they are.
    fn hand_on_all(&mut self, matched: &Matched<'_>, ready: Option<&Ready>) -> usize {
        let is_shared = matched.targets.len() + matched.picks.len() > 1;
        let (mut reached, mut at) = (0, 0);
        self.frames.start();
        for (shard, members) in matched.targets.by_shard() {
            reached += self.hand_on(shard, matched.members(members, ready), matched.envelope, is_shared);
        }
        for (shard, picks) in matched.picks.by_shard() {
            reached += self.hand_on(shard, matched.picked(picks, at, ready), matched.envelope, is_shared);
            at += picks.len();
        }
        reached
    }

    fn collect(&self, matched: &Matched<'_>, ready: &Ready) -> Vec<(u16, Vec<CrossingTarget>)> {
        let mut by_shard = Vec::new();
        let mut at = 0;
        for (shard, members) in matched.targets.by_shard() {
            by_shard.push((shard, matched.members(members, Some(ready)).collect()));
        }
        for (shard, picks) in matched.picks.by_shard() {
            by_shard.push((shard, matched.picked(picks, at, Some(ready)).collect()));
            at += picks.len();
        }
        by_shard
    }

    /// Holds a message back until everything that was kept has its receipt; tells how many will get it.
    fn hold_back(
        &mut self,
        envelope: &Envelope,
        from: Option<u32>,
        targets: Vec<(u16, Vec<CrossingTarget>)>,
        armed: Option<Armed>,
    ) -> usize {
        let count = targets.iter().map(|(_, targets)| targets.len()).sum();
        if count == 0 && armed.is_none() {
            return 0;
        }
        if let Some(client) = from.and_then(|slot| self.clients.get_mut(slot)) {
            client.held_back += 1;
        }
        let from = from.and_then(|slot| self.life(slot));
        self.keeper.then(Then::Deliver(Box::new(HeldBack { envelope: envelope.compact(), from, targets, armed })));
        count
    }

    /// A message that was held back may go, or was not kept and must not.
    pub(super) fn hand_out(&mut self, mut held: HeldBack, is_kept: bool) {
        if let Some(from) = held.from
            && let Some(client) = self.clients.get_mut(from.slot).filter(|client| client.incarnation == from.life)
        {
            client.held_back = client.held_back.saturating_sub(1);
        }
        if let Some(armed) = held.armed.take().filter(|_| !is_kept) {
            return self.will_not_kept(held, armed);
        }
        let HeldBack { envelope, targets, .. } = held;
        // Below QoS 2 nothing was promised that was not kept: it only had to wait its turn.
        if !is_kept && envelope.qos == Qos::ExactlyOnce {
            return self.give_up(&targets, &envelope);
        }
        let is_shared = targets.iter().map(|(_, targets)| targets.len()).sum::<usize>() > 1;
        self.frames.start();
        for (shard, targets) in targets {
            self.hand_on(shard, targets.into_iter(), &envelope, is_shared);
        }
    }

    /// The publisher is told that its message was not taken: if a record of it is found one day after all, nobody is owed it.
    fn give_up(&mut self, targets: &[(u16, Vec<CrossingTarget>)], envelope: &Envelope) {
        let space = self.settings.namespaces.of(envelope.message.topic_str());
        for (shard, targets) in targets {
            for target in targets {
                let subscriber = Subscriber { shard: *shard, slot: target.slot };
                if target.has_place {
                    self.give_place_back(subscriber, envelope.len() as u64, space);
                }
                let session = self.shared.session(subscriber);
                if let (Some(session), Some(message)) = (session, target.message) {
                    self.keeper.keep(Record::Settled { session, message });
                }
            }
        }
    }

    /// Hands a message to sessions of one shard; tells how many they are.
    pub(super) fn hand_on(
        &mut self,
        shard: u16,
        members: impl Iterator<Item = CrossingTarget>,
        envelope: &Envelope,
        is_shared: bool,
    ) -> usize {
        if shard == self.index {
            return members.map(|target| self.bring(&target, envelope, is_shared)).count();
        }
        let targets: Vec<CrossingTarget> = members.collect();
        if let (false, Some(crossings)) = (targets.is_empty(), self.effects.crossings.get_mut(usize::from(shard))) {
            let count = targets.len();
            crossings.push(Crossing { envelope: envelope.compact(), targets, redelivery_count: 0 });
            return count;
        }
        0
    }
}

/// Keeps the message of its topic, or drops it if the payload is empty ([MQTT-3.3.1-5], [MQTT-3.3.1-10]); the version that the
/// topic has now.
pub(super) fn retain(
    retained: &mut Retained<RetainedMessage>,
    shared: &Shared,
    envelope: &Envelope,
    message: Option<MessageNumber>,
) -> u64 {
    if envelope.message.payload().is_empty() {
        shared.take(retained, envelope.message.topic());
    } else {
        shared.retain(retained, envelope.compact(), message);
    }
    shared.memory.retained.store(retained.bytes(), Ordering::Relaxed);
    shared.next_version()
}
