//! Subscribing: what is asked for, and what was granted, filter by filter.

use crate::client::Client;
use crate::error::{Misuse, RequestError};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::packet::property::{PROBLEM, PROFILE, REQUIRE, SUBSCRIPTION_OPTIONS};
use candor_protocol::packet::subscribe::options::{NO_LOCAL, NO_RETAINED, RETAIN_AS_PUBLISHED, UNORDERED};
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

/// What is asked of a subscription, for one filter or for all of a request.
#[derive(Debug, Clone, Default, PartialEq)]
struct Asked {
    qos: Option<Qos>,
    options: u64,
    requirement: Requirement,
}

impl Asked {
    /// What is asked for one filter, where the whole request asks for `all`.
    fn wish(&self, filter: TopicFilter, all: &Self) -> Wish {
        let options = self.options | all.options;
        let requirement = if self.requirement.is_empty() { &all.requirement } else { &self.requirement };
        let mut map = MapBuilder::new();
        map.set_some(SUBSCRIPTION_OPTIONS, Some(&options).filter(|options| **options != 0));
        map.set_some(REQUIRE, (!requirement.is_empty()).then(|| requirement.to_dictionary()).as_ref());
        Wish { filter, qos: self.qos.or(all.qos).unwrap_or(Qos::ExactlyOnce), item: map.finish() }
    }
}

/// How an owner of [`Asked`] is told what to ask.
macro_rules! setters {
    () => {
        /// The highest QoS that messages shall come with: where a filter has none of its own, that of its request; where neither has, 2, so
        /// that each comes as it was published.
        pub fn qos(mut self, qos: Qos) -> Self {
            self.asked.qos = Some(qos);
            self
        }

        /// Not the messages of this client itself. Extended connections only, as the next three. For a whole request it holds for all its
        /// filters, as these do.
        pub fn no_local(self) -> Self {
            self.option(NO_LOCAL)
        }

        /// Leaves the retain flag as the publisher set it.
        pub fn retain_as_published(self) -> Self {
            self.option(RETAIN_AS_PUBLISHED)
        }

        /// No retained messages on subscribing.
        pub fn no_retained(self) -> Self {
            self.option(NO_RETAINED)
        }

        /// A message that is put off ([`Incoming::modify`](crate::Incoming::modify)) lets others pass; without this, delivery pauses until
        /// its time has come.
        pub fn unordered(self) -> Self {
            self.option(UNORDERED)
        }

        fn option(mut self, option: u64) -> Self {
            self.asked.options |= option;
            self
        }

        /// The least profile that is good enough: where a filter has none of its own, that of its request. On a plain connection the request
        /// is refused here, since nobody would answer for it.
        pub fn require(mut self, requirement: Requirement) -> Self {
            self.asked.requirement = requirement;
            self
        }
    };
}

/// One topic filter with what concerns it alone.
///
/// ```
/// use candor_client::{Qos, Subscription};
/// let subscriptions = [Subscription::to("alarm/#").qos(Qos::ExactlyOnce), Subscription::to("chat/#").no_local()];
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    filter: String,
    asked: Asked,
}

impl Subscription {
    pub fn to(filter: impl Into<String>) -> Self {
        Self { filter: filter.into(), asked: Asked::default() }
    }

    setters!();
}

/// What [`Client::subscribe`](crate::Client::subscribe) takes: topic filters alone, or each with its own options.
pub trait Subscriptions {
    fn subscriptions(self) -> Vec<Subscription>;
}

impl<F: Filters> Subscriptions for F {
    fn subscriptions(self) -> Vec<Subscription> {
        self.filters().into_iter().map(Subscription::to).collect()
    }
}

impl Subscriptions for Subscription {
    fn subscriptions(self) -> Vec<Subscription> {
        vec![self]
    }
}

impl Subscriptions for Vec<Subscription> {
    fn subscriptions(self) -> Vec<Subscription> {
        self
    }
}

impl<const N: usize> Subscriptions for [Subscription; N] {
    fn subscriptions(self) -> Vec<Subscription> {
        self.into()
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
    subscriptions: Vec<Subscription>,
    /// Of all filters.
    asked: Asked,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn new(client: &'a Client, subscriptions: impl Subscriptions) -> Self {
        Self { client, subscriptions: subscriptions.subscriptions(), asked: Asked::default() }
    }

    setters!();
}

impl<'a> IntoFuture for Subscribe<'a> {
    type Output = Result<Vec<Granted>, RequestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let filters = parse(self.subscriptions.iter().map(|one| one.filter.clone()).collect::<Vec<_>>().as_slice())?;
            let wishes = filters.into_iter().zip(&self.subscriptions);
            let wishes = wishes.map(|(filter, one)| one.asked.wish(filter, &self.asked)).collect();
            self.client.subscribe_to(wishes).await
        })
    }
}
