//! The last verdicts on each client, kept over its reconnects, bounded in clients and in verdicts of each.

use super::Verdict;
use crate::store::record::Whose;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How much the ledger keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerLimits {
    pub clients_max: usize,
    pub verdicts_max: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { clients_max: 10_000, verdicts_max: 32 }
    }
}

/// Whose verdicts they are: a principal under one of its client identifiers. Nobody anonymous has a page, because the next
/// one with the same client identifier may be somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Page {
    principal: Arc<str>,
    client_id: Arc<str>,
}

impl Page {
    pub fn of(principal: &Arc<str>, client_id: &Arc<str>) -> Option<Self> {
        (!principal.is_empty()).then(|| Self { principal: Arc::clone(principal), client_id: Arc::clone(client_id) })
    }

    /// As the store names it.
    pub fn whose(&self) -> Whose {
        Whose { principal: Arc::clone(&self.principal), client_id: Arc::clone(&self.client_id) }
    }
}

/// The verdicts of one shard's clients. At the limit the client that was written about longest ago is forgotten.
#[derive(Debug, Default)]
pub struct Ledger {
    limits: LedgerLimits,
    pages: HashMap<Page, Written, foldhash::fast::RandomState>,
    /// Counts the writings, so that the oldest page can be found.
    clock: u64,
    /// Whether a store has its pages too.
    is_kept: bool,
    /// Pages that the store does not have as they are, each once.
    unkept: VecDeque<Page>,
}

#[derive(Debug, Default)]
struct Written {
    verdicts: VecDeque<Verdict>,
    at: u64,
    /// How many at the front the store has as they are.
    kept: usize,
    /// It has the next one with a lower count.
    is_repeated: bool,
    is_unkept: bool,
}

/// A verdict that the store does not have as it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Unkept {
    pub page: Page,
    pub verdict: Verdict,
    /// The store has it with a lower count.
    pub again: bool,
}

impl Written {
    fn write(&mut self, verdict: Verdict, verdicts_max: usize) {
        if let Some(last) = self.verdicts.back_mut()
            && (last.packet, &last.refusal, &last.topic) == (verdict.packet, &verdict.refusal, &verdict.topic)
        {
            last.count += verdict.count;
            last.unix_ms = verdict.unix_ms;
            if self.kept == self.verdicts.len() {
                (self.kept, self.is_repeated) = (self.kept - 1, true);
            }
            return;
        }
        if self.verdicts.len() == verdicts_max {
            self.verdicts.pop_front();
            // Where the store has none of the others, it forgets its last one behind as many.
            self.is_repeated &= self.kept > 0;
            self.kept = self.kept.saturating_sub(1);
        }
        self.verdicts.push_back(verdict);
    }
}

impl Ledger {
    pub fn new(limits: LedgerLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// One whose pages a store has too: see [`Ledger::take_unkept`].
    pub fn kept(limits: LedgerLimits) -> Self {
        Self { is_kept: true, ..Self::new(limits) }
    }

    /// Takes up a page of an earlier process, oldest verdict first.
    pub fn restore(&mut self, page: Page, verdicts: impl Iterator<Item = Verdict>) {
        self.clock += 1;
        if !self.pages.contains_key(&page) && self.pages.len() >= self.limits.clients_max {
            self.forget_oldest();
        }
        let verdicts: VecDeque<Verdict> = verdicts.take(self.limits.verdicts_max).collect();
        self.pages.insert(page, Written { at: self.clock, kept: verdicts.len(), verdicts, ..Written::default() });
    }

    pub fn has_unkept(&self) -> bool {
        !self.unkept.is_empty()
    }

    /// What the store does not have: whole pages, until it is `count` verdicts.
    pub fn take_unkept(&mut self, count: usize) -> Vec<Unkept> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(page) = self.unkept.pop_front()
        {
            let Some(written) = self.pages.get_mut(&page) else { continue };
            for verdict in written.verdicts.iter().skip(written.kept) {
                let again = std::mem::take(&mut written.is_repeated);
                taken.push(Unkept { page: page.clone(), verdict: verdict.clone(), again });
            }
            (written.kept, written.is_repeated, written.is_unkept) = (written.verdicts.len(), false, false);
        }
        taken
    }

    /// Writes a verdict down. One that repeats the last of its client but for the time only raises the count.
    pub fn write(&mut self, page: Page, verdict: Verdict) {
        self.clock += 1;
        if !self.pages.contains_key(&page) && self.pages.len() >= self.limits.clients_max {
            self.forget_oldest();
        }
        let name = self.is_kept.then(|| page.clone());
        let page = self.pages.entry(page).or_default();
        page.at = self.clock;
        if let Some(name) = name
            && !std::mem::replace(&mut page.is_unkept, true)
        {
            self.unkept.push_back(name);
        }
        page.write(verdict, self.limits.verdicts_max);
    }

    fn forget_oldest(&mut self) {
        // Half of the pages go at once, so that a flood of client identifiers costs a scan only now and then.
        let mut written: Vec<u64> = self.pages.values().map(|page| page.at).collect();
        let middle = written.len() / 2;
        let (_, median, _) = written.select_nth_unstable(middle);
        let median = *median;
        self.pages.retain(|_, page| page.at > median);
        let pages = &self.pages;
        self.unkept.retain(|page| pages.contains_key(page));
    }

    /// The verdicts on a client, oldest first.
    pub fn read(&self, page: &Page) -> impl Iterator<Item = &Verdict> {
        self.pages.get(page).into_iter().flat_map(|page| page.verdicts.iter())
    }

    pub fn clients(&self) -> usize {
        self.pages.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::packet::{Kind, Reason, Refusal};

    fn verdict(unix_ms: u64, topic: &str) -> Verdict {
        Verdict::new(unix_ms, Kind::Publish, Refusal::bare(Reason::NOT_AUTHORIZED), Some(topic))
    }

    fn page(client_id: &str) -> Page {
        Page::of(&"somebody".into(), &client_id.into()).unwrap()
    }

    #[test]
    fn the_pages_of_two_principals_are_two_and_nobody_has_none() {
        let mut ledger = Ledger::new(LedgerLimits::default());
        ledger.write(page("c"), verdict(1, "a"));
        assert_eq!(ledger.read(&Page::of(&"other".into(), &"c".into()).unwrap()).count(), 0);
        assert_eq!(ledger.read(&page("c")).count(), 1);
        assert_eq!(Page::of(&"".into(), &"c".into()), None);
    }

    #[test]
    fn repetitions_are_counted_and_the_oldest_verdicts_go_first() {
        let mut ledger = Ledger::new(LedgerLimits { clients_max: 10, verdicts_max: 2 });
        for (at, topic) in [(1, "a"), (2, "a"), (3, "b"), (4, "c")] {
            ledger.write(page("c"), verdict(at, topic));
        }
        let read: Vec<_> = ledger.read(&page("c")).map(|v| (v.unix_ms, v.topic.clone().unwrap(), v.count)).collect();
        assert_eq!(read, [(3, "b".into(), 1), (4, "c".into(), 1)]);
    }

    #[test]
    fn the_store_is_told_what_is_new_and_what_was_said_again() {
        let mut ledger = Ledger::kept(LedgerLimits { clients_max: 10, verdicts_max: 3 });
        let take = |ledger: &mut Ledger| -> Vec<_> {
            ledger.take_unkept(100).into_iter().map(|unkept| (unkept.verdict.topic.unwrap(), unkept.verdict.count, unkept.again)).collect()
        };
        let write = |ledger: &mut Ledger, topics: &[&str]| topics.iter().for_each(|topic| ledger.write(page("c"), verdict(1, topic)));
        write(&mut ledger, &["a", "b", "b"]);
        assert_eq!(take(&mut ledger), [("a".into(), 1, false), ("b".into(), 2, false)]);
        assert!(!ledger.has_unkept());
        write(&mut ledger, &["b", "c"]);
        assert_eq!(take(&mut ledger), [("b".into(), 3, true), ("c".into(), 1, false)]);
        // What was said again is gone before the store was told.
        write(&mut ledger, &["c", "d", "e", "f"]);
        assert_eq!(take(&mut ledger), [("d".into(), 1, false), ("e".into(), 1, false), ("f".into(), 1, false)]);
        let mut next = Ledger::kept(LedgerLimits::default());
        next.restore(page("c"), ledger.read(&page("c")).cloned());
        write(&mut next, &["f"]);
        assert_eq!(take(&mut next), [("f".into(), 2, true)]);
    }

    #[test]
    fn a_flood_of_client_identifiers_does_not_make_it_grow() {
        let mut ledger = Ledger::new(LedgerLimits { clients_max: 100, verdicts_max: 2 });
        for n in 0..10_000 {
            ledger.write(page(&format!("client-{n}")), verdict(n, "a"));
            assert!(ledger.clients() <= 100);
        }
        assert_eq!(ledger.read(&page("client-9999")).count(), 1);
    }
}
