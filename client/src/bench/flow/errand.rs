//! Messages that are stored first and fetched later.

use super::aim::{self, Aim};
use super::engine::{Engine, Role};
use super::publisher::{Promise, Publisher};
use super::setup;
use crate::bench::BenchError;
use crate::bench::door;
use crate::bench::link::{Link, Poll};
use crate::bench::outcome::Outcome;
use crate::bench::plan::{Kind, Plan, share};
use crate::bench::target::Endpoint;
use crate::bench::wire::{self, Shape, Template};
use std::time::Duration;

/// For what is stored beside a load, and for what is taken away again: how many there are is what bounds it, and this what bounds a server
/// that hardly moves.
const STORE_TIME: Duration = Duration::from_secs(120);
/// Of these, messages under way.
const STORE_WINDOW: usize = 100;

/// So many messages that are stored under names of their own.
#[derive(Debug, Clone)]
pub(in crate::bench) struct Errand {
    prefix: String,
    count: usize,
}

impl Errand {
    pub(in crate::bench) fn new(count: usize) -> Self {
        Self { prefix: format!("bench/{:08x}", crate::random::number() as u32), count }
    }

    pub(in crate::bench) fn count(&self) -> usize {
        self.count
    }

    /// What matches all of them, and nothing else.
    pub(in crate::bench) fn filter(&self) -> String {
        format!("{}/#", self.prefix)
    }

    /// The topic of all messages of the first publisher.
    pub(in crate::bench) fn first(&self) -> String {
        format!("{}/0", self.prefix)
    }

    /// One of the topics of [`Topics::Numbered`].
    pub(in crate::bench) fn numbered(&self, at: usize) -> String {
        aim::numbered(&self.prefix, at as u64)
    }

    /// The client identifier of whom they are for.
    pub(in crate::bench) fn receiver(&self) -> String {
        format!("{}-receiver", self.prefix.replace('/', "-"))
    }
}

/// Which topic each message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Topics {
    /// All of a publisher to one.
    OfPublisher,
    /// In turn to so many.
    Numbered { topics: usize, retain: bool },
}

/// What was stored.
#[derive(Debug)]
pub(in crate::bench) struct Stored {
    pub(in crate::bench) outcome: Outcome,
    /// Messages of each publisher.
    pub(in crate::bench) sent: Vec<u64>,
}

impl Stored {
    pub(in crate::bench) fn count(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// What of it was acknowledged, and not refused: above QoS 0 that is what says that a message is stored.
    pub(in crate::bench) fn taken(&self) -> u64 {
        self.count().saturating_sub(self.outcome.refused)
    }
}

impl Topics {
    /// One for each of `count` messages, which are retained.
    pub(in crate::bench) fn retained(count: usize) -> Self {
        Self::Numbered { topics: count, retain: true }
    }
}

/// Publishes them all, from as many connections as the plan has publishers, and waits for the acknowledgements, which are timed: as many
/// as the time of the plan allows. An empty payload takes retained ones away.
pub(in crate::bench) fn deposit(
    plan: &Plan,
    endpoint: &Endpoint,
    errand: &Errand,
    topics: Topics,
    watch: &mut dyn FnMut(u64),
) -> Result<Stored, BenchError> {
    let plan = Plan { rate: None, ..plan.clone() };
    let poll = Poll::new().map_err(BenchError::system("epoll"))?;
    let publishers = plan.publishers();
    let dictionary = setup::dictionary(&plan);
    let dictionary = plan.dialect.is_extended().then_some(&dictionary.as_bytes()[..]);
    let (mut links, mut roles, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..publishers {
        let door = door::open(endpoint, plan.dialect, &format!("{}-sender-{at}", errand.prefix.replace('/', "-")), true)?;
        links.push(Link::new(&poll, door.stream, at).map_err(BenchError::system("a socket"))?);
        roles.push(Role::Publisher(at));
        let (topic, aim) = match topics {
            Topics::OfPublisher => (format!("{}/{at}", errand.prefix), Aim::One),
            Topics::Numbered { topics, .. } => Aim::numbered(&errand.prefix, topics),
        };
        let retain = matches!(topics, Topics::Numbered { retain: true, .. });
        let template = Template::new(Shape { topic: &topic, qos: plan.qos, retain, payload_len: plan.payload_len, dictionary });
        let promise = Promise { window: plan.window, limit: share(errand.count as u64, at, publishers), owed: 1 };
        all.push(Publisher::new(at, at as u32, template, aim, promise).timed());
    }
    let mut engine = Engine::new(plan, poll, links, roles, all, 0);
    engine.times_acks();
    let outcome = engine.run(watch)?;
    Ok(Stored { outcome, sent: engine.sent() })
}

/// Takes the retained messages of an errand away.
pub(in crate::bench) fn clear(plan: &Plan, endpoint: &Endpoint, errand: &Errand) -> Result<(), BenchError> {
    let empty = Plan { payload_len: 0, ..storing(plan, errand) };
    deposit(&empty, endpoint, errand, Topics::retained(errand.count), &mut |_| {}).map(drop)
}

/// The plan by which its retained messages are stored, and taken away, beside whatever `plan` is.
pub(super) fn storing(plan: &Plan, errand: &Errand) -> Plan {
    Plan { qos: 1, window: STORE_WINDOW, time: STORE_TIME, kind: Kind::Retained(errand.count), ..plan.clone() }
}

/// Gets what was stored; `subscribe`: by a subscription, else because the session is there. Gone is what does not come.
pub(in crate::bench) fn collect(
    plan: &Plan,
    endpoint: &Endpoint,
    errand: &Errand,
    subscribe: bool,
    stored: &Stored,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, BenchError> {
    let poll = Poll::new().map_err(BenchError::system("epoll"))?;
    let door = door::open(endpoint, plan.dialect, &errand.receiver(), subscribe)?;
    let mut link = Link::new(&poll, door.stream, 0).map_err(BenchError::system("a socket"))?;
    if subscribe {
        // Messages may come before SUBACK (section 3.8.4 allows it), so it is not waited for here.
        link.out.extend(wire::subscribe(plan.dialect, 1, &[errand.filter()], plan.qos));
    }
    let streams = stored.sent.len();
    let role = Role::Subscriber { first: 0, count: streams as u32, tally: 0, lane: 0, extended: plan.dialect.is_extended() };
    let mut engine = Engine::new(plan.clone(), poll, vec![link], vec![role], Vec::new(), streams);
    engine.awaits(stored.sent.clone());
    engine.run(watch)
}
