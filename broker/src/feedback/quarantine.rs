//! Clients that do the same forbidden thing again and again are kept out for a time. The state has a bound, and whoever
//! knows only a client's names cannot have it kept out: a subject is everything that was shown at CONNECT, the password
//! included, of which a keyed hash is kept.

use candor_protocol::packet::{Connect, Kind, Reason};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU64;

/// The most clients that are kept in mind.
const SUBJECTS_MAX: usize = 10_000;
/// The most different things that are counted for one client at once.
const OFFENCES_MAX: usize = 4;

/// When a client is kept out, and for how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuarantineLimits {
    /// How many equal refusals within the window start it; 0: never.
    pub refusals: u32,
    pub window_ms: u64,
    /// The first time; each further one is twice as long.
    pub first_ms: u64,
    pub max_ms: u64,
}

/// Whom it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject(u64);

/// User name and password that a CONNECT has shown, as a hash; one in 2^64 stands for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials(NonZeroU64);

/// A client that was just put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    pub for_ms: u64,
    /// Refusals that led to it.
    pub refusals: u32,
}

/// The clients of one shard that are kept out, or on their way there. Times are on the clock that never runs back.
#[derive(Debug, Default)]
pub struct Quarantine {
    limits: QuarantineLimits,
    /// Keyed at random, so that nobody can find a second client with the same hash.
    keys: RandomState,
    records: HashMap<Subject, Record, foldhash::fast::RandomState>,
    started: u64,
    turned_away: u64,
}

#[derive(Debug, Default)]
struct Record {
    offences: Vec<Offence>,
    until_ms: u64,
    /// How long the last time was.
    last_ms: u64,
    touched_ms: u64,
}

#[derive(Debug)]
struct Offence {
    what: u64,
    since_ms: u64,
    count: u32,
}

impl Quarantine {
    pub fn new(limits: QuarantineLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub fn is_on(&self) -> bool {
        self.limits.refusals > 0
    }

    /// Whether nobody is kept in mind.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What a CONNECT shows beside the client identifier; `None`: no user name.
    pub fn credentials(&self, connect: &Connect) -> Option<Credentials> {
        let user_name = connect.user_name.as_ref()?;
        let hash = self.keys.hash_one((user_name, &connect.password));
        Some(Credentials(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)))
    }

    /// Whom a connection is about. Without a user name the address counts too, for a client identifier alone is no secret.
    pub fn subject(&self, client_id: &str, credentials: Option<Credentials>, address: IpAddr) -> Subject {
        Subject(match credentials {
            Some(Credentials(hash)) => self.keys.hash_one((client_id, hash)),
            None => self.keys.hash_one((client_id, address)),
        })
    }

    /// How long a client is still kept out, in milliseconds; asking counts as being turned away.
    pub fn turn_away(&mut self, subject: Subject, now_ms: u64) -> Option<u64> {
        let left_ms = self.records.get(&subject)?.until_ms.saturating_sub(now_ms);
        self.turned_away += u64::from(left_ms > 0);
        (left_ms > 0).then_some(left_ms)
    }

    /// A client was refused. Tells when that was once too often.
    pub fn refused(&mut self, subject: Subject, what: (Kind, Reason, Option<&str>), now_ms: u64) -> Option<Started> {
        if !self.is_on() {
            return None;
        }
        if self.records.len() >= SUBJECTS_MAX && !self.records.contains_key(&subject) {
            self.forget(now_ms);
        }
        let limits = self.limits;
        let what = self.keys.hash_one(what);
        let record = self.records.entry(subject).or_default();
        record.touched_ms = now_ms;
        let count = record.count(what, now_ms, limits.window_ms);
        if count < limits.refusals {
            return None;
        }
        // Who has been good for as long as it was kept out begins anew.
        let is_relapse = now_ms.saturating_sub(record.until_ms) <= record.last_ms.max(limits.window_ms);
        let for_ms = if record.last_ms > 0 && is_relapse { record.last_ms.saturating_mul(2) } else { limits.first_ms };
        record.last_ms = for_ms.min(limits.max_ms);
        record.until_ms = now_ms.saturating_add(record.last_ms);
        record.offences.clear();
        self.started += 1;
        Some(Started { for_ms: record.last_ms, refusals: count })
    }

    /// Makes room: those who are no threat any more, and if these are few, the half that was heard of longest ago.
    fn forget(&mut self, now_ms: u64) {
        let limits = self.limits;
        self.records.retain(|_, record| {
            record.until_ms > now_ms || now_ms.saturating_sub(record.touched_ms) <= record.last_ms.max(limits.window_ms)
        });
        if self.records.len() > SUBJECTS_MAX / 2 {
            let mut touched: Vec<u64> = self.records.values().map(|record| record.touched_ms).collect();
            let middle = touched.len() / 2;
            let (_, median, _) = touched.select_nth_unstable(middle);
            let median = *median;
            self.records.retain(|_, record| record.touched_ms > median);
        }
    }

    /// Lets everybody in again: an operator has changed what is allowed.
    pub fn release(&mut self) {
        self.records.clear();
    }

    /// How many clients are kept out at this moment.
    pub fn inside(&self, now_ms: u64) -> usize {
        self.records.values().filter(|record| record.until_ms > now_ms).count()
    }

    /// How many times a client was put in, and how many times one was turned away since.
    pub fn totals(&self) -> (u64, u64) {
        (self.started, self.turned_away)
    }
}

impl Record {
    /// Counts one more; tells how many it makes within the window.
    fn count(&mut self, what: u64, now_ms: u64, window_ms: u64) -> u32 {
        self.offences.retain(|offence| now_ms.saturating_sub(offence.since_ms) <= window_ms);
        if let Some(offence) = self.offences.iter_mut().find(|offence| offence.what == what) {
            offence.count += 1;
            return offence.count;
        }
        if self.offences.len() == OFFENCES_MAX {
            self.offences.remove(0);
        }
        self.offences.push(Offence { what, since_ms: now_ms, count: 1 });
        1
    }
}

#[cfg(test)]
#[path = "quarantine_tests.rs"]
mod tests;
