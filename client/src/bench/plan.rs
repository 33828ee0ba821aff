//! What is to be measured.

use super::BenchError;
use super::wire::STAMP_LEN;
use candor_protocol::dialect::Dialect;
use std::time::Duration;

/// The shape of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// So many publishers, each with one subscriber.
    Pairs(usize),
    /// One publisher, so many subscribers.
    FanOut(usize),
    /// So many publishers, one subscriber.
    FanIn(usize),
    /// So many filters, half exact, a quarter with `+`, a quarter with `#`, over so many connections; ten publishers hit one each.
    Subs { filters: usize, connections: usize },
    /// So many retained messages, delivered on one subscription.
    Retained(usize),
    /// So many messages for an absent session, which then comes for them.
    Durable(usize),
    /// So many times CONNECT, CONNACK and DISCONNECT; over TLS with a full handshake or a resumed one.
    Storm { connections: usize, resume: bool },
    /// So many open connections.
    Idle(usize),
}

/// Publishers of [`Kind::Subs`].
const SUBS_PUBLISHERS: usize = 10;

/// A load in all its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub name: String,
    pub kind: Kind,
    pub qos: u8,
    /// Bytes, at least 16: stream and number travel in it.
    pub payload_len: usize,
    /// Messages of a publisher that are not acknowledged and delivered, at most; 1 to 65,535.
    pub window: usize,
    /// Messages a second over all publishers; `None`: as fast as the window allows.
    pub rate: Option<f64>,
    /// Messages over all publishers, at most.
    pub count: u64,
    /// The load phase lasts at most so long; what is on its way then is waited for.
    pub time: Duration,
    /// When nothing at all has come for so long, what is missing is taken for lost.
    pub stall: Duration,
    pub dialect: Dialect,
    /// Bytes of metadata with each message in the extended dialect; 0: an empty dictionary.
    pub dictionary_len: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: "pairs".to_owned(),
            kind: Kind::Pairs(10),
            qos: 0,
            payload_len: 64,
            window: 100,
            rate: None,
            count: 100_000_000,
            time: Duration::from_secs(3),
            stall: Duration::from_secs(5),
            dialect: Dialect::V311,
            dictionary_len: 0,
        }
    }
}

impl Plan {
    pub fn publishers(&self) -> usize {
        match self.kind {
            Kind::Pairs(count) | Kind::FanIn(count) => count,
            Kind::Subs { .. } => SUBS_PUBLISHERS,
            Kind::FanOut(_) | Kind::Retained(_) | Kind::Durable(_) => 1,
            Kind::Storm { connections, .. } | Kind::Idle(connections) => connections,
        }
    }

    pub fn subscribers(&self) -> usize {
        match self.kind {
            Kind::Pairs(count) | Kind::FanOut(count) => count,
            Kind::Subs { connections, .. } => connections,
            Kind::FanIn(_) | Kind::Retained(_) | Kind::Durable(_) => 1,
            Kind::Storm { connections, .. } | Kind::Idle(connections) => connections,
        }
    }

    /// Whether the floor can take part: it has no wildcards, sessions or QoS 2.
    pub fn suits_floor(&self) -> bool {
        self.qos < 2 && !self.dialect.is_extended() && !matches!(self.kind, Kind::Subs { .. } | Kind::Retained(_) | Kind::Durable(_))
    }

    /// Whether the protocol orders all messages of a stream: it does for those of one topic ([MQTT-4.6.0-6]).
    pub fn is_ordered(&self) -> bool {
        !matches!(self.kind, Kind::Subs { .. } | Kind::Retained(_))
    }

    /// # Errors
    /// A value is out of its range; the text says which.
    pub fn check(&self) -> Result<(), BenchError> {
        let wrong = |text: String| Err(BenchError::Usage(text));
        if self.qos > 2 {
            return wrong(format!("QoS {}: allowed are 0, 1 and 2", self.qos));
        }
        if !(STAMP_LEN..=64 << 20).contains(&self.payload_len) {
            return wrong(format!("a payload of {} bytes: {STAMP_LEN} carry stream and number, and 64 MiB is the most", self.payload_len));
        }
        if !(1..=65_535).contains(&self.window) {
            return wrong(format!("a window of {}: allowed is 1 to 65535", self.window));
        }
        if let Kind::Subs { filters, connections } = self.kind
            && (filters < 4 * connections || filters > 10_000_000)
        {
            return wrong(format!(
                "{filters} filters over {connections} connections: allowed are four a connection and more, up to 10000000"
            ));
        }
        if self.publishers() == 0 || self.subscribers() == 0 {
            return wrong("no connections at all: give at least 1".to_owned());
        }
        if self.dictionary_len > 0 && !self.dialect.is_extended() {
            return wrong("only messages in the extended dialect have a dictionary: add --dialect extended".to_owned());
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e8)) {
            return wrong("the rate: allowed is more than 0 to 100000000 messages a second".to_owned());
        }
        Ok(())
    }
}
