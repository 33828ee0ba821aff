//! The last verdicts on each client, kept over its reconnects, bounded in clients and in verdicts of each.

use super::Verdict;
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
}

/// The verdicts of one shard's clients. At the limit the client that was written about longest ago is forgotten.
#[derive(Debug, Default)]
pub struct Ledger {
    limits: LedgerLimits,
    pages: HashMap<Page, Written, foldhash::fast::RandomState>,
    /// Counts the writings, so that the oldest page can be found.
    clock: u64,
}

#[derive(Debug)]
struct Written {
    verdicts: VecDeque<Verdict>,
    at: u64,
}

impl Ledger {
    pub fn new(limits: LedgerLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Writes a verdict down. One that repeats the last of its client but for the time only raises the count.
    pub fn write(&mut self, page: Page, verdict: Verdict) {
        self.clock += 1;
        if !self.pages.contains_key(&page) && self.pages.len() >= self.limits.clients_max {
            self.forget_oldest();
        }
        let page = self.pages.entry(page).or_insert_with(|| Written { verdicts: VecDeque::new(), at: 0 });
        page.at = self.clock;
        if let Some(last) = page.verdicts.back_mut()
            && (last.packet, &last.refusal, &last.topic) == (verdict.packet, &verdict.refusal, &verdict.topic)
        {
            last.count += verdict.count;
            last.unix_ms = verdict.unix_ms;
            return;
        }
        if page.verdicts.len() == self.limits.verdicts_max {
            page.verdicts.pop_front();
        }
        page.verdicts.push_back(verdict);
    }

    fn forget_oldest(&mut self) {
        // Half of the pages go at once, so that a flood of client identifiers costs a scan only now and then.
        let mut written: Vec<u64> = self.pages.values().map(|page| page.at).collect();
        let middle = written.len() / 2;
        let (_, median, _) = written.select_nth_unstable(middle);
        let median = *median;
        self.pages.retain(|_, page| page.at > median);
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
    fn a_flood_of_client_identifiers_does_not_make_it_grow() {
        let mut ledger = Ledger::new(LedgerLimits { clients_max: 100, verdicts_max: 2 });
        for n in 0..10_000 {
            ledger.write(page(&format!("client-{n}")), verdict(n, "a"));
            assert!(ledger.clients() <= 100);
        }
        assert_eq!(ledger.read(&page("client-9999")).count(), 1);
    }
}
