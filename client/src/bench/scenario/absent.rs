//! Many sessions that are not there, and what is owed to them.

use super::Site;
use crate::bench::BenchError;
use crate::bench::door;
use crate::bench::flow::{Errand, Topics, deposit};
use crate::bench::outcome::{Meter, Outcome};
use crate::bench::plan::Plan;
use crate::bench::tally::Count;

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
            door.subscribe(&[topic(at)], plan.qos.max(1))?;
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

    /// Ends them, where the server is not ours.
    fn end(&self, site: &Site<'_>) -> Result<(), BenchError> {
        let all = if site.is_ours { 0 } else { self.count };
        (0..all).try_for_each(|at| door::open(site.endpoint, self.plan.dialect, &self.client_id(at), true)?.leave())
    }
}

/// Stores `messages` for each of `sessions`; `shared`: the same messages for all.
pub(super) fn run(
    plan: &Plan,
    (sessions, messages, shared): (usize, usize, bool),
    site: &Site<'_>,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, BenchError> {
    let plan = &Plan { qos: plan.qos.max(1), ..plan.clone() };
    let published = if shared { messages } else { sessions * messages };
    let errand = Errand::new(published);
    let topic = |at: usize| if shared { errand.first() } else { errand.numbered(at) };
    let meter = Meter::start(site.pid);
    let absent = Absent::new(plan, site, sessions, topic, watch)?;
    let opened = meter.stop();
    let before = site.disk_bytes();
    let meter = Meter::start(site.pid);
    let topics = if shared { Topics::OfPublisher } else { Topics::Numbered { topics: sessions, retain: false } };
    let stored = deposit(plan, site.endpoint, &errand, topics, watch)?;
    let store = meter.stop();
    let disk = site.disk_growth(before);
    // An acknowledgement above QoS 0 is what says that a message is stored; what became of it is not asked here.
    let acknowledged = published as u64 - stored.outcome.refused.min(published as u64);
    let count = Count { delivered: acknowledged, lost: published as u64 - acknowledged, ..Count::default() };
    let mut outcome = Outcome { count, cost: store, ..stored.outcome };
    outcome.fact_rss("rss_bytes_a_session", opened, sessions);
    outcome.fact_rss("rss_bytes_a_message_owed", store, sessions * messages);
    outcome.fact_disk("disk_bytes_a_message", disk, published);
    outcome.fact_disk("disk_bytes_a_message_owed", disk, sessions * messages);
    absent.end(site)?;
    Ok(outcome)
}
