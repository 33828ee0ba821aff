//! The fold: what follows from one more record.

use super::weight::{GAP, OWED, TAKEN};
use super::{KeptSession, OwedMessage, State};
use crate::message::Envelope;
use crate::store::record::{MessageNumber, Owed, Record, SessionNumber, Whose};
use candor_protocol::session::SessionState;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

impl State {
    /// What follows from one more record. A record that refers to what is not there any more changes nothing: a session may end
    /// while a message for it is under way.
    ///
    /// A message that lost its last reference may be referred to again until [`State::end_group`]: one member of a group
    /// releases it, another is owed it, in one batch and in any order.
    pub fn apply(&mut self, record: &Record) {
        self.count_numbers(record);
        match record {
            Record::Message { message, envelope, owed } => self.message(*message, envelope, owed),
            Record::OwedToo { message, under, owed } if self.is_known(*message) => self.owe(*under, *message, owed),
            Record::Settled { session, message } => drop(self.settle(*session, *message)),
            Record::Dropped { session, message, reason } => self.give_up(*session, *message, reason.0),
            Record::Retained { message, version } => {
                if let Some(topic) = self.topic(*message).cloned()
                    && self.is_newer(&topic, *version)
                {
                    self.refer(*message);
                    self.set_retained(topic, Some(*message), *version);
                }
            }
            Record::RetainedCleared { topic, version } if self.is_newer(topic, *version) => {
                self.set_retained(Arc::clone(topic), None, *version);
            }
            Record::WillArmed { whose, message } if self.is_known(*message) => self.arm(whose, *message),
            Record::WillDisarmed { client_id, message } | Record::WillPublished { client_id, message } => {
                // The client may be back, with another one.
                if self.wills.get(client_id).is_some_and(|(_, armed)| armed == message) {
                    self.disarm(client_id);
                }
            }
            Record::Verdict { whose, number, replaces, verdict } => {
                replaces.iter().for_each(|number| self.take_verdict(whose, *number));
                self.add_verdict(whose, *number, verdict);
            }
            Record::EndTold { client_id } => self.forget_end(client_id),
            Record::SessionBegun { session, client_id, principal, incarnation } => {
                self.begin(*session, KeptSession::new(client_id, principal, *incarnation));
            }
            Record::SessionEnded { session, why, unix_ms } => self.end(*session, *why, *unix_ms),
            Record::OwedToo { .. } | Record::RetainedCleared { .. } | Record::WillArmed { .. } => {}
            other => self.session_step(other),
        }
    }

    /// The steps that are about one session alone.
    fn session_step(&mut self, record: &Record) {
        let Some(session) = record.session() else { return };
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        match record {
            Record::SessionAttached { expiry_s, .. } => {
                kept.expiry_s = *expiry_s;
                kept.is_attached = true;
                kept.expires_at_ms = None;
            }
            Record::SessionParked { expires_at_ms, was_extended, .. } => {
                kept.is_attached = false;
                kept.expires_at_ms = *expires_at_ms;
                kept.was_extended = *was_extended;
            }
            Record::Subscribed { filter, subscription, .. } => {
                let is_new = kept.subscriptions.insert(filter.clone(), *subscription).is_none();
                self.weight += if is_new { Self::filter_weight(filter) } else { 0 };
            }
            Record::Unsubscribed { filter, .. } => {
                let is_gone = kept.subscriptions.remove(filter).is_some();
                self.weight -= if is_gone { Self::filter_weight(filter) } else { 0 };
                self.weight -= kept.replays.remove(filter).map_or(0, |after| Self::replay_weight(filter, &after));
            }
            Record::Replaying { filter, after, .. } if kept.subscriptions.contains_key(filter) => {
                self.weight += Self::replay_weight(filter, after);
                let before = kept.replays.insert(filter.clone(), Arc::clone(after));
                self.weight -= before.map_or(0, |before| Self::replay_weight(filter, &before));
            }
            Record::Replayed { filter, .. } => {
                self.weight -= kept.replays.remove(filter).map_or(0, |after| Self::replay_weight(filter, &after));
            }
            Record::Sent { message, id, .. } => kept.sent(*message, *id),
            Record::Received { message, .. } => kept.received(*message),
            Record::Returned { message, redelivery_count, .. } => kept.returned(*message, *redelivery_count),
            Record::GapTold { .. } => {
                self.weight -= kept.gap.len() as u64 * GAP;
                kept.gap.clear();
            }
            Record::Taken { id, .. } => self.weight += if kept.taken.insert(*id) { TAKEN } else { 0 },
            Record::Released { id, .. } => self.weight -= if kept.taken.remove(id) { TAKEN } else { 0 },
            _ => {}
        }
    }

    /// Forgets the messages that nothing refers to, and says which: at the end of the batches that are kept together.
    pub fn end_group(&mut self) -> Vec<MessageNumber> {
        self.topics.clear();
        let mut gone = std::mem::take(&mut self.suspects);
        gone.retain(|message| self.references.get(message) == Some(&0));
        gone.sort_unstable();
        gone.dedup();
        for message in &gone {
            self.references.remove(message);
        }
        gone
    }

    /// Whether the message is kept, so that more can be owed it.
    pub fn is_known(&self, message: MessageNumber) -> bool {
        self.replaying || self.references.contains_key(&message)
    }

    /// The topic of a message that may become retained: one of this group, or a will.
    pub(in crate::store) fn topic(&self, message: MessageNumber) -> Option<&Arc<[u8]>> {
        self.topics.get(&message).or_else(|| self.will_topics.get(&message))
    }

    fn is_newer(&self, topic: &[u8], version: u64) -> bool {
        self.retained.get(topic).is_none_or(|(_, other)| version > *other)
    }

    /// What a record shows of the numbers that were given out. A number stays given out when what it named is not kept.
    pub(in crate::store) fn count_numbers(&mut self, record: &Record) {
        match record {
            Record::SessionBegun { session, .. } => self.last_session = self.last_session.max(session.0),
            Record::Message { message, .. } | Record::OwedToo { under: message, .. } => {
                self.last_message = self.last_message.max(message.0);
            }
            Record::Retained { version, .. } | Record::RetainedCleared { version, .. } => {
                self.last_version = self.last_version.max(*version)
            }
            _ => {}
        }
    }

    fn message(&mut self, message: MessageNumber, envelope: &Envelope, owed: &[Owed]) {
        if !self.replaying {
            self.references.entry(message).or_insert(0);
            self.suspects.push(message);
        }
        self.topics.insert(message, envelope.message.topic().into());
        owed.iter().for_each(|owed| self.owe(message, message, owed));
    }

    fn owe(&mut self, message: MessageNumber, body: MessageNumber, owed: &Owed) {
        if let Some(kept) = self.sessions.get_mut(&owed.session) {
            kept.owe(message, body, owed);
            self.weight += OWED;
            self.refer_owed(message, body);
        }
    }

    /// The session is owed the message no more; whether it was.
    fn settle(&mut self, session: SessionNumber, message: MessageNumber) -> bool {
        let Some(settled) = self.sessions.get_mut(&session).and_then(|kept| kept.settle(message)) else { return false };
        self.weight -= OWED;
        self.unrefer_owed(&settled);
        true
    }

    fn give_up(&mut self, session: SessionNumber, message: MessageNumber, reason: u8) {
        if !self.settle(session, message) {
            return;
        }
        let Some(kept) = self.sessions.get_mut(&session) else { return };
        let gap_len = kept.gap.len();
        *kept.gap.entry(reason).or_insert(0) += 1;
        self.weight += (kept.gap.len() - gap_len) as u64 * GAP;
    }

    /// The message that is owed under a number.
    pub fn body(&self, message: MessageNumber) -> MessageNumber {
        self.bodies.get(&message).copied().unwrap_or(message)
    }

    fn refer_owed(&mut self, message: MessageNumber, body: MessageNumber) {
        if message != body {
            self.bodies.insert(message, body);
        }
        self.refer(body);
    }

    fn unrefer_owed(&mut self, owed: &OwedMessage) {
        if owed.message != owed.body {
            self.bodies.remove(&owed.message);
        }
        self.unrefer(owed.body);
    }

    pub(super) fn begin(&mut self, session: SessionNumber, kept: KeptSession) {
        if let Some(old) = self.sessions.remove(&session) {
            self.forget_session(&old);
        }
        self.weight += Self::session_weight(&kept);
        kept.owed.iter().for_each(|owed| self.refer_owed(owed.message, owed.body));
        self.sessions.insert(session, kept);
    }

    fn end(&mut self, session: SessionNumber, why: SessionState, unix_ms: u64) {
        if let Some(kept) = self.sessions.remove(&session) {
            self.forget_session(&kept);
            if why != SessionState::New {
                self.remember_end(&kept.client_id, why, unix_ms);
            }
        }
    }

    fn forget_session(&mut self, kept: &KeptSession) {
        self.weight -= Self::session_weight(kept);
        kept.owed.iter().for_each(|owed| self.unrefer_owed(owed));
    }

    pub(super) fn arm(&mut self, whose: &Whose, message: MessageNumber) {
        self.refer(message);
        self.weight += Self::will_weight(whose);
        if let Some(topic) = self.topics.get(&message) {
            self.will_topics.insert(message, Arc::clone(topic));
        }
        if let Some((old, message)) = self.wills.insert(Arc::clone(&whose.client_id), (whose.clone(), message)) {
            self.forget_will(&old, message);
        }
    }

    fn disarm(&mut self, client_id: &Arc<str>) {
        if let Some((whose, message)) = self.wills.remove(client_id) {
            self.forget_will(&whose, message);
        }
    }

    fn forget_will(&mut self, whose: &Whose, message: MessageNumber) {
        self.weight -= Self::will_weight(whose);
        if self.wills.get(&whose.client_id).is_none_or(|(_, other)| *other != message)
            && let Some(topic) = self.will_topics.remove(&message)
        {
            // It may be about to be retained: it was published.
            self.topics.insert(message, topic);
        }
        self.unrefer(message);
    }

    pub(super) fn refer(&mut self, message: MessageNumber) {
        if !self.replaying {
            *self.references.entry(message).or_insert(0) += 1;
        }
    }

    pub(super) fn unrefer(&mut self, message: MessageNumber) {
        if let Some(references) = self.references.get_mut(&message)
            && !self.replaying
        {
            *references = references.saturating_sub(1);
            if *references == 0 {
                self.suspects.push(message);
            }
        }
    }
}

impl KeptSession {
    pub(super) fn new(client_id: &Arc<str>, principal: &Arc<str>, incarnation: u64) -> Self {
        Self {
            client_id: Arc::clone(client_id),
            principal: Arc::clone(principal),
            incarnation,
            expiry_s: 0,
            is_attached: false,
            expires_at_ms: None,
            was_extended: false,
            subscriptions: HashMap::new(),
            replays: HashMap::new(),
            owed: VecDeque::new(),
            taken: HashSet::new(),
            gap: BTreeMap::new(),
        }
    }
}
