//! Subscriptions, and the retained messages they bring.

use super::client::{Client, Replay};
use super::keeping::{Answer, Then};
use super::timers::Timer;
use super::{ConnectionKey, CrossingTarget, RetainedMessage, Shard, operator};
use crate::message::Envelope;
use crate::router::{Subscribed, Subscription};
use crate::store::record::Owed;
use crate::store::{MessageNumber, Record};
use crate::wrapped;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::problem::PROBLEMS_LEN_MAX;
use candor_protocol::packet::reserved::{FEEDBACK, is_of};
use candor_protocol::packet::subscribe::options::{NO_LOCAL, NO_RETAINED, RETAIN_AS_PUBLISHED, RETAINED_IF_NEW, UNORDERED};
use candor_protocol::packet::subscribe::{RequestedFilter, items_of};
use candor_protocol::packet::{
    Packet, Problem, Qos, Reason, Refusal, Retry, SubAck, Subscribe, TopicFilter, UnsubAck, Unsubscribe, property,
};
use candor_protocol::session::check_requirement;
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// How many retained messages one subscription gets before others get their turn, and with how many bytes no more are added.
pub(super) const SLICE: usize = 64;
const SLICE_BYTES: usize = 32 * 1024;
/// As [`SLICE`], where nobody has sent anything for so long: then it is a write less for each of the larger ones, and who comes
/// in between waits for one of them.
const SLICE_ALONE: usize = 256;
const ALONE_MS: u64 = 2;
/// What of a slice it counts at least to look at one subscription.
const SLICE_PART_MIN: usize = SLICE / 8;

/// Sessions that have more retained messages to get, and when somebody has last sent anything meanwhile.
#[derive(Debug, Default)]
pub(super) struct Replaying {
    row: VecDeque<u32>,
    packets_received: u64,
    heard_ms: u64,
}

impl Replaying {
    pub(super) fn is_empty(&self) -> bool {
        self.row.is_empty()
    }
}

/// So many filters of one packet are looked at, however few subscriptions a session may have.
const FILTERS_MIN: usize = 100;

/// The most filters on feedback of one session.
const FEEDBACK_MAX: usize = 16;

impl Shard {
    pub(super) fn subscribe(&mut self, key: ConnectionKey, packet: Subscribe) {
        let Some(slot) = self.connections.get(key).and_then(|connection| connection.client) else { return };
        let mut reasons = Vec::with_capacity(packet.items.len());
        let mut items = Vec::with_capacity(packet.items.len());
        let (mut is_kept, mut changed) = (false, Vec::new());
        let mut behind = Behind::default();
        // No session can have more, and a packet is one piece of work.
        let most = self.settings.subscriptions_max.max(FILTERS_MIN);
        let mut problems_len = 0;
        for (item, options) in packet.items.iter().take(most).zip(packet.dictionary.items()) {
            match self.subscribe_one(key, slot, &item.filter, item.qos, [&packet.dictionary, &options]) {
                Ok(Granted { qos, what }) => {
                    let has_number = self.clients.get(slot).is_some_and(|client| client.number.is_some());
                    match (&item.filter, what) {
                        (Ok(filter), What::Messages(subscription)) if has_number => {
                            is_kept = true;
                            changed.push((filter.clone(), subscription));
                        }
                        (Ok(filter), What::Question) => behind.questions.push((filter.clone(), qos)),
                        (_, What::Feedback) => behind.listens = true,
                        _ => {}
                    }
                    reasons.push(Reason(qos as u8));
                    items.push(Dictionary::EMPTY);
                }
                Err(refusal) => {
                    let (reason, item) = self.refuse_filter(key, filter_text(&item.filter), refusal);
                    reasons.push(reason);
                    problems_len += item.as_bytes().len();
                    items.push(if problems_len > PROBLEMS_LEN_MAX { Dictionary::EMPTY } else { item });
                }
            }
        }
        self.count_session(slot);
        if let Some(rest) = packet.items.len().checked_sub(most).filter(|rest| *rest > 0) {
            // The first of them has the problem of all.
            let (reason, item) = self.refuse_filters(key, rest, too_many_filters(most, packet.items.len()));
            reasons.resize(packet.items.len(), reason);
            items.push(item);
        }
        let packet = Packet::SubAck(Box::new(SubAck { id: packet.id, reasons, dictionary: items_of(items) }));
        self.answer_when_kept(key, slot, packet, is_kept, behind, changed);
    }

    fn answer_when_kept(
        &mut self,
        key: ConnectionKey,
        slot: u32,
        packet: Packet,
        is_kept: bool,
        behind: Behind,
        changed: Vec<(TopicFilter, Subscription)>,
    ) {
        let Some((connection, of)) = self.connections.get(key).zip(self.life(slot)) else { return };
        let generation = connection.generation;
        let Behind { listens, questions } = behind;
        let then = Then::Answer(Box::new(Answer { key, generation, of, packet, listens, questions, changed }));
        if is_kept { self.keeper.then(then) } else { self.keeper.now(then) }
    }

    /// Whether a filter would be granted, and at which QoS. The dictionaries: of the packet, and of this filter in it.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn check_subscribe(
        &self,
        key: ConnectionKey,
        slot: u32,
        filter: &TopicFilter,
        qos: Qos,
        [of_all, options]: [&Dictionary; 2],
    ) -> Result<Qos, Refusal> {
        let (Some(connection), Some(client)) = (self.connections.get(key), self.clients.get(slot)) else {
            return Err(Refusal::bare(Reason::UNSPECIFIED_ERROR));
        };
        let profile = &connection.listener.policy.profile;
        let declared = &connection.session.terms().profile;
        for required in [of_all, options].into_iter().filter(|dictionary| !dictionary.is_empty()) {
            check_requirement(required, &self.settings.namespaces.narrowed(declared.of_subscriptions(), filter))?;
        }
        if filter.group().is_some() && !profile.shared_subscriptions {
            let problem = Problem::titled("this server serves no shared subscriptions").retry(Retry::Never);
            return Err(Refusal::new(Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, problem));
        }
        wrapped::check(filter)?;
        let own_max = Qos::new((qos as u8).min(profile.qos_max)).unwrap_or_default();
        if operator::is_question(filter) {
            return self.check_question(slot, filter).map(|()| own_max.min(Qos::AtLeastOnce));
        }
        if is_feedback(filter) {
            // It brings what the ledger has on the client.
            check_feedback(client, filter).and_then(|()| self.check_telling(slot, 1))?;
            return Ok(own_max.min(Qos::AtLeastOnce));
        }
        let is_new = !client.subscriptions.contains_key(filter);
        if is_new {
            self.check_memory()?;
        }
        if is_new && client.subscriptions.len() >= self.settings.subscriptions_max {
            let problem = Problem::titled("the session has as many subscriptions as it may have").rule("subscriptions_max");
            let limit = self.settings.subscriptions_max as u64;
            return Err(Refusal::new(Reason::QUOTA_EXCEEDED, problem.limit(limit, limit + 1).retry(Retry::Changed)));
        }
        Ok(own_max.min(client.may_subscribe(filter)?))
    }

    fn subscribe_one(
        &mut self,
        key: ConnectionKey,
        slot: u32,
        filter: &RequestedFilter,
        qos: Qos,
        dictionaries: [&Dictionary; 2],
    ) -> Result<Granted, Refusal> {
        let [_, options] = dictionaries;
        let filter = filter.as_ref().map_err(|(_, error)| {
            let problem = Problem::titled(error.to_string()).field("topic filter").retry(Retry::Never);
            Refusal::new(Reason::TOPIC_FILTER_INVALID, problem)
        })?;
        let qos = self.check_subscribe(key, slot, filter, qos, dictionaries)?;
        if operator::is_question(filter) {
            self.take_telling(key, operator::cost_of(filter));
            return Ok(Granted { qos, what: What::Question });
        }
        if is_feedback(filter) {
            self.take_telling(key, 1);
            return Ok(self.subscribe_feedback(slot, filter, qos));
        }
        let bits = options.value(property::SUBSCRIPTION_OPTIONS).unwrap_or(0);
        let (no_local, retain_as_published) = (bits & NO_LOCAL != 0, bits & RETAIN_AS_PUBLISHED != 0);
        let subscription = Subscription { qos, no_local, retain_as_published, unordered: bits & UNORDERED != 0 };
        let subscribed = self.shared.routers_mut().subscribe(filter, self.subscriber(slot), subscription);
        if filter.group().is_some() {
            self.shared.routers().set_available(filter, self.subscriber(slot), true);
        }
        let wants_retained = bits & NO_RETAINED == 0 && (bits & RETAINED_IF_NEW == 0 || subscribed == Subscribed::New);
        if let Some(client) = self.clients.get_mut(slot) {
            let before = client.subscriptions.insert(filter.clone(), subscription);
            if let Some(session) = client.number {
                client.unkept.get_or_insert_default().entry(filter.clone()).or_insert((before, 0)).1 += 1;
                self.keeper.keep(Record::Subscribed { session, filter: filter.clone(), subscription });
            }
            // A shared subscription gets no retained messages: they would go to every member that joins.
            if wants_retained && filter.group().is_none() {
                if subscribed == Subscribed::Replaced {
                    client.end_replay(filter);
                }
                let replay = Replay { filter: filter.clone(), subscription, after: None };
                if let Some(session) = client.number.filter(|_| subscription.qos != Qos::AtMostOnce) {
                    self.keeper.keep(replay.record(session));
                }
                client.replays.make().push_back(replay);
            }
        }
        Ok(Granted { qos, what: What::Messages(subscription) })
    }

    /// `$feedback/` is a view of the session's own verdicts: no router knows it, and no right is needed.
    fn subscribe_feedback(&mut self, slot: u32, filter: &TopicFilter, qos: Qos) -> Granted {
        if let Some(client) = self.clients.get_mut(slot) {
            let feedback = client.feedback.make();
            feedback.retain(|(other, _)| other != filter);
            feedback.push((filter.clone(), qos));
        }
        Granted { qos, what: What::Feedback }
    }

    pub(super) fn unsubscribe(&mut self, key: ConnectionKey, packet: Unsubscribe) {
        let Some(slot) = self.connections.get(key).and_then(|connection| connection.client) else { return };
        let is_kept = self.clients.get(slot).is_some_and(|client| client.number.is_some());
        let reasons = packet.filters.iter().map(|filter| self.unsubscribe_one(slot, filter)).collect();
        let answer = UnsubAck { id: packet.id, reasons, dictionary: Dictionary::EMPTY, accept: Default::default() };
        self.answer_when_kept(key, slot, Packet::UnsubAck(Box::new(answer)), is_kept, Behind::default(), Vec::new());
    }

    fn unsubscribe_one(&mut self, slot: u32, filter: &RequestedFilter) -> Reason {
        let Ok(filter) = filter else { return Reason::TOPIC_FILTER_INVALID };
        let Some(client) = self.clients.get_mut(slot) else { return Reason::NO_SUBSCRIPTION_EXISTED };
        let feedback = client.feedback.len();
        if let Some(feedback) = client.feedback.existing() {
            feedback.retain(|(other, _)| other != filter);
        }
        let existed = feedback > client.feedback.len() || self.forget_subscription(slot, filter);
        if existed { Reason::SUCCESS } else { Reason::NO_SUBSCRIPTION_EXISTED }
    }

    /// A subscription was kept, or was not and is again what it was when it was last kept.
    pub(super) fn subscription_answered(&mut self, slot: u32, filter: &TopicFilter, subscription: Subscription, is_kept: bool) {
        let subscriber = self.subscriber(slot);
        let Some(client) = self.clients.get_mut(slot) else { return };
        let Some(unkept) = &mut client.unkept else { return };
        let Some((last, count)) = unkept.get_mut(filter) else { return };
        if is_kept {
            *last = Some(subscription);
        }
        let last = *last;
        *count = count.saturating_sub(1);
        if *count == 0 {
            unkept.remove(filter);
        }
        if unkept.is_empty() {
            client.unkept = None;
        }
        match last {
            _ if is_kept => {}
            None => {
                self.forget_subscription(slot, filter);
            }
            Some(last) => {
                client.end_replay(filter);
                if let Some(session) = client.number {
                    self.keeper.keep(Record::Replayed { session, filter: filter.clone() });
                }
                client.subscriptions.insert(filter.clone(), last);
                self.shared.routers_mut().subscribe(filter, subscriber, last);
            }
        }
    }

    /// Takes a subscription back, here, in the router and in the store; tells whether there was one.
    pub(super) fn forget_subscription(&mut self, slot: u32, filter: &TopicFilter) -> bool {
        let subscriber = self.subscriber(slot);
        let Some(client) = self.clients.get_mut(slot) else { return false };
        client.end_replay(filter);
        if let Some((last, _)) = client.unkept.as_mut().and_then(|unkept| unkept.get_mut(filter)) {
            *last = None;
        }
        if client.subscriptions.remove(filter).is_none() {
            return false;
        }
        self.count_session(slot);
        let Some(client) = self.clients.get(slot) else { return false };
        if let Some(session) = client.number {
            self.keeper.keep(Record::Unsubscribed { session, filter: filter.clone() });
        }
        self.shared.routers_mut().unsubscribe(filter, subscriber)
    }

    /// A session has subscribed: it gets the first slice of its retained messages in the turn that it is told so.
    pub(super) fn begin_replay(&mut self, slot: u32) {
        if self.clients.get(slot).is_some_and(|client| !client.replays.is_empty()) && !self.more.contains(&slot) {
            self.more.push(slot);
        }
    }

    /// Puts a session in line for the next slice of its retained messages, behind what the turn does for the others: see
    /// [`super::patience`].
    pub(super) fn continue_replay(&mut self, slot: u32) {
        if self.clients.get(slot).is_some_and(|client| !client.replays.is_empty()) && !self.replaying.row.contains(&slot) {
            self.replaying.row.push_back(slot);
        }
    }

    /// Hands out a slice of retained messages, to those who wait longest for more of them.
    pub(super) fn continue_replays(&mut self) {
        if self.replaying.packets_received != self.counts.packets_received {
            (self.replaying.packets_received, self.replaying.heard_ms) = (self.counts.packets_received, self.now.ms);
        }
        let is_alone = self.now.ms > self.replaying.heard_ms + ALONE_MS;
        let mut left = if is_alone { SLICE_ALONE } else { SLICE };
        while left > 0
            && let Some(slot) = self.replaying.row.pop_front()
        {
            left = left.saturating_sub(self.replay_retained(slot, left).max(SLICE_PART_MIN));
        }
    }

    /// Hands out the next of a session's retained messages, `most` of them, if what came before is on its way; tells how many of a slice
    /// that was.
    pub(super) fn replay_retained(&mut self, slot: u32, most: usize) -> usize {
        let Some(client) = self.clients.get_mut(slot) else { return 0 };
        let Some(connection) = client.connection.and_then(|key| self.connections.get(key)) else { return 0 };
        if !client.queue.is_empty() || !connection.has_room(&self.settings) {
            // The pump goes on with it when there is room again.
            return 0;
        }
        let Some(mut replay) = client.replays.existing().and_then(VecDeque::pop_front) else { return 0 };
        let filter = replay.filter.clone();
        let granted = replay.subscription.qos;
        let session = client.number.filter(|_| granted != Qos::AtMostOnce);
        let inner = wrapped::inner(&replay.filter);
        let pattern = inner.as_ref().unwrap_or(&replay.filter).pattern();
        let (mut slice, mut bytes, mut must_wait) = (Vec::<RetainedMessage>::new(), 0, false);
        // A slice ends with its messages or with its work: only the store knows whether more is left.
        let next = {
            let retained = self.shared.retained();
            let next = retained.matching(pattern.as_bytes(), replay.after.as_deref(), most, |message| {
                must_wait = message.must_wait();
                if must_wait {
                    return ControlFlow::Break(());
                }
                slice.push(message.clone());
                bytes += message.envelope.len();
                if bytes < SLICE_BYTES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            next.map(<[u8]>::to_vec)
        };
        let is_over = !must_wait && next.is_none();
        let part = if next.is_some() { most } else { slice.len() };
        let has_moved = !must_wait || !slice.is_empty();
        if must_wait {
            // It goes on in front of the one that it waits for, and looks again in a moment.
            if let Some(last) = slice.last() {
                replay.after = Some(last.envelope.message.topic().to_vec());
            }
            client.replays.make().push_front(replay);
            self.timers.at(self.now.ms + 1, Timer::Pump(slot, client.generation));
        } else if next.is_some() {
            replay.after = next;
            client.replays.make().push_front(replay);
        }
        // In one batch with what the slice is owed: whatever ends before its end, the rest of it comes to the session.
        if let Some(session) = session.filter(|_| has_moved) {
            let record = match client.replays.front().filter(|_| !is_over) {
                Some(replay) => replay.record(session),
                None => Record::Replayed { session, filter },
            };
            self.keeper.keep(record);
        }
        if client.replays.is_empty() {
            client.replays.take();
        }
        let unix_ms = self.now.unix_ms;
        for RetainedMessage { envelope, message, .. } in slice.into_iter().filter(|message| !message.envelope.is_expired(unix_ms)) {
            let qos = envelope.qos.min(granted);
            let carrier = inner.is_some().then(|| wrapped::wrap(&envelope));
            let message = self.keep_retained(slot, message, qos, carrier.as_ref());
            let envelope = carrier.unwrap_or(envelope);
            self.frames.start();
            // Retained messages that do not fit the window wait with the others; there is at most a slice of them.
            self.deliver(&CrossingTarget { slot, qos, retain: true, message, has_place: false }, &envelope, false);
        }
        if !must_wait {
            self.continue_replay(slot);
        }
        part
    }

    /// A session that is kept is owed a retained message too, under another number than as it was published: it may be owed that as
    /// well, or it may be on its way. `carrier`: as what it is sent, where the store does not have that.
    fn keep_retained(&mut self, slot: u32, message: Option<MessageNumber>, qos: Qos, carrier: Option<&Envelope>) -> Option<MessageNumber> {
        let (session, message) = (self.clients.get(slot)?.number?, message?);
        if qos == Qos::AtMostOnce {
            return None;
        }
        let under = self.shared.next_message();
        let owed = Owed { session, qos, retain: true };
        self.keeper.keep(match carrier {
            Some(carrier) => Record::Message { message: under, envelope: carrier.compact(), owed: vec![owed] },
            None => Record::OwedToo { message, under, owed },
        });
        Some(under)
    }
}

fn is_feedback(filter: &TopicFilter) -> bool {
    is_of(filter.pattern().as_bytes(), FEEDBACK)
}

fn check_feedback(client: &Client, filter: &TopicFilter) -> Result<(), Refusal> {
    if filter.group().is_some() {
        let problem = Problem::titled("feedback is private and cannot be shared").field("topic filter").retry(Retry::Never);
        return Err(Refusal::new(Reason::TOPIC_FILTER_INVALID, problem));
    }
    if client.feedback.iter().filter(|(other, _)| other != filter).count() >= FEEDBACK_MAX {
        let limit = FEEDBACK_MAX as u64;
        let problem = Problem::titled("the session has as many filters on feedback as it may have").limit(limit, limit + 1);
        return Err(Refusal::new(Reason::QUOTA_EXCEEDED, problem.retry(Retry::Never)));
    }
    Ok(())
}

/// What a filter was granted.
struct Granted {
    qos: Qos,
    what: What,
}

/// What a filter is about.
enum What {
    Messages(Subscription),
    /// The client's own verdicts.
    Feedback,
    /// An operator's question, which is answered once.
    Question,
}

fn too_many_filters(most: usize, seen: usize) -> Refusal {
    let problem = Problem::titled("a packet with so many topic filters is answered for the first of them").rule("subscriptions_max");
    Refusal::new(Reason::QUOTA_EXCEEDED, problem.limit(most as u64, seen as u64).retry(Retry::Changed))
}

/// What is told behind SUBACK.
#[derive(Default)]
struct Behind {
    listens: bool,
    questions: Vec<(TopicFilter, Qos)>,
}

fn filter_text(filter: &RequestedFilter) -> &str {
    match filter {
        Ok(filter) => filter.as_str(),
        Err((text, _)) => text,
    }
}
