//! The ledger: the story of each client that proved who it is, kept over its reconnects. It is bounded in the lines of a client, in
//! clients, and in bytes; and at a bound those are forgotten who take more of it than others.

use super::Entry;
use super::entry::{End, Event};
use crate::store::record::Whose;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How much the ledger of one shard keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerLimits {
    pub clients_max: usize,
    /// Of one client.
    pub entries_max: usize,
    /// Of all lines together.
    pub bytes_max: usize,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self { clients_max: 10_000, entries_max: 32, bytes_max: 32 * 1024 * 1024 }
    }
}

/// Whose story it is: a principal's under one of its client identifiers. Nobody anonymous has a page, because the next
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

    pub fn principal(&self) -> &str {
        &self.principal
    }

    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// As the store names it.
    pub fn whose(&self) -> Whose {
        Whose { principal: Arc::clone(&self.principal), client_id: Arc::clone(&self.client_id) }
    }
}

/// The stories of one shard's clients.
#[derive(Debug, Default)]
pub struct Ledger {
    limits: LedgerLimits,
    pages: HashMap<Page, Written, foldhash::fast::RandomState>,
    /// Counts the writings, so that the oldest page can be found.
    clock: u64,
    bytes: usize,
    /// Whether a store has its pages too.
    is_kept: bool,
    /// Pages that the store does not have as they are, each once.
    unkept: VecDeque<Page>,
}

#[derive(Debug, Default)]
struct Written {
    lines: VecDeque<Line>,
    at: u64,
    last_number: u64,
    bytes: usize,
    is_unkept: bool,
}

#[derive(Debug)]
struct Line {
    entry: Entry,
    /// Its name on its page.
    number: u64,
    /// The store has it.
    is_kept: bool,
    /// Lines that the store has and that are a part of this one.
    replaces: Vec<u64>,
    /// About how many bytes it takes.
    weight: usize,
}

/// A line that the store does not have as it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Unkept {
    pub page: Page,
    pub entry: Entry,
    pub number: u64,
    /// The lines of these numbers are a part of it.
    pub replaces: Vec<u64>,
}

/// How many lines back something is known to have been said before: so what alternates does not push out all else.
const NEAR: usize = 8;

/// What a page takes beside its lines.
const PAGE_BYTES: usize = 160;

impl Line {
    /// What of the store's goes when this line goes.
    fn in_store(&self) -> impl Iterator<Item = u64> {
        self.replaces.iter().copied().chain(self.is_kept.then_some(self.number))
    }
}

impl Written {
    fn take(&mut self, at: usize) -> Option<Line> {
        let line = self.lines.remove(at)?;
        self.bytes -= line.weight;
        Some(line)
    }

    fn write(&mut self, mut entry: Entry, entries_max: usize, mut replaces: Vec<u64>) {
        let from = self.lines.len().saturating_sub(NEAR);
        let twin = self.lines.iter().skip(from).rposition(|line| line.entry.is_like(&entry));
        if let Some(twin) = twin.and_then(|at| self.take(from + at)) {
            entry.absorb(&twin.entry);
            replaces.extend(twin.in_store());
        }
        self.last_number += 1;
        let weight = entry.weight();
        self.bytes += weight;
        self.lines.push_back(Line { entry, number: self.last_number, is_kept: false, replaces, weight });
        while self.lines.len() > entries_max {
            self.take(0);
        }
    }

    /// Ends the last connection that is open.
    fn end(&mut self, by: String, end: End, entries_max: usize) {
        let Some(at) = self.lines.iter().rposition(|line| line.entry.is_open()) else { return };
        let Some(mut line) = self.take(at) else { return };
        if let Event::Connection(connection) = &mut line.entry.event {
            (connection.by, connection.end) = (by, Some(end));
        }
        let replaces = line.in_store().collect();
        self.write(line.entry, entries_max, replaces);
    }

    fn weight(&self) -> usize {
        PAGE_BYTES + self.bytes
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

    /// Takes up a page of an earlier process, oldest line first, each with its number.
    pub fn restore(&mut self, page: Page, lines: impl Iterator<Item = (u64, Entry)>) {
        self.clock += 1;
        let mut written = Written { at: self.clock, ..Written::default() };
        for (number, entry) in lines.take(self.limits.entries_max) {
            written.last_number = written.last_number.max(number);
            let weight = entry.weight();
            written.bytes += weight;
            written.lines.push_back(Line { entry, number, is_kept: true, replaces: Vec::new(), weight });
        }
        self.bytes += written.weight();
        if let Some(before) = self.pages.insert(page, written) {
            self.bytes -= before.weight();
        }
        self.keep_bounds();
    }

    pub fn has_unkept(&self) -> bool {
        !self.unkept.is_empty()
    }

    /// What the store does not have: whole pages, until it is `count` lines.
    pub fn take_unkept(&mut self, count: usize) -> Vec<Unkept> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(page) = self.unkept.pop_front()
        {
            let Some(written) = self.pages.get_mut(&page) else { continue };
            written.is_unkept = false;
            for line in written.lines.iter_mut().filter(|line| !line.is_kept) {
                let (number, replaces) = (line.number, std::mem::take(&mut line.replaces));
                taken.push(Unkept { page: page.clone(), entry: line.entry.clone(), number, replaces });
                line.is_kept = true;
            }
        }
        taken
    }

    /// Writes a line. One that says again what a line shortly before has said only raises the count of that.
    pub fn write(&mut self, page: Page, entry: Entry) {
        let entries_max = self.limits.entries_max;
        self.change(page, |written| written.write(entry, entries_max, Vec::new()));
    }

    /// A client's connection has ended; `by`: what it was, in words.
    pub fn end(&mut self, page: Page, by: String, end: End) {
        let entries_max = self.limits.entries_max;
        self.change(page, |written| written.end(by, end, entries_max));
    }

    fn change(&mut self, page: Page, change: impl FnOnce(&mut Written)) {
        self.clock += 1;
        let name = self.is_kept.then(|| page.clone());
        let bytes = &mut self.bytes;
        let written = self.pages.entry(page).or_insert_with(|| {
            *bytes += PAGE_BYTES;
            Written::default()
        });
        let before = written.weight();
        written.at = self.clock;
        change(written);
        *bytes = *bytes + written.weight() - before;
        if let Some(name) = name
            && !std::mem::replace(&mut written.is_unkept, true)
        {
            self.unkept.push_back(name);
        }
        self.keep_bounds();
    }

    /// At a bound half of the pages go at once, so that a flood of client identifiers costs a scan only now and then. Of every principal
    /// as many stay as of any other, the last ones: whoever has one page does not lose it to somebody who has thousands.
    fn keep_bounds(&mut self) {
        while self.pages.len() > self.limits.clients_max.max(1) || (self.bytes > self.limits.bytes_max && self.pages.len() > 1) {
            let mut by_principal: HashMap<Arc<str>, Vec<u64>> = HashMap::new();
            for (page, written) in &self.pages {
                by_principal.entry(Arc::clone(&page.principal)).or_default().push(written.at);
            }
            let room = self.pages.len() / 2;
            let share = fair_share(by_principal.values().map(Vec::len).collect(), room);
            // Where there are more principals than room, those go that were written about longest ago.
            let mut stay: Vec<u64> = Vec::new();
            for times in by_principal.values_mut() {
                times.sort_unstable_by(|a, b| b.cmp(a));
                stay.extend(times.iter().take(share));
            }
            stay.sort_unstable_by(|a, b| b.cmp(a));
            stay.truncate(room.max(1));
            let stay: std::collections::HashSet<u64> = stay.into_iter().collect();
            self.pages.retain(|_, written| stay.contains(&written.at));
            self.bytes = self.pages.values().map(Written::weight).sum();
            let pages = &self.pages;
            self.unkept.retain(|page| pages.contains_key(page));
        }
    }

    /// The story of a client, oldest line first.
    pub fn read(&self, page: &Page) -> impl Iterator<Item = &Entry> {
        self.pages.get(page).into_iter().flat_map(|written| written.lines.iter().map(|line| &line.entry))
    }

    /// The pages of a client identifier, or all of them.
    pub fn pages<'a>(&'a self, client_id: Option<&'a str>) -> impl Iterator<Item = &'a Page> {
        self.pages.keys().filter(move |page| client_id.is_none_or(|client_id| &*page.client_id == client_id))
    }

    pub fn clients(&self) -> usize {
        self.pages.len()
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// How many each may have, so that all together have at most `room`; at least 1.
fn fair_share(mut wanted: Vec<usize>, room: usize) -> usize {
    wanted.sort_unstable();
    let (mut left, mut others) = (room, wanted.len());
    for count in wanted {
        let share = left / others.max(1);
        if count > share {
            return share.max(1);
        }
        (left, others) = (left - count, others - 1);
    }
    usize::MAX
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
