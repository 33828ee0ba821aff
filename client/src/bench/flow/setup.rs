//! The connections of a flow, opened and subscribed before the load begins.

use super::aim::{Aim, Filters};
use super::crowd::Crowd;
use super::engine::{Company, Engine, Role};
use super::errand::{self, Errand, Topics};
use super::hostile::Hostile;
use super::publisher::{Promise, Publisher};
use crate::bench::BenchError;
use crate::bench::door::{self, Door, Opening};
use crate::bench::link::{Link, Poll};
use crate::bench::plan::{Beside, ENTRY_LEN_MIN, Kind, Plan, share};
use crate::bench::target::Endpoint;
use crate::bench::wire::{self, Shape, Template};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder, write_text};
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::property;
use std::ops::Range;

/// Messages that a flood has under way: enough that the server is never idle, few enough that one turn is no burden.
const FLOOD_WINDOW: usize = 100;

/// What a load leaves behind on a server beside its clean sessions.
#[derive(Debug, Default)]
pub(super) struct Left {
    session: Option<String>,
    retained: Option<Errand>,
}

impl Left {
    /// Takes it away.
    pub(super) fn clear(self, plan: &Plan, endpoint: &Endpoint) -> Result<(), BenchError> {
        if let Some(client_id) = self.session {
            door::end_session(endpoint, plan.dialect, &client_id)?;
        }
        self.retained.map_or(Ok(()), |errand| errand::clear(plan, endpoint, &errand))
    }
}

/// Opens everything. What is noted in `left` has to be taken away afterwards, also where it fails.
pub(super) fn engine(plan: &Plan, endpoint: &Endpoint, left: &mut Left) -> Result<Engine, BenchError> {
    let prefix = plan.prefix.clone().unwrap_or_else(|| format!("bench/{:08x}", crate::random::number() as u32));
    let mut build =
        Build { plan, endpoint, links: Vec::new(), roles: Vec::new(), poll: Poll::new().map_err(BenchError::system("epoll"))?, prefix };
    let filters = build.filters();
    let mut tallies = 0;
    for at in 0..plan.subscribers() {
        let streams = build.streams_of(at);
        let dialect = plan.dialect_of(at, false);
        let mut door = build.open(dialect, "sub", at)?;
        let topics = match &filters {
            Some(filters) => filters.of_connection(at),
            None => streams.clone().map(|stream| build.topic(stream)).collect(),
        };
        door.subscribe(&topics, plan.qos)?;
        let role = Role::Subscriber {
            first: streams.start as u32,
            count: streams.len() as u32,
            tally: tallies,
            lane: at,
            extended: dialect.is_extended(),
        };
        tallies += streams.len();
        build.add(door, role)?;
    }
    let dictionary = dictionary(plan);
    let mut publishers = Vec::new();
    for at in 0..plan.publishers() {
        let dialect = plan.dialect_of(at, true);
        let door = build.open(dialect, "pub", at)?;
        let (topic, aim) = match &filters {
            None => (build.topic(at), Aim::One),
            // Each publisher takes another path through the filters, and every run the same.
            Some(filters) => (filters.topic(), Aim::Filters(Filters { random: 0x9E37_79B9_7F4A_7C15 + at as u64, ..filters.clone() })),
        };
        let dictionary = dialect.is_extended().then_some(&dictionary.as_bytes()[..]);
        let template = Template::new(Shape { topic: &topic, qos: plan.qos, retain: false, payload_len: plan.payload_len, dictionary });
        let link = build.add(door, Role::Publisher(at))?;
        let limit = share(plan.count, at, plan.publishers());
        let promise = Promise { window: plan.window, limit, owed: build.fan() + u32::from(plan.qos > 0) };
        publishers.push(Publisher::new(link, at as u32, template, aim, promise));
    }
    let (aside, company) = build.company(&mut publishers, left)?;
    let mut engine = Engine::new(plan.clone(), build.poll, build.links, build.roles, publishers, tallies);
    engine.keeps_company(aside, company);
    Ok(engine)
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

    fn open(&self, dialect: Dialect, what: &str, at: usize) -> Result<Door, BenchError> {
        door::open(self.endpoint, dialect, &self.client_id(what, at), true)
    }

    fn client_id(&self, what: &str, at: usize) -> String {
        format!("{}-{what}-{at}", self.prefix.replace('/', "-"))
    }

    /// What happens beside the load: connections that are held and not looked at, and what is watched besides.
    fn company(&mut self, publishers: &mut Vec<Publisher>, left: &mut Left) -> Result<(Vec<Door>, Company), BenchError> {
        let (mut aside, mut company) = (Vec::new(), Company::none(publishers.len()));
        match self.plan.beside {
            Beside::Nothing => {}
            Beside::Deaf { count, receive_buffer } => {
                for at in 0..count {
                    let id = self.client_id("deaf", at);
                    let mut door = Opening::begin_narrow(self.endpoint, self.plan.dialect, &id, receive_buffer)?.finish()?;
                    door.subscribe(&[self.topic(at % self.plan.publishers())], self.plan.qos)?;
                    aside.push(door);
                }
            }
            Beside::FullQueue => {
                let topic = format!("{}/full", self.prefix);
                let client_id = self.client_id("absent", 0);
                let mut absent = door::open(self.endpoint, self.plan.dialect, &client_id, false)?;
                left.session = Some(client_id);
                absent.subscribe(std::slice::from_ref(&topic), 1)?;
                absent.leave()?;
                let door = self.open(self.plan.dialect, "flood", 0)?;
                let dictionary = self.plan.dialect.is_extended().then_some(&[][..]);
                let shape = Shape { topic: &topic, qos: 1, retain: false, payload_len: self.plan.payload_len, dictionary };
                let at = publishers.len();
                let link = self.add(door, Role::Publisher(at))?;
                let promise = Promise { window: FLOOD_WINDOW, limit: u64::MAX, owed: 1 };
                publishers.push(Publisher::new(link, at as u32, Template::new(shape), Aim::One, promise));
            }
            Beside::Hostile { count, rate } => company.crowd = Some(self.crowd(count, rate)?),
            Beside::Retained(count) => {
                let errand = Errand::new(count);
                left.retained = Some(errand.clone());
                let stored =
                    errand::deposit(&errand::storing(self.plan, &errand), self.endpoint, &errand, Topics::retained(count), &mut |_| {})?;
                let door = self.open(self.plan.dialect, "collector", 0)?;
                let link = self.add(door, Role::Aside { extended: self.plan.dialect.is_extended() })?;
                company.due = stored.count();
                company.opening = Some((link, wire::subscribe(self.plan.dialect, 1, &[errand.filter()], 0)));
            }
        }
        Ok((aside, company))
    }

    /// Hostile clients. Plain ones listen to what they are refused, so that they cost what they can.
    fn crowd(&self, count: usize, rate: u32) -> Result<Crowd, BenchError> {
        let mut endpoint = self.endpoint.clone();
        if let Some((user_name, password)) = &self.plan.hostile_login {
            (endpoint.user_name, endpoint.password) = (Some(user_name.clone()), Some(password.clone()));
        }
        let mut crowd = Crowd::new(rate).map_err(BenchError::system("epoll"))?;
        for at in 0..count {
            let (dialect, _) = Hostile::kind(at);
            let mut door = door::open(&endpoint, dialect, &self.client_id("hostile", at), true)?;
            if !dialect.is_extended() {
                door.subscribe(&["$feedback/#".to_owned()], 0)?;
            }
            crowd.add(door.stream, self.plan.payload_len).map_err(BenchError::system("a socket"))?;
        }
        Ok(crowd)
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
    if plan.dictionary_entries == 1 {
        message.set(property::CONTENT_TYPE, &"x".repeat(plan.dictionary_len.saturating_sub(6).max(1)));
    } else {
        // A name of three letters and a text, each with a head of one byte: as `ENTRY_LEN_MIN` counts.
        let value = "x".repeat((plan.dictionary_len / plan.dictionary_entries).saturating_sub(ENTRY_LEN_MIN - 1).max(1));
        for at in 0..plan.dictionary_entries {
            message.put_text(&format!("k{at:02}"), |out| write_text(out, &value));
        }
    }
    Dictionary::with(property::MESSAGE, message.finish().as_bytes())
}
