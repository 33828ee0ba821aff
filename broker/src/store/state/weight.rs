//! How many bytes the facts of a state take in a log: never less than they really do, so that a log of nothing but facts is
//! never heavier, and cleaning ends.

use super::{KeptSession, State};
use crate::store::record::Whose;
use candor_protocol::packet::TopicFilter;
use std::sync::Arc;

/// An entry of a queue: three numbers, two of them of up to ten bytes, and what is known about it.
pub(super) const OWED: u64 = 32;
/// A taken identifier.
pub(super) const TAKEN: u64 = 4;
/// A reason and how often.
pub(super) const GAP: u64 = 12;

impl State {
    /// The bytes of everything but messages.
    pub fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn session_weight(session: &KeptSession) -> u64 {
        let filters: u64 = session.subscriptions.keys().map(Self::filter_weight).sum();
        let replays: u64 = session.replays.iter().map(|(filter, after)| Self::replay_weight(filter, after)).sum();
        let rest = session.owed.len() as u64 * OWED + session.taken.len() as u64 * TAKEN + session.gap.len() as u64 * GAP;
        128 + (session.client_id.len() + session.principal.len()) as u64 + filters + replays + rest
    }

    pub(super) fn filter_weight(filter: &TopicFilter) -> u64 {
        filter.as_str().len() as u64 + 8
    }

    pub(super) fn replay_weight(filter: &TopicFilter, after: &[u8]) -> u64 {
        Self::filter_weight(filter) + after.len() as u64 + 8
    }

    pub(super) fn retained_weight(topic: &[u8]) -> u64 {
        topic.len() as u64 + 48
    }

    pub(super) fn will_weight(whose: &Whose) -> u64 {
        (whose.principal.len() + whose.client_id.len()) as u64 + 48
    }

    pub(super) fn ended_weight(client_id: &str) -> u64 {
        client_id.len() as u64 + 48
    }

    pub(super) fn page_weight<'a>(whose: &Whose, verdicts: impl Iterator<Item = &'a (u64, Arc<[u8]>)>) -> u64 {
        Self::will_weight(whose) + verdicts.map(|(_, verdict)| Self::verdict_weight(verdict)).sum::<u64>()
    }

    pub(super) fn verdict_weight(verdict: &[u8]) -> u64 {
        verdict.len() as u64 + 16
    }

    /// The weight, counted anew.
    #[cfg(test)]
    pub(super) fn weigh(&self) -> u64 {
        self.sessions.values().map(Self::session_weight).sum::<u64>()
            + self.retained.keys().map(|topic| Self::retained_weight(topic)).sum::<u64>()
            + self.wills.values().map(|(whose, _)| Self::will_weight(whose)).sum::<u64>()
            + self.ended.keys().map(|client_id| Self::ended_weight(client_id)).sum::<u64>()
            + self.verdicts.iter().map(|(whose, page)| Self::page_weight(whose, page.iter())).sum::<u64>()
    }
}
