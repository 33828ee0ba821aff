//! A broker as one case sees it: with names of its own, so that cases can share a broker and run at the same time.

use crate::outcome::{Checked, Stop};
use crate::peer::identity::client_config;
use crate::peer::recipe::Transport;
use crate::peer::{Broker, Feature, Unavailable};
use crate::wire::packet::Connect;
use crate::wire::websocket::{self, Framing, WebSocket};
use crate::wire::{Delivery, Wire, packet, patience};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The path of WebSocket URLs: the one that NATS insists on, and that others take like any.
pub const WEBSOCKET_PATH: &str = "/mqtt";

#[derive(Debug, Clone)]
pub struct Target {
    pub broker: Arc<Broker>,
    serial: u64,
}

impl Target {
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker, serial: Self::next_serial() }
    }

    /// A number that no other case of this process has.
    pub fn next_serial() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs a case with a broker of its own, which it may stop and kill.
    ///
    /// # Errors
    /// The broker does not start, or those of the case.
    pub fn alone(&self, case: impl FnOnce(&Self) -> Checked) -> Checked {
        let broker = match Broker::start(&self.broker.peer.name) {
            Ok(broker) => Self::new(Arc::new(broker)),
            Err(Unavailable::Broken(stop)) => return Err(stop),
            Err(Unavailable::Missing(what)) => return Err(Stop::failed(what)),
        };
        case(&broker).map_err(|stop| broker.with_log(stop))
    }

    /// A failure with what the broker said about this case, or at its end.
    pub fn with_log(&self, stop: Stop) -> Stop {
        let name = &self.broker.peer.name;
        let (id, topic) = (self.id(""), self.topic(""));
        match stop {
            Stop::Failed(why) if self.broker.is_running() => {
                let said = self.broker.log_tail(|line| line.contains(&id) || line.contains(&topic));
                match self.broker.fault_that_hit(&id) {
                    Some(fault) => Stop::Hit(format!("{name} {fault}: {why}")),
                    None => Stop::Failed(format!("{why}\n  {name} said about it:{said}")),
                }
            }
            Stop::Failed(why) => Stop::Failed(format!("{why}\n  {name} has ended:{}", self.broker.log_tail(|_| true))),
            other => other,
        }
    }

    /// A topic that no other case uses.
    pub fn topic(&self, name: &str) -> String {
        format!("t{}/{name}", self.serial)
    }

    /// A client identifier that no other case uses; of letters and digits, if `name` is.
    pub fn id(&self, name: &str) -> String {
        format!("c{}x{name}", self.serial)
    }

    /// # Errors
    /// [`Stop::Unsupported`], if the broker lacks the feature.
    pub fn needs(&self, feature: Feature) -> Checked {
        self.broker.peer.needs(feature)
    }

    /// A TCP connection on which nothing was sent yet.
    ///
    /// # Errors
    /// The connection is refused.
    pub fn open(&self, who: &str) -> Checked<Wire> {
        Wire::connect(self.broker.address()?, who)
    }

    /// A connection by another transport, on which no packet was sent yet.
    ///
    /// # Errors
    /// The broker does not have it, or the handshakes fail.
    pub fn open_by(&self, transport: Transport, framing: Framing, who: &str) -> Checked<Wire> {
        let address = self.broker.endpoint(transport)?;
        let wire = match transport.is_tls() {
            true => Wire::connect_tls(address, client_config(&self.broker.identity.authority, &[])?, who)?,
            false => Wire::connect(address, who)?,
        };
        if !transport.is_websocket() {
            return Ok(wire);
        }
        wire.wrapped(|mut stream| {
            websocket::upgrade(&mut *stream, WEBSOCKET_PATH, "mqtt")?;
            Ok(Box::new(WebSocket::new(stream, framing)))
        })
    }

    /// A connection that was accepted.
    ///
    /// # Errors
    /// It is refused.
    pub fn connect(&self, who: &str, connect: &Connect) -> Checked<(Wire, bool)> {
        let mut wire = self.open(who)?;
        let present = wire.connected(connect)?;
        Ok((wire, present))
    }

    /// A client with a clean session.
    ///
    /// # Errors
    /// It is refused.
    pub fn client(&self, name: &str) -> Checked<Wire> {
        Ok(self.connect(name, &Connect::clean(self.id(name)))?.0)
    }

    /// A client with a stored session, and session present.
    ///
    /// # Errors
    /// It is refused.
    pub fn session(&self, name: &str) -> Checked<(Wire, bool)> {
        self.connect(name, &Connect::stored(self.id(name)))
    }

    /// A client with a clean session that is subscribed to these topics of the case and to its fence.
    ///
    /// # Errors
    /// It is refused.
    pub fn subscriber(&self, name: &str, filters: &[(&str, u8)]) -> Checked<Wire> {
        let mut wire = self.client(name)?;
        let named = filters.iter().map(|(filter, qos)| (self.topic(filter), *qos));
        let with_fence: Vec<(String, u8)> = named.chain([(self.fence_topic(), 0)]).collect();
        wire.subscribed(&with_fence)?;
        Ok(wire)
    }

    /// The topic that [`Target::fence`] publishes to.
    pub fn fence_topic(&self) -> String {
        self.topic("fence")
    }

    /// Everything that `publisher` or anybody before it has caused has been delivered: the next message that
    /// `subscriber`, who is subscribed to the fence, gets is the fence.
    ///
    /// # Errors
    /// Another message comes first.
    pub fn fence(&self, publisher: &mut Wire, subscriber: &mut Wire) -> Checked {
        publisher.published(self.fence_topic(), "fence", 0)?;
        subscriber.received_message(&self.fence_topic(), "fence").map(|_| ()).map_err(|stop| stop.within("nothing more was to come"))
    }

    /// Publishes the fence, and returns what `subscriber`, who is subscribed to it, gets before it.
    ///
    /// # Errors
    /// The fence does not come.
    pub fn before_fence(&self, publisher: &mut Wire, subscriber: &mut Wire) -> Checked<Vec<Delivery>> {
        publisher.published(self.fence_topic(), "fence", 0)?;
        let is_fence = |seen: &Delivery| seen.topic == self.fence_topic().as_bytes();
        let mut seen = subscriber.receive_until(|seen| seen.last().is_some_and(is_fence))?;
        seen.retain(|seen| !is_fence(seen));
        Ok(seen)
    }

    /// The next message that belongs to this case, for subscribers whose filters match what other cases publish.
    ///
    /// # Errors
    /// None comes in time.
    pub fn next_of_ours(&self, subscriber: &mut Wire) -> Checked<Delivery> {
        let mark = format!("t{}/", self.serial);
        let deadline = Instant::now() + patience();
        while Instant::now() < deadline {
            let seen = subscriber.received()?;
            let topic = seen.topic_text();
            if topic.starts_with(&mark) || topic.contains(&format!("/{mark}")) {
                return Ok(seen);
            }
        }
        Err(Stop::failed(format!("no message with {mark} in its topic came")))
    }

    /// Sends `malformed` on a new connected session and sees the server close.
    ///
    /// # Errors
    /// It stays open, or sends something first.
    pub fn closes_on(&self, what: &str, malformed: &[u8]) -> Checked {
        let mut wire = self.client(&format!("bad{}", what.len()))?;
        wire.send(malformed)?;
        wire.expect_close().map_err(|stop| stop.within(what))
    }

    /// Sends a CONNECT and sees the server close without accepting it; returns the packets that came before the close.
    ///
    /// # Errors
    /// It is accepted, or the connection stays open.
    pub fn refuses(&self, what: &str, connect: &[u8]) -> Checked<Vec<Vec<u8>>> {
        let mut wire = self.open(what)?;
        wire.send(connect)?;
        let mut before = vec![];
        loop {
            match wire.next_within(patience()).map_err(|stop| stop.within(what))? {
                None => return Ok(before),
                Some(accepted) if accepted == packet::connack(false, 0) || accepted == packet::connack(true, 0) => {
                    return Err(wire.failure(format!("{what} was accepted")));
                }
                Some(packet) => before.push(packet),
            }
        }
    }
}
