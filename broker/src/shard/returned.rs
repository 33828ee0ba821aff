//! What a subscriber gives back unsettled: to another member of its group, to the front of its queue, or aside until its time has
//! come; and how long it then gets nothing, so that whoever gives everything back costs little.

use super::keeping::Then;
use super::timers::Timer;
use super::{Crossing, CrossingTarget, Shard};
use crate::message::Envelope;
use crate::queue::Waiting;
use crate::rare::Blank;
use crate::router::{Subscriber, Target};
use crate::store::record::Owed;
use crate::store::{MessageNumber, Record};
use candor_protocol::packet::{Qos, Reason, TopicFilter};

/// How long deliveries pause after a message was released for the first time; each pause in a row is twice as long.
const PAUSE_MS: u64 = 100;
const DOUBLINGS: u32 = 7;
/// The longest delay that a client may ask for.
const DELAY_MS_MAX: u64 = 3_600_000;

/// How a session is spared after it has given something back. Times are on the clock that never runs back.
#[derive(Debug, Default)]
pub struct Pause {
    /// Deliveries wait until then.
    pub until_ms: u64,
    /// It takes no turn in its groups until then.
    rests_until_ms: u64,
    is_resting: bool,
    /// How many pauses in a row followed on releases.
    releases: u32,
    /// A timer is set for then.
    wakes_at_ms: Option<u64>,
}

impl Blank for Pause {
    const BLANK: &'static Self = &Self { until_ms: 0, rests_until_ms: 0, is_resting: false, releases: 0, wakes_at_ms: None };
}

impl Pause {
    /// A message was accepted.
    pub(super) fn is_over(&mut self) {
        self.releases = 0;
    }

    /// The length of the pause that begins; none does while one lasts.
    fn begin_ms(&mut self, now_ms: u64) -> u64 {
        let last_ms = self.until_ms.max(self.rests_until_ms);
        if now_ms < last_ms {
            return last_ms - now_ms;
        }
        self.releases += 1;
        PAUSE_MS << (self.releases - 1).min(DOUBLINGS)
    }
}

/// A message that its subscriber gave back.
#[derive(Debug)]
pub(super) struct Returned {
    pub envelope: Envelope,
    pub qos: Qos,
    pub retain: bool,
    /// How many times it was handed out.
    pub redelivery_count: u32,
    pub message: Option<MessageNumber>,
}

/// A message on its way from one member of a group to another.
#[derive(Debug)]
pub(super) struct HandOver {
    from: u32,
    to: Target,
    returned: Returned,
    /// The number under which its new member is owed it.
    message: Option<MessageNumber>,
}

/// By which subscriptions a session gets a topic.
#[derive(Debug, Default)]
struct Origin {
    /// The only one, if it is one of a group.
    group: Option<TopicFilter>,
    /// Each lets others pass what was put off.
    is_unordered: bool,
}

impl Shard {
    /// Takes a message back from a subscriber.
    pub(super) fn give_back(&mut self, slot: u32, returned: Returned, reason: Reason, delay_ms: Option<u64>) {
        let origin = self.origin(slot, returned.envelope.message.topic_str());
        if reason == Reason::MODIFIED
            && let Some(delay_ms) = delay_ms
        {
            // No less than the pause behind a release, or a message would go to and fro without one.
            return self.put_off(slot, returned, delay_ms.clamp(PAUSE_MS, DELAY_MS_MAX), origin.is_unordered);
        }
        match origin.group.and_then(|group| self.other_member(slot, &group, &returned)) {
            Some(to) => self.hand_over(slot, to, returned),
            None => self.keep_at_head(slot, returned),
        }
    }

    /// Which of its subscriptions a session gets a topic by. Asked only for what comes back, so that nothing is noted for what does
    /// not. Of a message that several brought, or may have, nobody knows which did: it belongs to no group.
    fn origin(&self, slot: u32, topic: &str) -> Origin {
        let Some(client) = self.clients.get(slot) else { return Origin::default() };
        let mut matching = client.subscriptions.iter().filter(|(filter, _)| filter.matches(topic));
        let Some((first, subscription)) = matching.next() else { return Origin::default() };
        let (mut is_unordered, mut is_only) = (subscription.unordered, true);
        for (_, other) in matching {
            (is_unordered, is_only) = (is_unordered && other.unordered, false);
        }
        Origin { group: Some(first.clone()).filter(|filter| is_only && filter.group().is_some()), is_unordered }
    }

    /// Another member of the group that can take a message now, as durably as it is kept here.
    fn other_member(&self, slot: u32, group: &TopicFilter, returned: &Returned) -> Option<Target> {
        if self.keeper.failure().is_some() {
            return None;
        }
        let to = self.shared.routers().other_member(group, &[self.subscriber(slot)])?;
        let is_kept = returned.message.is_none() || self.shared.session(to.subscriber).is_some();
        let can_settle = to.subscription.qos != Qos::AtMostOnce;
        let space = self.settings.namespaces.of(returned.envelope.message.topic_str());
        (is_kept && can_settle && self.has_room(to.subscriber, space)).then_some(to)
    }

    /// Hands a message to another member: it is owed it before the first is not, in one step.
    fn hand_over(&mut self, slot: u32, to: Target, returned: Returned) {
        self.rest(slot);
        let qos = returned.qos.min(to.subscription.qos);
        let message = self.shared.session(to.subscriber).filter(|_| self.keeper.keeps()).map(|session| {
            // Under a number of its own: the new member may be owed the message by another of its subscriptions.
            let message = self.shared.next_message();
            let owed = vec![Owed { session, qos, retain: returned.retain }];
            self.keeper.keep(Record::Message { message, envelope: returned.envelope.compact(), owed });
            self.keeper.keep(Record::Returned { session, message, redelivery_count: returned.redelivery_count });
            message
        });
        self.settle_kept(slot, returned.message);
        self.keeper.then(Then::HandOver(Box::new(HandOver { from: slot, to, returned, message })));
    }

    /// A message that was handed over is kept for its new member, or is not: then the first has it again, in memory.
    pub(super) fn handed_over(&mut self, over: HandOver, is_kept: bool) {
        let HandOver { from, to, returned, message } = over;
        if !is_kept && message.is_some() {
            return self.keep_at_head(from, Returned { message: None, ..returned });
        }
        let Returned { envelope, qos, retain, redelivery_count, .. } = returned;
        let Subscriber { shard, slot } = to.subscriber;
        let target = CrossingTarget { slot, qos: qos.min(to.subscription.qos), retain, message, has_place: false };
        if shard == self.index {
            self.take_over_message(&target, &envelope, redelivery_count);
        } else if let Some(crossings) = self.effects.crossings.get_mut(usize::from(shard)) {
            crossings.push(Crossing { envelope: envelope.compact(), targets: vec![target], redelivery_count });
        }
    }

    /// A session gets a message that another member gave back: before everything that was not handed out yet.
    pub(super) fn take_over_message(&mut self, target: &CrossingTarget, envelope: &Envelope, redelivery_count: u32) {
        let CrossingTarget { slot, qos, retain, message, .. } = *target;
        let Some(client) = self.clients.get_mut(slot) else { return };
        let message = message.filter(|_| client.number.is_some());
        let space = self.settings.namespaces.of(envelope.message.topic_str());
        client.queue.put_back(Waiting { envelope: envelope.clone(), qos, retain, redelivery_count, message, space, has_place: true });
        self.unload(slot);
        self.note_room(slot);
        self.pump(slot);
    }

    /// The message stays with its session, and deliveries pause.
    fn keep_at_head(&mut self, slot: u32, returned: Returned) {
        let now_ms = self.now.ms;
        let Some(client) = self.clients.get_mut(slot) else { return };
        let pause = client.pause.make();
        pause.until_ms = now_ms + pause.begin_ms(now_ms);
        self.rest(slot);
        self.put_back(slot, returned, None);
    }

    /// The message comes again when the delay is over; what is behind it waits too, unless the subscriber lets it pass.
    fn put_off(&mut self, slot: u32, returned: Returned, delay_ms: u64, is_unordered: bool) {
        let until_ms = self.now.ms + delay_ms;
        if !is_unordered && let Some(client) = self.clients.get_mut(slot) {
            client.pause.make().until_ms = client.pause.until_ms.max(until_ms);
            self.rest(slot);
        }
        self.put_back(slot, returned, Some(until_ms).filter(|_| is_unordered));
    }

    fn put_back(&mut self, slot: u32, returned: Returned, aside_until_ms: Option<u64>) {
        let Returned { envelope, qos, retain, redelivery_count, message } = returned;
        let Some(client) = self.clients.get_mut(slot) else { return };
        if let Some((session, message)) = client.number.zip(message) {
            self.keeper.keep(Record::Returned { session, message, redelivery_count });
        }
        let space = self.settings.namespaces.of(envelope.message.topic_str());
        let waiting = Waiting { envelope, qos, retain, redelivery_count, message, space, has_place: true };
        match aside_until_ms {
            Some(until_ms) => client.queue.set_aside(waiting, until_ms),
            None => client.queue.put_back(waiting),
        }
        self.count_session(slot);
        self.note_room(slot);
        self.wake_later(slot);
    }

    /// The session takes no turn in its groups for a while.
    fn rest(&mut self, slot: u32) {
        let now_ms = self.now.ms;
        let Some(client) = self.clients.get_mut(slot) else { return };
        let pause = client.pause.make();
        pause.rests_until_ms = now_ms + pause.begin_ms(now_ms);
        if !std::mem::replace(&mut pause.is_resting, true) {
            self.set_available(slot, false);
        }
        self.wake_later(slot);
    }

    /// What is over of a session's pauses is over.
    pub(super) fn wake(&mut self, slot: u32) {
        let now_ms = self.now.ms;
        let Some(client) = self.clients.get_mut(slot) else { return };
        client.queue.take_up(now_ms);
        if let Some(pause) = client.pause.existing()
            && pause.is_resting
            && now_ms >= pause.rests_until_ms
        {
            pause.is_resting = false;
            if client.connection.is_some() && client.parked.is_none() {
                self.set_available(slot, true);
            }
        }
        self.pump(slot);
        self.wake_later(slot);
    }

    /// A connection has taken the session up: its timer was that of the one before.
    pub(super) fn wake_again(&mut self, slot: u32) {
        if let Some(client) = self.clients.get_mut(slot) {
            if let Some(pause) = client.pause.existing() {
                (pause.wakes_at_ms, pause.is_resting) = (None, false);
            }
            self.wake(slot);
        }
    }

    /// Sets the timer for what is over next; one at a time.
    fn wake_later(&mut self, slot: u32) {
        let now_ms = self.now.ms;
        let Some(client) = self.clients.get_mut(slot) else { return };
        let pauses = [client.pause.until_ms, client.pause.rests_until_ms].into_iter().filter(|until_ms| *until_ms > now_ms);
        let Some(next_ms) = pauses.chain(client.queue.next_ms()).min() else { return };
        if client.pause.wakes_at_ms.is_none_or(|at_ms| at_ms <= now_ms || next_ms < at_ms) {
            client.pause.make().wakes_at_ms = Some(next_ms);
            self.timers.at(next_ms, Timer::Wake(slot, client.generation));
        }
    }

    /// The session is owed a message no more.
    pub(super) fn settle_kept(&mut self, slot: u32, message: Option<MessageNumber>) {
        let session = self.clients.get(slot).and_then(|client| client.number);
        if let Some((session, message)) = session.zip(message) {
            self.keeper.keep(Record::Settled { session, message });
        }
    }
}
