//! What all shards have in common: the routers and the retained messages, read far more than written, and the numbers that no two
//! of them may give out twice.

use super::dead_letter::{DeadLetterSettings, DeadLetters};
use super::memory::Memory;
use super::report::Desk;
use super::roll::Roll;
use super::routers::Routers;
use super::sys::Numbers;
use crate::message::Envelope;
use crate::queue::Namespaces;
use crate::router::{Picks, Retained, Subscriber, Targets, Topical};
use crate::store::state::State;
use crate::store::{MessageNumber, SessionNumber};
use candor_protocol::packet::{Durability, Qos};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Who gets a message: the last answer, and of which edition of the router it is.
#[derive(Debug, Default)]
pub(super) struct Matches {
    pub targets: Targets,
    pub picks: Picks,
    pub wrapped_targets: Targets,
    pub wrapped_picks: Picks,
    edition: Option<u64>,
    /// Nobody got a message by this answer yet: it is given once more, and the turns of groups that were taken with it are not lost.
    pub is_unused: bool,
}

impl Matches {
    /// Whether somebody gets the message wrapped.
    pub(super) fn has_wrapped(&self) -> bool {
        !(self.wrapped_targets.is_empty() && self.wrapped_picks.is_empty())
    }

    /// Takes an answer by routers that [`Routers::are_matched_together`], and leaves the targets that were here.
    pub(super) fn take_targets(&mut self, targets: &mut Targets, edition: u64) {
        std::mem::swap(&mut self.targets, targets);
        if self.has_wrapped() || !self.picks.is_empty() {
            (self.picks, self.wrapped_targets, self.wrapped_picks) = Default::default();
        }
        self.edition = Some(edition);
        self.is_unused = false;
    }
}

/// The retained messages, for one who changes them.
pub(super) type RetainedGuard<'a> = RwLockWriteGuard<'a, Retained<RetainedMessage>>;

/// A retained message.
#[derive(Debug, Clone)]
pub struct RetainedMessage {
    pub envelope: Envelope,
    /// The number under which it is kept.
    pub message: Option<MessageNumber>,
    /// As long as its receipt has not come.
    pub unkept: Option<Box<Unkept>>,
}

/// A retained message whose receipt has not come.
#[derive(Debug, Clone)]
pub struct Unkept {
    /// It is of QoS 2: who subscribes waits for its receipt too.
    pub must_wait: bool,
    /// What was kept for the topic before, and is again if this is not.
    pub before: Option<RetainedMessage>,
    /// The first of the messages in this place that follow each other without a receipt. What was there before a clearing is no
    /// part of it.
    pub since: Option<MessageNumber>,
}

impl RetainedMessage {
    pub fn new(envelope: Envelope, message: Option<MessageNumber>) -> Self {
        Self { envelope, message, unkept: None }
    }

    /// What is as durable for its topic as it will be.
    fn into_kept(self) -> Option<Self> {
        match self.unkept {
            Some(unkept) => unkept.before,
            None => Some(self),
        }
    }

    pub fn must_wait(&self) -> bool {
        self.unkept.as_ref().is_some_and(|unkept| unkept.must_wait)
    }
}

impl Topical for RetainedMessage {
    fn topic(&self) -> &[u8] {
        self.envelope.message.topic()
    }

    fn bytes(&self) -> usize {
        self.envelope.len()
    }
}

/// What all shards have in common.
#[derive(Debug, Default)]
pub struct Shared {
    /// Of the engine, where there is one.
    durability: Durability,
    routers: RwLock<Routers>,
    /// Another after every change of the routers.
    router_edition: AtomicU64,
    retained: RwLock<Retained<RetainedMessage>>,
    /// Connections that have a session, of all shards.
    pub(super) connections: AtomicUsize,
    /// By shard.
    rolls: Vec<Roll>,
    last_session: AtomicU64,
    last_message: AtomicU64,
    /// Changed under the lock of the retained messages.
    last_version: AtomicU64,
    pub(super) memory: Memory,
    pub(super) dead_letters: DeadLetters,
    /// Reports that are done, by the shard of the publisher.
    desks: Vec<Arc<Desk>>,
    /// What each shard last wrote down for `$SYS/`, by index.
    pub(super) numbers: Mutex<BTreeMap<u16, Numbers>>,
}

impl Shared {
    pub fn new(shards: u16) -> Self {
        let of_all = 0..shards.max(1);
        Self {
            rolls: of_all.clone().map(|_| Roll::default()).collect(),
            desks: of_all.map(|_| Arc::default()).collect(),
            ..Self::default()
        }
    }

    /// Goes on where an earlier process has ended.
    pub fn restore(&mut self, durability: Durability, state: &State) {
        self.durability = durability;
        *self.last_session.get_mut() = state.last_session;
        *self.last_message.get_mut() = state.last_message;
        *self.last_version.get_mut() = state.last_version;
    }

    /// Where dead letters are kept, and counted.
    pub fn keep_dead_letters(&mut self, settings: &DeadLetterSettings) {
        self.dead_letters = DeadLetters::new(settings);
    }

    /// Which namespaces have limits that publishers learn of.
    pub fn divide(&mut self, namespaces: &Namespaces) {
        self.rolls.iter_mut().for_each(|roll| roll.divide(namespaces));
    }

    pub fn durability(&self) -> Durability {
        self.durability
    }

    // A thread that panicked while it held a lock leaves data behind that is whole between its calls: go on with it.
    pub fn routers(&self) -> RwLockReadGuard<'_, Routers> {
        self.routers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The routers, and of which edition answers by them are.
    pub(super) fn routers_and_edition(&self) -> (RwLockReadGuard<'_, Routers>, u64) {
        let routers = self.routers();
        // No writer is there now, so this is the edition that is read.
        let edition = self.edition();
        (routers, edition)
    }

    #[inline]
    fn edition(&self) -> u64 {
        self.router_edition.load(Ordering::Acquire)
    }

    pub fn routers_mut(&self) -> RwLockWriteGuard<'_, Routers> {
        let routers = self.routers.write().unwrap_or_else(PoisonError::into_inner);
        // Under the lock and before the change: who still sees the old number comes before it, who sees the new one waits for it.
        self.router_edition.fetch_add(1, Ordering::Release);
        routers
    }

    /// Finds who gets a message to this topic name. While no subscription changes, the answer to the same question needs no lock;
    /// but one of a group is picked anew for each message.
    pub(super) fn matching(&self, topic: &[u8], matches: &mut Matches) {
        let is_asked_again = matches.targets.is_about(topic);
        let has_answer = |matches: &Matches, edition| is_asked_again && matches.edition == Some(edition);
        let is_unused = std::mem::take(&mut matches.is_unused);
        if (is_unused || matches.picks.is_empty() && matches.wrapped_picks.is_empty()) && has_answer(matches, self.edition()) {
            return;
        }
        let (routers, edition) = self.routers_and_edition();
        if has_answer(matches, edition) {
            return routers.pick_again(topic, matches);
        }
        matches.edition = Some(edition);
        routers.matching(topic, matches);
    }

    /// Whether an answer is given again without a look at the routers, to the same question.
    #[inline]
    pub(super) fn holds(&self, matches: &Matches) -> bool {
        let has_turns = !(matches.picks.is_empty() && matches.wrapped_picks.is_empty()) || matches.is_unused;
        !has_turns && matches.edition == Some(self.edition())
    }

    /// Those to whom a message on this topic goes whoever's turn it is: no picks of shared groups, of which nobody has a turn by this.
    pub(super) fn targets(&self, topic: &[u8]) -> Matches {
        let mut matches = Matches::default();
        self.routers().targets(topic, &mut matches);
        matches
    }

    pub fn retained(&self) -> RwLockReadGuard<'_, Retained<RetainedMessage>> {
        self.retained.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn retained_mut(&self) -> RetainedGuard<'_> {
        self.retained.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in its topic's place; one with a number will have a receipt, see [`Shared::retained_answered`].
    pub(super) fn retain(&self, retained: &mut Retained<RetainedMessage>, mut envelope: Envelope, message: Option<MessageNumber>) {
        // A report is about those who get the message now.
        if envelope.report().is_some()
            && let Some(stamps) = &mut envelope.stamps
        {
            Arc::make_mut(stamps).report = None;
        }
        let before = retained.get(envelope.message.topic()).filter(|_| message.is_some()).cloned();
        let since = before.as_ref().and_then(|before| before.unkept.as_ref()?.since);
        let unkept = message.is_some().then(|| {
            let must_wait = envelope.qos == Qos::ExactlyOnce;
            Box::new(Unkept { must_wait, since: since.or(message), before: before.and_then(RetainedMessage::into_kept) })
        });
        self.put(retained, RetainedMessage { envelope, message, unkept });
    }

    /// Puts a message in its topic's place, as it is.
    pub(super) fn put(&self, retained: &mut Retained<RetainedMessage>, message: RetainedMessage) {
        self.dead_letters.changed(None, Some(&message));
        let before = retained.set(message);
        self.dead_letters.changed(before.as_ref(), None);
    }

    /// Takes the message of a topic away.
    pub(super) fn take(&self, retained: &mut Retained<RetainedMessage>, topic: &[u8]) {
        let before = retained.remove(topic);
        self.dead_letters.changed(before.as_ref(), None);
    }

    /// A retained message was kept, or was not. If others have taken its place meanwhile, it may still be what was before them.
    pub(super) fn retained_answered(&self, answered: RetainedMessage, is_kept: bool) {
        let mut retained = self.retained_mut();
        let Some(mut found) = retained.get(answered.topic()).cloned() else { return };
        if found.message == answered.message {
            match (is_kept, found.unkept.take().and_then(|unkept| unkept.before)) {
                (true, _) => self.put(&mut retained, found),
                (false, Some(before)) => self.put(&mut retained, before),
                (false, None) => self.take(&mut retained, answered.topic()),
            }
        } else if let Some(unkept) = found.unkept.as_mut().filter(|_| is_kept)
            && answered.message >= unkept.since
            && unkept.before.as_ref().is_none_or(|before| before.message < answered.message)
        {
            unkept.before = Some(answered);
            self.put(&mut retained, found);
        }
        self.memory.retained.store(retained.bytes(), Ordering::Relaxed);
    }

    pub(super) fn desk(&self, shard: u16) -> Option<&Arc<Desk>> {
        self.desks.get(usize::from(shard))
    }

    pub fn roll(&self, shard: u16) -> Option<&Roll> {
        self.rolls.get(usize::from(shard))
    }

    /// The number under which a subscriber's session is kept.
    pub fn session(&self, subscriber: Subscriber) -> Option<SessionNumber> {
        self.roll(subscriber.shard)?.session(subscriber.slot)
    }

    /// A number that no session had before.
    pub(super) fn next_session(&self) -> SessionNumber {
        SessionNumber(self.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A number that no message had before.
    pub(super) fn next_message(&self) -> MessageNumber {
        MessageNumber(self.last_message.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The next version of a retained message, for one that holds the lock.
    pub(super) fn next_version(&self) -> u64 {
        self.last_version.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Subscription;
    use candor_protocol::packet::TopicFilter;

    fn slots(shared: &Shared, matches: &mut Matches, topic: &str) -> (Vec<u32>, Vec<u32>) {
        shared.matching(topic.as_bytes(), matches);
        let targets = matches.targets.iter().map(|target| target.subscriber.slot).collect();
        (targets, matches.picks.as_slice().iter().map(|pick| pick.target.subscriber.slot).collect())
    }

    #[test]
    fn an_answer_is_given_again_until_a_subscription_changes_and_a_group_takes_turns() {
        let shared = Shared::new(1);
        let mut matches = Matches::default();
        let subscribe = |filter: &str, slot| {
            let filter = TopicFilter::new(filter).unwrap();
            shared.routers_mut().subscribe(&filter, Subscriber { shard: 0, slot }, Subscription::default());
        };
        assert_eq!(slots(&shared, &mut matches, "a"), (vec![], vec![]));
        subscribe("a", 1);
        for _ in 0..2 {
            assert_eq!(slots(&shared, &mut matches, "a"), (vec![1], vec![]));
        }
        assert_eq!(slots(&shared, &mut matches, "b"), (vec![], vec![]));
        subscribe("$share/g/a", 7);
        subscribe("$share/g/a", 8);
        let mut turns: Vec<u32> = (0..4).flat_map(|_| slots(&shared, &mut matches, "a").1).collect();
        turns.sort_unstable();
        assert_eq!(turns, [7, 7, 8, 8]);
        assert_eq!(slots(&shared, &mut matches, "a").0, [1]);
        // Whose turn it was when nobody got anything has it still, unless something else is asked or has changed.
        let turn = slots(&shared, &mut matches, "a").1;
        for _ in 0..3 {
            matches.is_unused = true;
            assert!(!shared.holds(&matches));
            assert_eq!(slots(&shared, &mut matches, "a").1, turn);
        }
        matches.is_unused = true;
        assert_eq!(slots(&shared, &mut matches, "b"), (vec![], vec![]));
        assert!(shared.holds(&matches));
        subscribe("b", 2);
        matches.is_unused = true;
        assert!(!shared.holds(&matches));
        assert_eq!(slots(&shared, &mut matches, "b").0, [2]);
    }
}
