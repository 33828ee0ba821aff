//! A broker in this process and clients that talk to it over real sockets, by every way into a dialect.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod gate;
pub mod operator;
pub mod rules;
pub mod store;

use bytes::BytesMut;
use candor_broker::broker::{Broker, CannotStart, ListenerSetup, Setup};
use candor_broker::shard::{Admission, Answer as Identity, Authenticate, ListenerSettings, Peer, Rights, Settings, Storage};
use candor_broker::store::DataDir;
use candor_broker::transport::bind::BindOptions;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::write::PublishFrame;
use candor_protocol::packet::{
    Connect, Durability, Message, Notice, Problem, Publish, Qos, Reason, Refusal, Retry, SubscribeItem, TopicFilter, Will, property,
};
use candor_protocol::session::{
    Answer, Cause, ClientSettings, Delivered, Delivery, Opened, Outcome, Output, Parked, ServerPolicy, Session, Ticket,
};
use candor_protocol::sim::Way;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for an event before it fails.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long a test listens to find that nothing comes.
pub const QUIET: Duration = Duration::from_millis(50);

/// Lets time pass, where time itself is what is tested: that a second of a real clock is over has no event.
pub fn time_passes(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Rights as tests need them: `deny/` may not be published to, `secret/` not subscribed to.
#[derive(Debug)]
pub struct TestRights;

pub fn denied() -> Refusal {
    let problem = Problem::titled("a rule denies it").rule("test rule").missing_scope("publish:deny").retry(Retry::Changed);
    Refusal::new(Reason::NOT_AUTHORIZED, problem)
}

impl Rights for TestRights {
    fn publish(&self, topic: &[u8], _qos: Qos, _retain: bool) -> Result<(), Refusal> {
        if topic.starts_with(b"deny/") { Err(denied()) } else { Ok(()) }
    }

    fn subscribe(&self, filter: &TopicFilter) -> Result<Qos, Refusal> {
        if filter.pattern().starts_with("secret/") { Err(denied()) } else { Ok(Qos::ExactlyOnce) }
    }
}

#[derive(Debug)]
struct Names;

/// A user name is who the client is; `wrong` as a password is refused.
impl Authenticate for Names {
    fn authenticate(&self, connect: &Connect, _client_id: &Arc<str>, _peer: &Peer) -> Identity {
        if connect.password.as_deref() == Some(b"wrong") {
            return Identity::Now(Err(Refusal::bare(Reason::BAD_USER_NAME_OR_PASSWORD)));
        }
        let principal = connect.user_name.clone().unwrap_or_default().into();
        let answer = Ok(Admission { principal, rights: Arc::new(TestRights) });
        // Half of the clients are verified elsewhere, as passwords are.
        if connect.client_id.len().is_multiple_of(2) { Identity::Now(answer) } else { Identity::Later(Box::new(move || answer)) }
    }
}

pub fn policy() -> ServerPolicy {
    let mut policy = ServerPolicy::default();
    policy.profile.durability = Durability::Memory;
    policy.profile.session_durability = Durability::Memory;
    policy
}

/// Of a listener that promises what the store keeps.
pub fn policy_on(storage: &Storage) -> ServerPolicy {
    if matches!(storage, Storage::Engine(_)) { durable() } else { policy() }
}

/// Of a listener that promises what outlives the broker.
pub fn durable() -> ServerPolicy {
    let mut policy = policy();
    policy.profile.durability = Durability::Disk;
    policy.profile.session_durability = Durability::Disk;
    policy
}

/// A broker on ports of the system's choice.
pub struct TestBroker {
    broker: Option<Broker>,
    /// Of its first listener.
    pub address: String,
    /// Of all.
    pub addresses: Vec<String>,
}

impl TestBroker {
    pub fn start(shards: u16) -> Self {
        Self::with(Settings { shards, ..Settings::default() }, policy(), false)
    }

    pub fn with(settings: Settings, policy: ServerPolicy, acknowledges_refused: bool) -> Self {
        Self::behind(settings, policy, acknowledges_refused, Arc::new(Names))
    }

    pub fn behind(settings: Settings, policy: ServerPolicy, acknowledges_refused: bool, authenticate: Arc<dyn Authenticate>) -> Self {
        Self::started(Self::setup(settings, vec![policy], acknowledges_refused, authenticate).unwrap())
    }

    /// With a listener for each policy.
    pub fn listening(settings: Settings, policies: Vec<ServerPolicy>) -> Self {
        Self::started(Self::setup(settings, policies, false, Arc::new(Names)).unwrap())
    }

    fn started(broker: Broker) -> Self {
        let addresses: Vec<String> = broker.urls().iter().map(|url| url.trim_start_matches("mqtt://").to_owned()).collect();
        Self { broker: Some(broker), address: addresses[0].clone(), addresses }
    }

    /// Why a broker does not start.
    pub fn why_not(settings: Settings, policy: ServerPolicy) -> String {
        Self::setup(settings, vec![policy], false, Arc::new(Names)).unwrap_err().to_string()
    }

    fn setup(
        settings: Settings,
        policies: Vec<ServerPolicy>,
        acknowledges_refused: bool,
        authenticate: Arc<dyn Authenticate>,
    ) -> Result<Broker, CannotStart> {
        let listener = |policy| {
            let authenticate = Arc::clone(&authenticate);
            let settings = ListenerSettings { name: "test".into(), policy: Arc::new(policy), acknowledges_refused, authenticate };
            let url = "mqtt://127.0.0.1:0".parse().unwrap();
            ListenerSetup { url, settings: Arc::new(settings), tls: None, bind: BindOptions::default() }
        };
        Broker::start(Setup { listeners: policies.into_iter().map(listener).collect(), settings })
    }

    pub fn stop(mut self) {
        self.broker.take().unwrap().stop().unwrap();
    }

    /// As after new rules.
    pub fn review_rights(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.broker.as_ref().unwrap().review_rights());
    }

    pub fn connect(&self, way: Way, id: &str) -> Client {
        self.connect_with(way.settings(id))
    }

    /// A client whose session outlives its connection.
    pub fn connect_stored(&self, way: Way, id: &str, parked: Parked) -> Client {
        Client::open(&self.address, stored(way, id), parked)
    }

    pub fn connect_with(&self, settings: ClientSettings) -> Client {
        Client::open(&self.address, settings, Parked::default())
    }

    /// A socket without a protocol.
    pub fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.stop().unwrap();
        }
    }
}

pub fn stored(way: Way, id: &str) -> ClientSettings {
    let mut settings = way.settings(id);
    settings.connect.clean_session = false;
    if settings.connect.dialect.is_extended() {
        settings.connect.dictionary = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &3600);
    }
    settings
}

pub fn with_will(mut settings: ClientSettings, topic: &str, retain: bool) -> ClientSettings {
    let message = Message::publish(topic, "gone").unwrap();
    settings.connect.will = Some(Will { message, qos: Qos::AtLeastOnce, retain, dictionary: Dictionary::EMPTY });
    settings
}

/// As [`stored`], where an offer asks for the same.
pub fn stored_everywhere(way: Way, id: &str) -> ClientSettings {
    let mut settings = stored(way, id);
    if let Some(offer) = &mut settings.offer {
        offer.dictionary = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &3600);
    }
    settings
}

/// A client that proves who it is.
pub fn named(mut settings: ClientSettings, name: &str) -> ClientSettings {
    settings.connect.user_name = Some(name.to_owned());
    settings
}

/// A client that does nothing by itself but acknowledge.
pub struct Client {
    stream: TcpStream,
    pub session: Session,
    arrived: BytesMut,
    start: Instant,
    /// What is answered to each message; `None`: the test answers.
    pub settles: Option<Outcome>,
    pub tickets: Vec<Ticket>,
    pub messages: Vec<Publish>,
    pub settled: Vec<(u64, Outcome)>,
    pub answers: Vec<(u64, Answer)>,
    pub notices: Vec<Notice>,
    pub pongs: Vec<Dictionary>,
    pub opened: Option<Opened>,
    pub closed: Option<Cause>,
    /// Bytes that came.
    pub heard: usize,
    next_token: u64,
}

impl Client {
    pub fn resume(address: &str, settings: ClientSettings, parked: Parked) -> Self {
        Self::open(address, settings, parked)
    }

    fn open(address: &str, settings: ClientSettings, parked: Parked) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self {
            stream,
            session: Session::client(Arc::new(settings), parked, 0),
            arrived: BytesMut::new(),
            start: Instant::now(),
            settles: Some(Outcome::accepted()),
            tickets: Vec::new(),
            messages: Vec::new(),
            settled: Vec::new(),
            answers: Vec::new(),
            notices: Vec::new(),
            pongs: Vec::new(),
            opened: None,
            closed: None,
            heard: 0,
            next_token: 0,
        };
        client.drain();
        client.until(|client| client.opened.is_some() || client.closed.is_some());
        client
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn drain(&mut self) {
        let mut out = BytesMut::new();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(packet) => drop(self.session.lower(&packet, &mut out)),
                Output::Publish(sending) => self.encode(&sending.delivery, sending.id, sending.dup, &mut out),
                Output::Message { ticket, publish } => {
                    self.messages.push(publish);
                    match (ticket, self.settles.clone()) {
                        (Some(ticket), Some(outcome)) => self.session.settle(ticket, outcome),
                        (Some(ticket), None) => self.tickets.push(ticket),
                        _ => {}
                    }
                }
                Output::Record(record) => self.session.recorded(record),
                Output::Settled { token, outcome, .. } => self.settled.push((token, outcome)),
                Output::Answered { token, answer } => self.answers.push((token, answer)),
                Output::Notice(notice) => self.notices.push(notice),
                Output::Pong(dictionary) => self.pongs.push(dictionary),
                Output::Opened(opened) => self.opened = Some(*opened),
                Output::Closed { cause, .. } => self.closed = Some(cause),
                _ => {}
            }
        }
        if !out.is_empty() && self.stream.write_all(&out).is_err() {
            self.session.lost();
        }
    }

    fn encode(&self, delivery: &Delivery, id: Option<candor_protocol::packet::PacketId>, dup: bool, out: &mut BytesMut) {
        let dialect = self.session.terms().dialect;
        PublishFrame::new(dialect, delivery.qos, delivery.retain, &delivery.message, &delivery.hop).write(id, dup, out);
    }

    /// Reads once, for at most `wait`; tells whether something came.
    fn step(&mut self, wait: Duration) -> bool {
        self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.session.lost(),
            Ok(len) => {
                self.heard += len;
                self.arrived.extend_from_slice(&buffer[..len]);
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => return false,
            Err(_) => self.session.lost(),
        }
        let now_ms = self.now_ms();
        while let Some(frame) = Frame::split_mut(&mut self.arrived, u32::MAX).unwrap() {
            self.session.receive(&frame, now_ms);
            self.drain();
        }
        self.drain();
        true
    }

    /// Runs until `done`, or fails.
    pub fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !done(self) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the event did not come: {} messages, {:?}", self.messages.len(), self.closed);
            assert!(self.closed.is_none() || done(self), "the connection ended: {:?}", self.closed);
            self.step(left);
        }
    }

    /// Takes what comes until nothing has come for a while: of what another shard has under way no answer to this client would tell.
    pub fn settle_down(&mut self) {
        while self.closed.is_none() && self.step(QUIET) {}
    }

    pub fn send(&mut self, delivery: Delivery) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let mut out = BytesMut::new();
        match self.session.deliver(delivery.clone(), token) {
            Delivered::Now(id) => self.encode(&delivery, id, false, &mut out),
            other => panic!("{other:?}"),
        }
        self.stream.write_all(&out).unwrap();
        token
    }

    pub fn start_publish(&mut self, topic: &str, payload: &str, qos: Qos, retain: bool) -> u64 {
        let message = Message::publish(topic, payload).unwrap();
        self.send(Delivery { message, qos, retain, hop: Dictionary::EMPTY })
    }

    /// Publishes and waits for the outcome, if there is one.
    pub fn publish(&mut self, topic: &str, payload: &str, qos: Qos) -> Option<Outcome> {
        let token = self.start_publish(topic, payload, qos, false);
        (qos != Qos::AtMostOnce).then(|| self.outcome(token))
    }

    pub fn retain(&mut self, topic: &str, payload: &str) {
        let token = self.start_publish(topic, payload, Qos::AtLeastOnce, true);
        self.outcome(token);
    }

    pub fn outcome(&mut self, token: u64) -> Outcome {
        self.until(|client| client.settled.iter().any(|(other, _)| *other == token));
        self.settled.iter().find(|(other, _)| *other == token).unwrap().1.clone()
    }

    pub fn subscribe(&mut self, filter: &str, qos: Qos) -> Reason {
        self.subscribe_with(filter, qos, Dictionary::EMPTY)
    }

    pub fn subscribe_with(&mut self, filter: &str, qos: Qos, dictionary: Dictionary) -> Reason {
        let token = self.next_token;
        self.next_token += 1;
        let filter = Ok(TopicFilter::new(filter).unwrap());
        self.session.subscribe(vec![SubscribeItem { filter, qos }], dictionary, token).unwrap();
        self.drain();
        self.until(|client| client.answers.iter().any(|(other, _)| *other == token));
        match &self.answers.iter().find(|(other, _)| *other == token).unwrap().1 {
            Answer::Subscribed(suback) => suback.reasons[0],
            other => panic!("{other:?}"),
        }
    }

    /// Subscribes to several filters with one packet; the answer.
    pub fn subscribe_all(&mut self, filters: &[TopicFilter], qos: Qos, dictionary: Dictionary) -> Answer {
        let token = self.next_token;
        self.next_token += 1;
        let items = filters.iter().map(|filter| SubscribeItem { filter: Ok(filter.clone()), qos }).collect();
        self.session.subscribe(items, dictionary, token).unwrap();
        self.drain();
        self.until(|client| client.answers.iter().any(|(other, _)| *other == token));
        self.answers.iter().find(|(other, _)| *other == token).unwrap().1.clone()
    }

    pub fn start_unsubscribe(&mut self, filter: &str) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.session.unsubscribe(vec![TopicFilter::new(filter).unwrap()], Dictionary::EMPTY, token).unwrap();
        self.drain();
        token
    }

    pub fn unsubscribe(&mut self, filter: &str) {
        let token = self.start_unsubscribe(filter);
        self.until(|client| client.answers.iter().any(|(other, _)| *other == token));
    }

    /// Sends PINGREQ, and waits for its PINGRESP.
    pub fn ping(&mut self, dictionary: Dictionary) -> Dictionary {
        self.pongs.clear();
        self.session.ask(dictionary);
        self.drain();
        self.until(|client| !client.pongs.is_empty());
        self.pongs.remove(0)
    }

    /// Waits for `count` messages and takes them: `TOPIC PAYLOAD`.
    pub fn expect(&mut self, count: usize) -> Vec<String> {
        self.until(|client| client.messages.len() >= count);
        let text = |publish: Publish| format!("{} {}", publish.message.topic_str(), String::from_utf8_lossy(publish.message.payload()));
        self.messages.drain(..count).map(text).collect()
    }

    /// Sends bytes as they are.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// A message with keys for this hop, and its outcome if it has one.
    pub fn publish_with(&mut self, message: Message, qos: Qos, retain: bool, hop: Dictionary) -> Option<Outcome> {
        let token = self.send(Delivery { message, qos, retain, hop });
        (qos != Qos::AtMostOnce).then(|| self.outcome(token))
    }

    /// Finds that nothing has come, after everything had time to.
    pub fn expect_nothing(&mut self) {
        self.settle_down();
        assert!(self.messages.is_empty(), "{:?}", self.messages);
    }

    pub fn expect_close(&mut self) -> Cause {
        self.until(|client| client.closed.is_some());
        self.closed.clone().unwrap()
    }

    /// Leaves, and waits until the broker has heard of it: it closes the connection behind everything else.
    pub fn leave(mut self) {
        self.session.leave(false);
        self.drain();
        self.read_to_the_end();
    }

    fn read_to_the_end(&mut self) {
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        while self.stream.read(&mut [0; 4096]).is_ok_and(|len| len > 0) {}
    }

    /// As [`Client::drop_connection`], and waits until the broker has heard of it.
    pub fn lose_connection(mut self) -> Parked {
        self.stream.shutdown(std::net::Shutdown::Write).ok();
        self.read_to_the_end();
        self.session.lost();
        self.session.park()
    }

    /// Drops the connection without a word and gives the session's state back.
    pub fn drop_connection(mut self) -> Parked {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
        self.session.lost();
        self.session.park()
    }

    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.session.settle(ticket, outcome);
        self.drain();
    }
}

/// A folder for one test, removed at its end.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("candor-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What keeps the records of the brokers that tests run on: memory, with receipts at once and turns later, and a disk.
pub fn in_every_storage(test: impl Fn(&Storage)) {
    test(&Storage::Memory);
    test(&Storage::Late { turns: 3 });
    let folder = Folder::new();
    test(&Storage::Engine(Arc::new(DataDir { path: folder.0.clone(), salvage: false })));
}

/// One and three shards, and whatever keeps what is owed.
pub fn on_every_broker(test: impl Fn(&TestBroker)) {
    in_every_storage(|storage| {
        for shards in [1, 3] {
            let settings = Settings { shards, storage: storage.clone(), ..Settings::default() };
            let broker = TestBroker::with(settings, policy_on(storage), false);
            test(&broker);
            broker.stop();
        }
    });
}

/// Each way on every broker.
pub fn everywhere(test: impl Fn(&TestBroker, Way)) {
    on_every_broker(|broker| Way::ALL.into_iter().for_each(|way| test(broker, way)));
}

pub const NO_MESSAGES: [&str; 0] = [];
