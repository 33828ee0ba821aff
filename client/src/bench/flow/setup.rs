//! The connections of a flow, opened and subscribed before the load begins.

use super::aim::{Aim, Filters};
use super::engine::{Engine, Role};
use super::publisher::Publisher;
use crate::bench::BenchError;
use crate::bench::door::{self, Door};
use crate::bench::link::{Link, Poll};
use crate::bench::plan::{Kind, Plan};
use crate::bench::target::Endpoint;
use crate::bench::wire::{Shape, Template};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::property;
use std::ops::Range;

/// Opens everything.
pub(super) fn engine(plan: &Plan, endpoint: &Endpoint) -> Result<Engine, BenchError> {
    let prefix = format!("bench/{:08x}", crate::random::number() as u32);
    let mut build =
        Build { plan, endpoint, links: Vec::new(), roles: Vec::new(), poll: Poll::new().map_err(BenchError::system("epoll"))?, prefix };
    let filters = build.filters();
    let mut tallies = 0;
    for at in 0..plan.subscribers() {
        let streams = build.streams_of(at);
        let mut door = build.open("sub", at)?;
        let topics = match &filters {
            Some(filters) => filters.of_connection(at),
            None => streams.clone().map(|stream| build.topic(stream)).collect(),
        };
        door.subscribe(&topics, plan.qos)?;
        let role = Role::Subscriber { first: streams.start as u32, count: streams.len() as u32, tally: tallies, lane: at };
        tallies += streams.len();
        build.add(door, role)?;
    }
    let dictionary = dictionary(plan);
    let mut publishers = Vec::new();
    for at in 0..plan.publishers() {
        let door = build.open("pub", at)?;
        let (topic, aim) = match &filters {
            None => (build.topic(at), Aim::One),
            // Each publisher takes another path through the filters, and every run the same.
            Some(filters) => (filters.topic(), Aim::Filters(Filters { random: 0x9E37_79B9_7F4A_7C15 + at as u64, ..filters.clone() })),
        };
        let dictionary = plan.dialect.is_extended().then_some(&dictionary.as_bytes()[..]);
        let template = Template::new(Shape { topic: &topic, qos: plan.qos, retain: false, payload_len: plan.payload_len, dictionary });
        let link = build.add(door, Role::Publisher(at))?;
        let share = plan.count / plan.publishers() as u64 + u64::from((at as u64) < plan.count % plan.publishers() as u64);
        publishers.push(Publisher::new(link, at as u32, template, aim, plan.window, share, build.fan() + u32::from(plan.qos > 0)));
    }
    Ok(Engine::new(plan.clone(), build.poll, build.links, build.roles, publishers, tallies))
}

struct Build<'a> {
    plan: &'a Plan,
    endpoint: &'a Endpoint,
    links: Vec<Link>,
    roles: Vec<Role>,
    poll: Poll,
    prefix: String,
}

impl Build<'_> {
    fn topic(&self, stream: usize) -> String {
        format!("{}/{stream}", self.prefix)
    }

    fn filters(&self) -> Option<Filters> {
        let Kind::Subs { filters: count, connections } = self.plan.kind else { return None };
        Some(Filters { prefix: self.prefix.clone(), count, connections, random: 1, sent: vec![0; connections] })
    }

    fn streams_of(&self, subscriber: usize) -> Range<usize> {
        match self.plan.kind {
            Kind::Pairs(_) => subscriber..subscriber + 1,
            Kind::FanOut(_) => 0..1,
            Kind::FanIn(publishers) => 0..publishers,
            _ => 0..self.plan.publishers(),
        }
    }

    /// Deliveries of one message.
    fn fan(&self) -> u32 {
        match self.plan.kind {
            Kind::FanOut(subscribers) => subscribers as u32,
            _ => 1,
        }
    }

    fn open(&self, what: &str, at: usize) -> Result<Door, BenchError> {
        let id = format!("{}-{what}-{at}", self.prefix.replace('/', "-"));
        door::open(self.endpoint, self.plan.dialect, &id, true)
    }

    fn add(&mut self, door: Door, role: Role) -> Result<usize, BenchError> {
        let token = self.links.len();
        let link = Link::new(&self.poll, door.stream, token).map_err(BenchError::system("a socket"))?;
        self.links.push(link);
        self.roles.push(role);
        Ok(token)
    }
}

/// End-to-end metadata of about so many bytes, as an application would set it.
pub(super) fn dictionary(plan: &Plan) -> Dictionary {
    if plan.dictionary_len == 0 {
        return Dictionary::EMPTY;
    }
    let mut message = MapBuilder::new();
    message.set(property::CONTENT_TYPE, &"x".repeat(plan.dictionary_len.saturating_sub(6).max(1)));
    Dictionary::with(property::MESSAGE, message.finish().as_bytes())
}
