//! What an earlier process owed, taken up where it was left.

use super::attach::home;
use super::client::{Begun, Client, Replay};
use super::shared::RetainedMessage;
use super::timers::Timer;
use super::wills::Armed;
use super::{Rights, Settings, Shard, Shared};
use crate::feedback::{Entry, Page};
use crate::message::Envelope;
use crate::queue::{Gap, Queue, Reference, Space, Stored, Waiting};
use crate::rare::Rare;
use crate::store::record::Whose;
use crate::store::state::{KeptSession, Lines, OwedMessage, Progress};
use crate::store::{Engine, MessageNumber, Record, SessionNumber, StoreError};
use candor_protocol::codec::dictionary::MapBuilder;
use candor_protocol::packet::{Qos, Reason, Refusal, TopicFilter, property};
use candor_protocol::session::outbound::Restored;
use candor_protocol::session::{Delivery, Parked, SessionState};
use candor_protocol::shown::Shown;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What one shard takes up.
#[derive(Debug, Default)]
pub struct Legacy {
    sessions: Vec<(SessionNumber, KeptSession)>,
    messages: HashMap<MessageNumber, Found>,
    ended: Vec<(Arc<str>, SessionState)>,
    wills: Vec<(Whose, MessageNumber, Envelope)>,
    verdicts: Vec<(Whose, Lines)>,
}

/// What the store has of a message that is owed.
#[derive(Debug)]
enum Found {
    /// It is in flight to somebody, who gets it again first of all.
    Body(Envelope),
    /// It waits, and goes on doing so in the store.
    Reference(Reference, Option<Space>),
}

/// A principal that has not come back since the process began: nobody knows its rights. Its subscriptions stay in force until it
/// comes, and are looked at then.
#[derive(Debug)]
struct Absent;

impl Rights for Absent {
    fn publish(&self, _: &[u8], _: Qos, _: bool) -> Result<(), Refusal> {
        Ok(())
    }

    fn subscribe(&self, _: &TopicFilter) -> Result<Qos, Refusal> {
        Ok(Qos::ExactlyOnce)
    }
}

/// Reads what an engine holds: the retained messages into `shared`, all else for the shard that each session has its home in.
///
/// # Errors
/// A message that is owed cannot be read.
pub fn read(engine: &mut dyn Engine, settings: &Settings, shared: &mut Shared) -> Result<Vec<Legacy>, StoreError> {
    let shards = settings.shards;
    let state = engine.state().clone();
    shared.restore(engine.durability(), &state);
    let mut legacies: Vec<Legacy> = (0..shards.max(1)).map(|_| Legacy::default()).collect();
    for (number, _) in state.retained.values() {
        let Some(number) = *number else { continue };
        if let Some(envelope) = engine.read(number)? {
            shared.put(&mut shared.retained_mut(), RetainedMessage::new(envelope, Some(number)));
        }
    }
    shared.memory.retained.store(shared.retained().bytes(), Ordering::Relaxed);
    let mut sessions: Vec<_> = state.sessions.into_iter().collect();
    sessions.sort_by_key(|(number, _)| *number);
    for (number, session) in sessions {
        let Some(legacy) = legacies.get_mut(usize::from(home(&session.client_id, shards))) else { continue };
        for owed in &session.owed {
            legacy.read(engine, owed, settings)?;
        }
        legacy.sessions.push((number, session));
    }
    for (client_id, (why, _)) in state.ended {
        if let Some(legacy) = legacies.get_mut(usize::from(home(&client_id, shards))) {
            legacy.ended.push((client_id, why));
        }
    }
    for (client_id, (whose, number)) in state.wills {
        let legacy = legacies.get_mut(usize::from(home(&client_id, shards)));
        if let (Some(legacy), Some(envelope)) = (legacy, engine.read(number)?) {
            legacy.wills.push((whose, number, envelope));
        }
    }
    for (whose, verdicts) in state.verdicts {
        if let Some(legacy) = legacies.get_mut(usize::from(home(&whose.client_id, shards))) {
            legacy.verdicts.push((whose, verdicts));
        }
    }
    Ok(legacies)
}

/// What a queue has to know of a message that only the store holds.
fn refer_to(envelope: &Envelope, settings: &Settings) -> (Reference, Option<Space>) {
    (Reference::of(envelope, &settings.experiments), settings.namespaces.of(envelope.message.topic_str()))
}

impl Legacy {
    /// Reads a message that is owed: one after the other, and of those that wait no body stays in memory.
    fn read(&mut self, engine: &mut dyn Engine, owed: &OwedMessage, settings: &Settings) -> Result<(), StoreError> {
        let is_in_flight = owed.progress != Progress::Waiting;
        match self.messages.get(&owed.body) {
            Some(Found::Body(_)) => return Ok(()),
            Some(Found::Reference(..)) if !is_in_flight => return Ok(()),
            _ => {}
        }
        if let Some(envelope) = engine.read(owed.body)? {
            let found = match is_in_flight {
                true => Found::Body(envelope),
                false => {
                    let (reference, space) = refer_to(&envelope, settings);
                    Found::Reference(reference, space)
                }
            };
            self.messages.insert(owed.body, found);
        }
        Ok(())
    }

    /// How many messages are in memory for it.
    pub fn bodies(&self) -> usize {
        self.messages.values().filter(|found| matches!(found, Found::Body(_))).count() + self.wills.len()
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

impl Shard {
    /// Takes up the sessions of an earlier process. Wills wait until all shards have done so.
    pub fn restore(&mut self, legacy: &mut Legacy) {
        for (client_id, why) in std::mem::take(&mut legacy.ended) {
            self.ended.note(client_id, why, true);
        }
        for (number, session) in std::mem::take(&mut legacy.sessions) {
            self.restore_session(number, session, &legacy.messages);
        }
        legacy.messages = HashMap::new();
        for (whose, verdicts) in std::mem::take(&mut legacy.verdicts) {
            if let Some(page) = Page::of(&whose.principal, &whose.client_id) {
                self.ledger.restore(page, verdicts.iter().filter_map(|(number, line)| Some((*number, Entry::of_bytes(line)?))));
            }
        }
    }

    fn restore_session(&mut self, number: SessionNumber, session: KeptSession, messages: &HashMap<MessageNumber, Found>) {
        let from_here = (session.expiry_s != u32::MAX).then(|| self.now.unix_ms.saturating_add(1000 * u64::from(session.expiry_s)));
        let expires_at_ms = match session.is_attached {
            // Its connection ended with the process, and nobody knows when that was: the time counts from here.
            true => from_here,
            // A clock that was set back makes no time longer than what was agreed.
            false => session.expires_at_ms.map(|at_ms| at_ms.min(from_here.unwrap_or(u64::MAX))),
        };
        if expires_at_ms.is_some_and(|at_ms| at_ms <= self.now.unix_ms) {
            return self.restore_end(number, &session);
        }
        if session.is_attached {
            let was_extended = session.was_extended;
            self.keeper.keep(Record::SessionParked { session: number, expires_at_ms, was_extended });
        }
        let slot = self.restore_client(number, &session);
        if let Some(expires_at_ms) = expires_at_ms {
            let at_ms = self.now.ms + (expires_at_ms - self.now.unix_ms);
            let generation = self.random.draw();
            if let Some(client) = self.clients.get_mut(slot) {
                client.expires_at_ms = NonZeroU64::new(at_ms);
                client.generation = generation;
            }
            self.timers.at(at_ms, Timer::Session(slot, generation));
        }
        let subscriber = self.subscriber(slot);
        {
            let mut router = self.shared.routers_mut();
            for (filter, subscription) in &session.subscriptions {
                router.subscribe(filter, subscriber, *subscription);
            }
        }
        self.set_available(slot, false);
        for owed in &session.owed {
            match messages.get(&owed.body) {
                Some(found) => self.restore_owed(slot, number, owed, found),
                None => {
                    tracing::error!(client = %Shown::new(&session.client_id), message = owed.message.0, "a message that is owed is not in the store; it is lost");
                    let reason = Reason::STORAGE_FAILED;
                    self.keeper.keep(Record::Dropped { session: number, message: owed.message, reason });
                }
            }
        }
        self.keep_dropped(slot);
        self.unload(slot);
        self.count_session(slot);
        self.note_room(slot);
    }

    /// A session whose time was over before the process began, or that was to end with its connection.
    fn restore_end(&mut self, session: SessionNumber, kept: &KeptSession) {
        let why = if kept.expiry_s == 0 { SessionState::New } else { SessionState::Expired };
        self.keeper.keep(Record::SessionEnded { session, why, unix_ms: self.now.unix_ms });
        if why != SessionState::New {
            self.ended.note(Arc::clone(&kept.client_id), why, true);
        }
    }

    fn restore_client(&mut self, number: SessionNumber, session: &KeptSession) -> u32 {
        let mut parked = Parked { was_extended: session.was_extended, ..Parked::default() };
        session.taken.iter().for_each(|id| parked.inbound.restore(*id));
        let mut queue = Queue::new(self.settings.queue);
        if !session.gap.is_empty() {
            queue.gap = Gap::of_parts(session.gap.iter().map(|(reason, count)| (Reason(*reason), *count))).into();
        }
        let mut replays = Rare::<VecDeque<Replay>>::default();
        for (filter, after) in &session.replays {
            let subscription = session.subscriptions.get(filter);
            if let Some(replay) = subscription.and_then(|subscription| Replay::restored(filter, subscription, after)) {
                replays.make().push_back(replay);
            }
        }
        let client = Client {
            number: Some(number),
            is_begun: true,
            is_restored: true,
            parked: Some(Box::new(parked)),
            queue,
            replays,
            subscriptions: session.subscriptions.iter().map(|(filter, subscription)| (filter.clone(), *subscription)).collect(),
            expiry_s: session.expiry_s,
            ..Client::new(
                Arc::clone(&session.client_id),
                Arc::clone(&session.principal),
                Arc::new(Absent),
                Begun { incarnation: session.incarnation, durability: self.shared.durability() },
                self.settings.queue,
            )
        };
        let slot = self.clients.insert(client, self.now.ms);
        self.directory.insert(Arc::clone(&session.client_id), slot);
        if let Some(roll) = self.shared.roll(self.index) {
            roll.set_session(slot, Some(number));
        }
        slot
    }

    fn restore_owed(&mut self, slot: u32, session: SessionNumber, owed: &OwedMessage, found: &Found) {
        let OwedMessage { message, qos, retain, redelivery_count, .. } = *owed;
        let (id, is_received, envelope) = match (owed.progress, found) {
            (Progress::Sent(id), Found::Body(envelope)) => (id, false, envelope),
            (Progress::Received(id), Found::Body(envelope)) => (id, true, envelope),
            (_, found) => {
                let (reference, space) = match found {
                    Found::Body(envelope) => refer_to(envelope, &self.settings),
                    Found::Reference(reference, space) => (*reference, *space),
                };
                let stored = Stored { reference, qos, retain, redelivery_count, message, space };
                if let Some(client) = self.clients.get_mut(slot) {
                    client.queue.push_stored(stored, &self.settings.experiments, &self.settings.namespaces);
                }
                return;
            }
        };
        let mut hop = envelope.next_hop(self.now.unix_ms);
        if redelivery_count > 0 {
            hop = MapBuilder::new().merge(&hop).set(property::REDELIVERY_COUNT, &u64::from(redelivery_count)).finish();
        }
        let delivery = Delivery { message: envelope.message.clone(), qos, retain, hop };
        let Some(client) = self.clients.get_mut(slot) else { return };
        let is_restored = client.parked.as_mut().is_some_and(|parked| {
            parked.outbound.put_back(Restored { id, token: message.0, delivery, received: is_received, number: None })
        });
        if !is_restored && !is_received {
            // Its identifier cannot be given to it again: it is sent as a new message.
            self.keeper.keep(Record::Returned { session, message, redelivery_count });
            let waiting = Waiting {
                envelope: envelope.clone(),
                qos,
                retain,
                redelivery_count,
                message: Some(message),
                space: self.settings.namespaces.of(envelope.message.topic_str()),
                has_place: true,
            };
            client.queue.push(waiting, &self.settings.experiments, &self.settings.namespaces);
        }
    }

    /// Publishes the wills of clients that were connected when the process ended. Their rights were checked when the wills were
    /// armed; they cannot be asked again before their principals come back, and a will is for when they do not.
    pub fn publish_wills(&mut self, legacy: &mut Legacy) {
        for (whose, message, envelope) in std::mem::take(&mut legacy.wills) {
            tracing::info!(client = %Shown::new(&whose.client_id), topic = %Shown::new(envelope.message.topic_str()), "will of a client that the last process lost");
            let armed = Armed { client_id: whose.client_id, message, is_carried: false };
            self.publish_will_envelope(envelope, whose.principal, Some(armed));
        }
        self.release();
    }
}
