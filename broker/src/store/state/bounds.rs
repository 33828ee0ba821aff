//! What clients that never come back could make grow, and its bounds.

use super::State;
use crate::store::record::{MessageNumber, Whose};
use candor_protocol::session::SessionState;
use std::sync::Arc;

/// How many lines of the ledger on one client are kept: the last ones. As many as the ledger keeps.
pub const VERDICTS_MAX: usize = 32;

/// Of how many clients verdicts are kept: those written about first go first.
pub const PAGES_MAX: usize = 10_000;

/// For how many clients it is remembered why their sessions are gone: at the bound, those of the oldest tenth are forgotten.
pub const ENDED_MAX: usize = 100_000;

/// How many cleared topics are remembered with the version that cleared them, so that a message that lost the race against its
/// clearing is not retained after all. Such a message is at most a turn of its shard behind; the oldest of so many topics was
/// cleared many turns ago. After a restart nothing is under way, and none are remembered.
pub const CLEARED_MAX: usize = 65_536;

impl State {
    pub(super) fn add_verdict(&mut self, whose: &Whose, number: u64, verdict: &Arc<[u8]>) {
        if !self.verdicts.contains_key(whose) {
            if self.verdicts.len() >= PAGES_MAX
                && let Some(oldest) = self.pages.pop_front()
                && let Some(page) = self.verdicts.remove(&oldest)
            {
                self.weight -= Self::page_weight(&oldest, page.iter());
            }
            self.pages.push_back(whose.clone());
            self.weight += Self::page_weight(whose, [].iter());
        }
        let page = self.verdicts.entry(whose.clone()).or_default();
        if page.len() >= VERDICTS_MAX
            && let Some((_, oldest)) = page.pop_front()
        {
            self.weight -= Self::verdict_weight(&oldest);
        }
        self.weight += Self::verdict_weight(verdict);
        page.push_back((number, Arc::clone(verdict)));
    }

    pub(super) fn take_verdict(&mut self, whose: &Whose, number: u64) {
        let Some(page) = self.verdicts.get_mut(whose) else { return };
        let at = page.iter().rposition(|(other, _)| *other == number);
        if let Some((_, verdict)) = at.and_then(|at| page.remove(at)) {
            self.weight -= Self::verdict_weight(&verdict);
        }
    }

    pub(super) fn remember_end(&mut self, client_id: &Arc<str>, why: SessionState, unix_ms: u64) {
        if self.ended.insert(Arc::clone(client_id), (why, unix_ms)).is_none() {
            self.weight += Self::ended_weight(client_id);
        }
        if self.ended.len() > ENDED_MAX {
            let mut ends: Vec<_> = self.ended.iter().map(|(client_id, (_, at))| (*at, Arc::clone(client_id))).collect();
            let (oldest, ..) = ends.select_nth_unstable(ENDED_MAX / 10);
            oldest.iter().for_each(|(_, client_id)| self.forget_end(client_id));
        }
    }

    pub(super) fn forget_end(&mut self, client_id: &Arc<str>) {
        if self.ended.remove(client_id).is_some() {
            self.weight -= Self::ended_weight(client_id);
        }
    }

    /// What is retained for a topic from now on.
    pub(super) fn set_retained(&mut self, topic: Arc<[u8]>, message: Option<MessageNumber>, version: u64) {
        if message.is_none() {
            self.cleared.push_back((version, Arc::clone(&topic)));
        }
        let weight = Self::retained_weight(&topic);
        match self.retained.insert(topic, (message, version)) {
            None => self.weight += weight,
            Some((Some(old), _)) => self.unrefer(old),
            Some((None, _)) => {}
        }
        while self.cleared.len() > CLEARED_MAX
            && let Some((version, topic)) = self.cleared.pop_front()
        {
            self.forget_cleared(&topic, version);
        }
    }

    /// Forgets all topics that were cleared: when nothing is under way.
    pub fn forget_all_cleared(&mut self) {
        while let Some((version, topic)) = self.cleared.pop_front() {
            self.forget_cleared(&topic, version);
        }
    }

    fn forget_cleared(&mut self, topic: &Arc<[u8]>, version: u64) {
        if self.retained.get(topic) == Some(&(None, version)) {
            self.retained.remove(topic);
            self.weight -= Self::retained_weight(topic);
        }
    }
}
