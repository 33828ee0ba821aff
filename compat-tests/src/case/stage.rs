//! A client and a broker as one case sees them.

use super::Target;
use crate::client::{self, Actor, Options, Outgoing};
use crate::outcome::{Checked, Stop};
use crate::peer::recipe::Transport;
use crate::peer::{Feature, Peer, Unavailable};

#[derive(Debug)]
pub struct Stage {
    pub target: Target,
    pub client: &'static Peer,
}

impl Stage {
    /// The same client with another broker.
    pub fn on(&self, target: &Target) -> Self {
        Self { target: target.clone(), client: self.client }
    }

    /// # Errors
    /// [`Stop::Unsupported`], if the client or the broker lacks the feature.
    pub fn needs(&self, feature: Feature) -> Checked {
        self.client.needs(feature)?;
        self.target.needs(feature)
    }

    pub fn topic(&self, name: &str) -> String {
        self.target.topic(name)
    }

    pub fn id(&self, name: &str) -> String {
        self.target.id(name)
    }

    /// A message to a topic of this case.
    pub fn message(&self, topic: &str, payload: impl AsRef<[u8]>) -> Outgoing {
        Outgoing::new(self.topic(topic), payload)
    }

    /// How a client called `name` connects over TCP with a clean session.
    ///
    /// # Errors
    /// As [`Stage::options_by`].
    pub fn options(&self, name: &str) -> Checked<Options> {
        self.options_by(Transport::Tcp, name)
    }

    /// How a client called `name` connects by another transport.
    ///
    /// # Errors
    /// The broker does not listen by it.
    pub fn options_by(&self, transport: Transport, name: &str) -> Checked<Options> {
        let broker = &self.target.broker;
        let plain = Options::new(broker.endpoint(transport)?, self.id(name));
        Ok(Options { transport, authority: broker.tls().authority.clone(), ..plain })
    }

    /// A client that has not connected yet.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn actor(&self, name: &str) -> Checked<Actor> {
        match client::open(&self.client.name) {
            Ok(client) => Ok(Actor::new(client, name)),
            Err(Unavailable::Broken(stop)) => Err(stop),
            Err(Unavailable::Missing(what)) => Err(Stop::failed(what)),
        }
    }

    /// A connected client with a clean session.
    ///
    /// # Errors
    /// It is refused.
    pub fn client(&self, name: &str) -> Checked<Actor> {
        let mut actor = self.actor(name)?;
        actor.connect(&self.options(name)?)?;
        Ok(actor)
    }

    /// A connected client with a stored session, and session present.
    ///
    /// # Errors
    /// It is refused.
    pub fn session(&self, name: &str) -> Checked<(Actor, Option<bool>)> {
        let mut actor = self.actor(name)?;
        let present = actor.connect(&self.options(name)?.stored())?;
        Ok((actor, present))
    }

    /// A client with a clean session that is subscribed to these topics of the case and to its fence.
    ///
    /// # Errors
    /// It is refused.
    pub fn subscriber(&self, name: &str, filters: &[(&str, u8)]) -> Checked<Actor> {
        let mut actor = self.client(name)?;
        // The fence at the same QoS: some clients ask for one QoS for all their filters.
        let fence = ("fence", filters.first().map_or(0, |(_, qos)| *qos));
        let named: Vec<(String, u8)> = filters.iter().chain([&fence]).map(|(filter, qos)| (self.topic(filter), *qos)).collect();
        actor.subscribe(&named)?;
        Ok(actor)
    }

    /// Everything that `publisher` or anybody before it has caused has been delivered: the next message that
    /// `subscriber`, who is subscribed to the fence, gets is the fence.
    ///
    /// # Errors
    /// Another message comes first.
    pub fn fence(&self, publisher: &mut Actor, subscriber: &mut Actor) -> Checked {
        publisher.publish(&self.message("fence", "fence"), 0)?;
        subscriber.expect(&self.topic("fence"), "fence").map(|_| ()).map_err(|stop| stop.within("nothing more was to come"))
    }
}
