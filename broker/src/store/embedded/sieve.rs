//! Which records have an effect. A log holds no others: when it is read back, what a record refers to may already have moved
//! behind it, so that nobody could tell any more whether it was there.

use crate::store::Batch;
use crate::store::record::{MessageNumber, Record};
use crate::store::state::{Fact, State};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What is written for a record.
#[derive(Debug)]
pub(super) enum Worth {
    Nothing,
    Step,
    /// This instead, which can be understood without what is around it.
    Fact(Fact),
}

/// Looks at the records of a group in their order.
#[derive(Debug)]
pub(super) struct Sieve<'a> {
    state: &'a State,
    /// Messages that other records of the group refer to.
    referred: HashSet<MessageNumber>,
    /// Messages of this group that are referred to, with the batch they stand in.
    introduced: HashMap<MessageNumber, (usize, &'a [u8])>,
    /// The newest version of each topic in this group.
    versions: HashMap<Arc<[u8]>, u64>,
    batch: usize,
}

impl<'a> Sieve<'a> {
    pub(super) fn new(state: &'a State, batches: &[Batch]) -> Self {
        let records = batches.iter().flat_map(|batch| &batch.records);
        let referred = records.filter_map(|record| match record {
            Record::OwedToo { message, .. } | Record::Retained { message, .. } | Record::WillArmed { message, .. } => Some(*message),
            _ => None,
        });
        Self { state, referred: referred.collect(), introduced: HashMap::new(), versions: HashMap::new(), batch: 0 }
    }

    pub(super) fn next_batch(&mut self) {
        self.batch += 1;
    }

    pub(super) fn worth(&mut self, record: &'a Record) -> Worth {
        let has_effect = match record {
            Record::Message { message, envelope, owed } => {
                if self.referred.contains(message) {
                    self.introduced.insert(*message, (self.batch, envelope.message.topic()));
                    true
                } else {
                    !owed.is_empty()
                }
            }
            Record::OwedToo { message, .. } | Record::WillArmed { message, .. } => self.is_known(*message),
            Record::RetainedCleared { topic, version } => self.is_newest(topic, *version),
            Record::Retained { message, version } => return self.retained(*message, *version),
            _ => true,
        };
        if has_effect { Worth::Step } else { Self::number(record) }
    }

    /// A number was given out, although nothing came of it.
    fn number(record: &Record) -> Worth {
        match record {
            Record::Message { message, .. } | Record::OwedToo { under: message, .. } => Worth::Fact(Fact::Numbers([0, message.0, 0])),
            Record::Retained { version, .. } | Record::RetainedCleared { version, .. } => Worth::Fact(Fact::Numbers([0, 0, *version])),
            _ => Worth::Nothing,
        }
    }

    fn is_known(&self, message: MessageNumber) -> bool {
        self.introduced.contains_key(&message) || self.state.is_known(message)
    }

    fn is_newest(&mut self, topic: &Arc<[u8]>, version: u64) -> bool {
        let newest = self.versions.get(topic).copied().or_else(|| self.state.retained.get(topic).map(|(_, version)| *version));
        let is_newest = newest.is_none_or(|newest| version > newest);
        if is_newest {
            self.versions.insert(Arc::clone(topic), version);
        }
        is_newest
    }

    /// A step takes its topic from the message, which stands with it if it is of the same batch.
    fn retained(&mut self, message: MessageNumber, version: u64) -> Worth {
        let introduced = self.introduced.get(&message).map(|(batch, topic)| (*batch, Arc::from(*topic)));
        let (batch, topic) = match (introduced, self.state.topic(message)) {
            (Some(introduced), _) => introduced,
            (None, Some(topic)) => (0, Arc::clone(topic)),
            (None, None) => return Worth::Fact(Fact::Numbers([0, 0, version])),
        };
        if !self.is_newest(&topic, version) {
            return Worth::Fact(Fact::Numbers([0, 0, version]));
        }
        if batch == self.batch { Worth::Step } else { Worth::Fact(Fact::Retained { topic, message: Some(message), version }) }
    }
}
