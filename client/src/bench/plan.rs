//! What is to be measured.

use super::BenchError;
use super::wire::STAMP_LEN;
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::TopicName;
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
    /// So many messages from so many publishers for an absent session, which then comes for them.
    Durable { messages: usize, publishers: usize },
    /// So many absent sessions that are owed so many messages each: of one topic that all have, or each of its own.
    Offline { sessions: usize, messages: usize, shared: bool },
    /// A server that is stopped with so many retained messages and absent sessions, and started again with them.
    Restart { retained: usize, sessions: usize },
    /// So many times CONNECT, CONNACK and DISCONNECT; over TLS with a full handshake or a resumed one.
    Storm { connections: usize, resume: bool },
    /// So many open connections.
    Idle(usize),
}

/// What happens beside a flow while it is measured: what others do to it must not be seen in its latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Beside {
    #[default]
    Nothing,
    /// So many more subscribers of the same topics that never read, each with a receive buffer of so many bytes.
    Deaf { count: usize, receive_buffer: usize },
    /// A publisher at full speed, at QoS 1, into the queue of a session that is not there.
    FullQueue,
    /// A subscriber that gets so many retained messages while the load lasts.
    Retained(usize),
    /// So many clients that publish below [`FORBIDDEN`], which the server has to refuse: so many messages a second over all of them.
    Hostile { count: usize, rate: u32 },
}

/// Where hostile clients publish.
pub const FORBIDDEN: &str = "forbidden";

/// What is shorter sees nothing.
const TIME_MIN: Duration = Duration::from_millis(10);
/// Publishers of [`Kind::Subs`].
const SUBS_PUBLISHERS: usize = 10;
/// The longest prefix: with what is behind it, a topic name and a client identifier that every server takes.
const PREFIX_LEN_MAX: usize = 1000;
/// The longest metadata.
pub(super) const DICTIONARY_LEN_MAX: usize = 1 << 20;
/// The longest payload.
pub(super) const PAYLOAD_LEN_MAX: usize = 64 << 20;
/// The shortest entry of a dictionary: a name of three letters and a text of one, each with its head.
pub(super) const ENTRY_LEN_MIN: usize = 6;

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
    /// Half of the publishers and half of the subscribers speak the other dialect, so that all four combinations occur.
    pub mixed: bool,
    /// Bytes of metadata with each message in the extended dialect; 0: an empty dictionary.
    pub dictionary_len: usize,
    /// The entries that these bytes are spread over; at least 1.
    pub dictionary_entries: usize,
    pub beside: Beside,
    /// User name and password of hostile clients; `None`: as all others.
    pub hostile_login: Option<(String, String)>,
    /// What topics and client identifiers of a flow begin with; `None`: random for each run.
    pub prefix: Option<String>,
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
            mixed: false,
            dictionary_len: 0,
            dictionary_entries: 1,
            beside: Beside::Nothing,
            hostile_login: None,
            prefix: None,
        }
    }
}

/// What of `count` things that go to `among` in turn goes to the one at `at`.
pub(super) fn share(count: u64, at: usize, among: usize) -> u64 {
    let (at, among) = (at as u64, among as u64);
    count / among + u64::from(at < count % among)
}

impl Plan {
    pub fn publishers(&self) -> usize {
        match self.kind {
            Kind::Pairs(count) | Kind::FanIn(count) => count,
            Kind::Subs { .. } => SUBS_PUBLISHERS,
            Kind::Durable { publishers, .. } => publishers,
            Kind::FanOut(_) | Kind::Retained(_) | Kind::Offline { .. } | Kind::Restart { .. } => 1,
            Kind::Storm { connections, .. } | Kind::Idle(connections) => connections,
        }
    }

    pub fn subscribers(&self) -> usize {
        match self.kind {
            Kind::Pairs(count) | Kind::FanOut(count) => count,
            Kind::Subs { connections, .. } => connections,
            Kind::FanIn(_) | Kind::Retained(_) | Kind::Durable { .. } => 1,
            Kind::Offline { sessions, .. } | Kind::Restart { sessions, .. } => sessions,
            Kind::Storm { connections, .. } | Kind::Idle(connections) => connections,
        }
    }

    /// Whether messages flow from connections to connections.
    pub fn is_flow(&self) -> bool {
        matches!(self.kind, Kind::Pairs(_) | Kind::FanOut(_) | Kind::FanIn(_) | Kind::Subs { .. })
    }

    /// What a connection speaks; `at` is its place among those of its kind.
    pub fn dialect_of(&self, at: usize, publishes: bool) -> Dialect {
        let is_other = if publishes { at % 2 == 1 } else { at / 2 % 2 == 1 };
        match self.dialect {
            Dialect::V311 if self.mixed && is_other => Dialect::Extended,
            dialect => dialect,
        }
    }

    /// Whether the protocol orders all messages of a stream: it does for those of one topic ([MQTT-4.6.0-6]).
    pub fn is_ordered(&self) -> bool {
        !matches!(self.kind, Kind::Subs { .. } | Kind::Retained(_) | Kind::Restart { .. } | Kind::Offline { .. })
    }

    /// # Errors
    /// A value is out of its range; the text says which.
    pub fn check(&self) -> Result<(), BenchError> {
        let wrong = |text: String| Err(BenchError::Usage(text));
        if self.qos > 2 {
            return wrong(format!("QoS {}: allowed are 0, 1 and 2", self.qos));
        }
        if !(STAMP_LEN..=PAYLOAD_LEN_MAX).contains(&self.payload_len) {
            return wrong(format!("a payload of {} bytes: {STAMP_LEN} carry stream and number, and 64 MiB is the most", self.payload_len));
        }
        if self.qos == 0 && matches!(self.kind, Kind::Durable { .. } | Kind::Offline { .. } | Kind::Restart { .. }) {
            return wrong("QoS 0: what waits for a session that is not there is kept at QoS 1 and 2".to_owned());
        }
        if let Some(prefix) = &self.prefix {
            if prefix.len() > PREFIX_LEN_MAX {
                return wrong(format!("a prefix of {} bytes: {PREFIX_LEN_MAX} is the most", prefix.len()));
            }
            if let Err(error) = TopicName::new(prefix.clone()) {
                return wrong(format!("the prefix {prefix:?} is not the beginning of a topic name: {error}"));
            }
        }
        if self.dictionary_len > DICTIONARY_LEN_MAX {
            return wrong(format!("a dictionary of {} bytes: {DICTIONARY_LEN_MAX} is the most", self.dictionary_len));
        }
        if self.time < TIME_MIN {
            return wrong(format!("a time of {:?}: {TIME_MIN:?} is the least", self.time));
        }
        if !(1..=65_535).contains(&self.window) {
            return wrong(format!("a window of {}: allowed is 1 to 65535", self.window));
        }
        if let Kind::Subs { filters, connections } = self.kind
            && (filters < 4 * connections && connections > 1 || filters > 10_000_000)
        {
            return wrong(format!(
                "{filters} filters over {connections} connections: allowed are four a connection and more, up to 10000000"
            ));
        }
        if self.publishers() == 0 || self.subscribers() == 0 {
            return wrong("no connections at all: give at least 1".to_owned());
        }
        if self.mixed && (self.dialect.is_extended() || !self.is_flow()) {
            return wrong("mixed dialects: half of a flow that begins with 3.1.1 is extended; leave --dialect out".to_owned());
        }
        if self.beside != Beside::Nothing && !self.is_flow() {
            return wrong("something beside a load: only beside one of messages that flow".to_owned());
        }
        if matches!((self.kind, self.beside), (Kind::Subs { .. }, Beside::Deaf { .. })) {
            return wrong("subscribers that never read, beside many filters: they would have no topic; leave --deaf out".to_owned());
        }
        if let Beside::Deaf { receive_buffer, .. } = self.beside
            && !(1..=16 << 20).contains(&receive_buffer)
        {
            return wrong(format!("a receive buffer of {receive_buffer} bytes: allowed is 1 to 16777216"));
        }
        if matches!(self.beside, Beside::Hostile { .. }) && self.rate.is_none() {
            return wrong(
                "hostile clients beside a load without a rate would only show who gets the rest of the server: add --rate".to_owned(),
            );
        }
        if let Kind::Offline { sessions, messages, .. } = self.kind
            && sessions * messages > 100_000_000
        {
            return wrong(format!("{sessions} sessions with {messages} messages each: 100000000 messages is the most"));
        }
        let room = self.dictionary_len / ENTRY_LEN_MIN;
        if self.dictionary_entries != 1 && !(1..=room).contains(&self.dictionary_entries) {
            return wrong(format!(
                "{} entries in {} bytes of metadata: allowed are 1 to {room}, {ENTRY_LEN_MIN} bytes each and more",
                self.dictionary_entries, self.dictionary_len
            ));
        }
        if self.dictionary_len > 0 && !self.dialect.is_extended() && !self.mixed {
            return wrong("only messages in the extended dialect have a dictionary: add --dialect extended".to_owned());
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e8)) {
            return wrong("the rate: allowed is more than 0 to 100000000 messages a second".to_owned());
        }
        Ok(())
    }
}
