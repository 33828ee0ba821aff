//! Messages that are stored first and fetched later.

use super::aim::Aim;
use super::engine::{Engine, Role};
use super::publisher::Publisher;
use super::setup;
use crate::bench::BenchError;
use crate::bench::door;
use crate::bench::link::{Link, Poll};
use crate::bench::outcome::Outcome;
use crate::bench::plan::Plan;
use crate::bench::target::Endpoint;
use crate::bench::wire::{self, Shape, Template};
use std::time::Duration;

/// For all messages to be stored: how many there are is what bounds it, and this what bounds a server that hardly moves.
const STORE_TIME: Duration = Duration::from_secs(120);

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

    /// What matches all of them, and nothing else.
    pub(in crate::bench) fn filter(&self) -> String {
        format!("{}/#", self.prefix)
    }

    /// The client identifier of whom they are for.
    pub(in crate::bench) fn receiver(&self) -> String {
        format!("{}-receiver", self.prefix.replace('/', "-"))
    }
}

/// Publishes them all and waits for the acknowledgements; `retained`: each on a topic of its own. With an empty payload that takes
/// the stored ones away.
pub(in crate::bench) fn deposit(
    plan: &Plan,
    endpoint: &Endpoint,
    errand: &Errand,
    retained: bool,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, BenchError> {
    let plan = Plan { time: STORE_TIME, rate: None, ..plan.clone() };
    let poll = Poll::new().map_err(BenchError::system("epoll"))?;
    let door = door::open(endpoint, plan.dialect, &format!("{}-sender", errand.prefix.replace('/', "-")), true)?;
    let link = Link::new(&poll, door.stream, 0).map_err(BenchError::system("a socket"))?;
    let (topic, aim) = if retained { Aim::numbered(&errand.prefix) } else { (format!("{}/d", errand.prefix), Aim::One) };
    let dictionary = setup::dictionary(&plan);
    let dictionary = plan.dialect.is_extended().then_some(&dictionary.as_bytes()[..]);
    let template = Template::new(Shape { topic: &topic, qos: plan.qos, retain: retained, payload_len: plan.payload_len, dictionary });
    let publisher = Publisher::new(0, 0, template, aim, plan.window, errand.count as u64, 1);
    Engine::new(plan, poll, vec![link], vec![Role::Publisher(0)], vec![publisher], 0).run(watch)
}

/// Gets `stored.count` of them; `subscribe`: by a subscription, else because the session is there. Gone is what does not come.
pub(in crate::bench) fn collect(
    plan: &Plan,
    endpoint: &Endpoint,
    errand: &Errand,
    subscribe: bool,
    stored: u64,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, BenchError> {
    let poll = Poll::new().map_err(BenchError::system("epoll"))?;
    let door = door::open(endpoint, plan.dialect, &errand.receiver(), subscribe)?;
    let mut link = Link::new(&poll, door.stream, 0).map_err(BenchError::system("a socket"))?;
    if subscribe {
        // Messages may come before SUBACK (section 3.8.4 allows it), so it is not waited for here.
        link.out.extend(wire::subscribe(plan.dialect, 1, &[errand.filter()], plan.qos));
    }
    let role = Role::Subscriber { first: 0, count: 1, tally: 0, lane: 0 };
    let mut engine = Engine::new(plan.clone(), poll, vec![link], vec![role], Vec::new(), 1);
    engine.awaits(stored);
    engine.run(watch)
}
