//! Many sessions that are not there, and what is owed to them; some of them come for it in the end.

use super::Site;
use crate::bench::BenchError;
use crate::bench::door;
use crate::bench::flow::{Errand, Topics, deposit};
use crate::bench::outcome::{Meter, Outcome};
use crate::bench::plan::{Plan, share};
use crate::bench::tally::Count;

/// Sessions that are asked whether they get what they are owed.
const DRAINED: usize = 20;

/// So many sessions under names of their own.
#[derive(Debug)]
pub(super) struct Absent<'a> {
    plan: &'a Plan,
    prefix: String,
    count: usize,
}

impl<'a> Absent<'a> {
    /// Makes them: each subscribes to its topic and leaves.
    pub(super) fn new(
        plan: &'a Plan,
        site: &Site<'_>,
        count: usize,
        topic: impl Fn(usize) -> String,
        watch: &mut dyn FnMut(u64),
    ) -> Result<Self, BenchError> {
        let absent = Self { plan, prefix: format!("bench-{:08x}", crate::random::number() as u32), count };
        for at in 0..count {
            let mut door = door::open(site.endpoint, plan.dialect, &absent.client_id(at), false)?;
            door.subscribe(&[topic(at)], plan.qos)?;
            door.leave()?;
            watch(at as u64);
        }
        Ok(absent)
    }

    fn client_id(&self, at: usize) -> String {
        format!("{}-absent-{at}", self.prefix)
    }

    /// How many of them the server still has.
    pub(super) fn present(&self, site: &Site<'_>) -> Result<usize, BenchError> {
        let mut present = 0;
        for at in 0..self.count {
            let door = door::open(site.endpoint, self.plan.dialect, &self.client_id(at), false)?;
            present += usize::from(door.is_present);
            door.leave()?;
        }
        Ok(present)
    }

    /// Comes back as some of them, from the first to the last, for what they are `owed`: how many were asked, and how many messages did
    /// not come.
    fn drain(&self, site: &Site<'_>, owed: impl Fn(usize) -> u64, watch: &mut dyn FnMut(u64)) -> Result<(usize, u64), BenchError> {
        let step = self.count.div_ceil(DRAINED).max(1);
        let (mut asked, mut missing) = (0, 0);
        for at in (0..self.count).step_by(step) {
            let mut door = door::open(site.endpoint, self.plan.dialect, &self.client_id(at), false)?;
            let owed = owed(at);
            missing += owed.saturating_sub(door.collect(owed, self.plan.stall)?);
            door.leave()?;
            asked += 1;
            watch(asked as u64);
        }
        Ok((asked, missing))
    }

    /// Ends them, where the server is not ours.
    fn end(&self, site: &Site<'_>) -> Result<(), BenchError> {
        let all = if site.is_ours { 0 } else { self.count };
        (0..all).try_for_each(|at| door::end_session(site.endpoint, self.plan.dialect, &self.client_id(at)))
    }
}

/// Stores `messages` for each of `sessions`; `shared`: the same messages for all.
pub(super) fn run(
    plan: &Plan,
    (sessions, messages, shared): (usize, usize, bool),
    site: &Site<'_>,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, BenchError> {
    let published = if shared { messages } else { sessions * messages };
    let errand = Errand::new(published);
    let topic = |at: usize| if shared { errand.first() } else { errand.numbered(at) };
    let meter = Meter::start(site.pid);
    let absent = Absent::new(plan, site, sessions, topic, watch)?;
    let opened = meter.stop();
    let outcome = stored_and_drained(plan, &errand, (&absent, shared), site, watch);
    let ended = absent.end(site);
    let mut outcome = outcome.and_then(|outcome| ended.map(|()| outcome))?;
    outcome.fact_rss("rss_bytes_a_session", opened, sessions);
    Ok(outcome)
}

fn stored_and_drained(
    plan: &Plan,
    errand: &Errand,
    (absent, shared): (&Absent<'_>, bool),
    site: &Site<'_>,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, BenchError> {
    let sessions = absent.count;
    let before = site.disk_bytes();
    let meter = Meter::start(site.pid);
    let topics = if shared { Topics::OfPublisher } else { Topics::Numbered { topics: sessions, retain: false } };
    let stored = deposit(plan, site.endpoint, errand, topics, watch)?;
    let store = meter.stop();
    let disk = site.disk_growth(before);
    // What all of them are owed; whether they get it is asked of some.
    let taken = stored.taken();
    let owed = if shared { taken * sessions as u64 } else { taken };
    let refused = stored.outcome.refused;
    let owed_to = |at| if shared { taken } else { share(stored.count(), at, sessions).saturating_sub(refused) };
    let (asked, missing) = absent.drain(site, owed_to, watch)?;
    let count = Count { delivered: taken, lost: missing + refused, ..Count::default() };
    let sent = stored.count();
    let mut outcome = Outcome { count, sent, cost: store, ..stored.outcome };
    outcome.facts.insert("sessions_drained", asked as f64);
    outcome.fact_rss("rss_bytes_a_message_owed", store, owed as usize);
    outcome.fact_disk("disk_bytes_a_message", disk, taken as usize);
    outcome.fact_disk("disk_bytes_a_message_owed", disk, owed as usize);
    Ok(outcome)
}
