//! What is kept of a session, and what each record makes of it.

use super::Record;
use bytes::Bytes;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{PacketId, Qos, TopicFilter};
use candor_protocol::session::Delivery;
use std::collections::{BTreeMap, BTreeSet};

/// A message to the server that is not settled.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    pub delivery: Delivery,
    /// The identifier it was sent under; `None`: it was not sent.
    pub id: Option<PacketId>,
    /// PUBREC came.
    pub received: bool,
}

/// A subscription that the session has.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSubscription {
    pub filter: TopicFilter,
    pub qos: Qos,
    /// Its options and requirement, as they were asked for.
    pub item: Dictionary,
}

/// Everything that is kept of one session.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StoredSession {
    /// Whose it is; empty: no server has had it yet.
    pub client_id: String,
    /// The server's name for this life of the session; empty where it gives none.
    pub incarnation: Bytes,
    /// Messages to the server, in the order in which they were handed over.
    pub messages: BTreeMap<u64, StoredMessage>,
    /// The highest number that a message ever had.
    pub last_number: u64,
    /// QoS 2 identifiers of the server's messages that were accepted and are not released.
    pub taken: BTreeSet<PacketId>,
    pub subscriptions: Vec<StoredSubscription>,
    /// What the application wanted to find again; empty: nothing.
    pub mark: Bytes,
}

impl StoredSession {
    /// Whether a server has had this session.
    pub fn has_begun(&self) -> bool {
        !self.client_id.is_empty()
    }

    /// Takes a step.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Begun { client_id, incarnation } => {
                (self.client_id, self.incarnation) = (client_id.clone(), incarnation.clone());
            }
            Record::Lost => {
                self.taken.clear();
                for message in self.messages.values_mut() {
                    (message.id, message.received) = (None, false);
                }
            }
            Record::Accepted { number, delivery, mark } => {
                self.last_number = self.last_number.max(*number);
                self.messages.insert(*number, StoredMessage { delivery: delivery.clone(), id: None, received: false });
                self.note(mark.as_ref());
            }
            Record::Numbered { number } => self.last_number = self.last_number.max(*number),
            Record::Sent { number, id } => {
                if let Some(message) = self.messages.get_mut(number) {
                    message.id = Some(*id);
                }
            }
            Record::Received { id } => {
                if let Some(message) = self.messages.values_mut().find(|message| message.id == Some(*id)) {
                    message.received = true;
                }
            }
            Record::Settled { number } => drop(self.messages.remove(number)),
            Record::Taken { id, mark } => {
                self.taken.insert(*id);
                self.note(mark.as_ref());
            }
            Record::Released { id } => drop(self.taken.remove(id)),
            Record::Marked { mark } => self.mark.clone_from(mark),
            Record::Subscribed { filter, qos, item } => {
                self.subscriptions.retain(|known| known.filter != *filter);
                self.subscriptions.push(StoredSubscription { filter: filter.clone(), qos: *qos, item: item.clone() });
            }
            Record::Unsubscribed { filter } => self.subscriptions.retain(|known| known.filter != *filter),
        }
    }

    fn note(&mut self, mark: Option<&Bytes>) {
        if let Some(mark) = mark {
            self.mark.clone_from(mark);
        }
    }

    /// The fewest records that lead here.
    pub(super) fn to_records(&self) -> Vec<Record> {
        let mut records = Vec::with_capacity(self.messages.len() + 8);
        if self.has_begun() {
            records.push(Record::Begun { client_id: self.client_id.clone(), incarnation: self.incarnation.clone() });
        }
        let subscribed =
            |known: &StoredSubscription| Record::Subscribed { filter: known.filter.clone(), qos: known.qos, item: known.item.clone() };
        records.extend(self.subscriptions.iter().map(subscribed));
        records.extend(self.taken.iter().map(|id| Record::Taken { id: *id, mark: None }));
        records.push(Record::Numbered { number: self.last_number });
        for (number, message) in &self.messages {
            records.push(Record::Accepted { number: *number, delivery: message.delivery.clone(), mark: None });
            if let Some(id) = message.id {
                records.push(Record::Sent { number: *number, id });
                records.extend(message.received.then_some(Record::Received { id }));
            }
        }
        records.push(Record::Marked { mark: self.mark.clone() });
        records
    }

    /// Bytes of the messages and of what stands around them, roughly: whether a log is much longer than it has to be.
    pub(super) fn weight(&self) -> u64 {
        let messages = self.messages.values().map(|message| message.delivery.message.len() as u64 + 64);
        messages.sum::<u64>() + 64 * (self.subscriptions.len() + self.taken.len()) as u64
    }
}
