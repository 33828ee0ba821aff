//! Subscribing: what is asked for, and what was granted, filter by filter.

use crate::client::Client;
use crate::error::{Misuse, RequestError};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::property::{PROBLEM, PROFILE, REQUIRE, SUBSCRIPTION_OPTIONS};
use candor_protocol::packet::subscribe::{SubAck, items_of};
use candor_protocol::packet::{Problem, Profile, Qos, Reason, Refusal, Requirement, SubscribeItem, TopicFilter};
use std::future::{Future, IntoFuture};
use std::pin::Pin;

/// What became of one filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Granted {
    pub filter: TopicFilter,
    /// The QoS that was granted, which may be lower than the one asked for; or the refusal of this filter alone.
    pub result: Result<Qos, Refusal>,
    /// What is kept for this subscription, where the server says it.
    pub profile: Option<Profile>,
}

/// One or more topic filters.
pub trait Filters {
    fn filters(self) -> Vec<String>;
}

impl Filters for &str {
    fn filters(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Filters for String {
    fn filters(self) -> Vec<String> {
        vec![self]
    }
}

impl<const N: usize> Filters for [&str; N] {
    fn filters(self) -> Vec<String> {
        self.into_iter().map(str::to_owned).collect()
    }
}

impl Filters for &[String] {
    fn filters(self) -> Vec<String> {
        self.to_vec()
    }
}

/// Reads topic filters.
pub(crate) fn parse(filters: impl Filters) -> Result<Vec<TopicFilter>, Misuse> {
    let parse = |text: String| TopicFilter::new(&text).map_err(|wrong| Misuse::Topic { text, wrong });
    let filters: Vec<_> = filters.filters().into_iter().map(parse).collect::<Result<_, _>>()?;
    if filters.is_empty() { Err(Misuse::NoFilter) } else { Ok(filters) }
}

/// A SUBSCRIBE on its way to the driver, and what is asked again when a session was lost.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) filter: TopicFilter,
    pub(crate) qos: Qos,
    /// What concerns this filter alone.
    pub(crate) item: Dictionary,
}

/// The packet for some wishes.
pub(crate) fn packet(wishes: &[Wish]) -> (Vec<SubscribeItem>, Dictionary) {
    let items = wishes.iter().map(|wish| SubscribeItem { filter: Ok(wish.filter.clone()), qos: wish.qos }).collect();
    (items, items_of(wishes.iter().map(|wish| wish.item.clone())))
}

/// Reads SUBACK, filter by filter; `None`: it has another number of reasons than there are filters.
pub(crate) fn granted(wishes: &[Wish], suback: &SubAck) -> Option<Vec<Granted>> {
    let shared: Option<Dictionary> = suback.dictionary.value(PROBLEM);
    let read = |(at, (wish, reason)): (usize, (&Wish, &Reason))| {
        let own = suback.dictionary.item(at);
        let problem = own.value(PROBLEM).or_else(|| shared.clone());
        let result = match Qos::new(reason.0) {
            Some(qos) => Ok(qos),
            None => {
                let problem = problem.map(|map| Problem::of_dictionary(&map)).unwrap_or_default();
                Err(Refusal::new(reason.known_or_class(), problem))
            }
        };
        let profile = own.value(PROFILE).map(|map: Dictionary| Profile::of_dictionary(&map));
        Granted { filter: wish.filter.clone(), result, profile }
    };
    (wishes.len() == suback.reasons.len()).then(|| wishes.iter().zip(&suback.reasons).enumerate().map(read).collect())
}

/// A subscription that is about to be asked for; `.await` asks and gives what was granted.
#[derive(Debug)]
#[must_use = "nothing is asked before it is awaited"]
pub struct Subscribe<'a> {
    client: &'a Client,
    filters: Result<Vec<TopicFilter>, Misuse>,
    qos: Qos,
    options: u64,
    requirement: Requirement,
}

const NO_LOCAL: u64 = 1;
const RETAIN_AS_PUBLISHED: u64 = 2;
const NO_RETAINED: u64 = 4;
const UNORDERED: u64 = 16;

impl<'a> Subscribe<'a> {
    pub(crate) fn new(client: &'a Client, filters: impl Filters) -> Self {
        Self { client, filters: parse(filters), qos: Qos::ExactlyOnce, options: 0, requirement: Requirement::default() }
    }

    /// The highest QoS that messages shall come with; default 2, so that each comes as it was published.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// Not the messages of this client itself. Extended connections only, as the next three.
    pub fn no_local(mut self) -> Self {
        self.options |= NO_LOCAL;
        self
    }

    /// Leaves the retain flag as the publisher set it.
    pub fn retain_as_published(mut self) -> Self {
        self.options |= RETAIN_AS_PUBLISHED;
        self
    }

    /// No retained messages on subscribing.
    pub fn no_retained(mut self) -> Self {
        self.options |= NO_RETAINED;
        self
    }

    /// A message that is put off ([`Incoming::modify`](crate::Incoming::modify)) lets others pass; without this, delivery pauses until its
    /// time has come.
    pub fn unordered(mut self) -> Self {
        self.options |= UNORDERED;
        self
    }

    /// The least profile that is good enough for this subscription. On a plain connection the request is refused here, since
    /// nobody would answer for it.
    pub fn require(mut self, requirement: Requirement) -> Self {
        self.requirement = requirement;
        self
    }
}

impl<'a> IntoFuture for Subscribe<'a> {
    type Output = Result<Vec<Granted>, RequestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut map = MapBuilder::new();
            if self.options != 0 {
                map.set(SUBSCRIPTION_OPTIONS, &self.options);
            }
            if !self.requirement.is_empty() {
                map.set(REQUIRE, &self.requirement.to_dictionary());
            }
            let item = map.finish();
            let wishes = self.filters?.into_iter().map(|filter| Wish { filter, qos: self.qos, item: item.clone() }).collect();
            self.client.subscribe_to(wishes).await
        })
    }
}
