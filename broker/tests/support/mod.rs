//! A broker in this process and clients that talk to it over real sockets, by every way into a dialect.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod client;
pub mod gate;
pub mod operator;
pub mod rules;
pub mod store;

pub use client::{Client, named, stored, stored_everywhere, with_will};

use candor_broker::broker::{Broker, CannotStart, ListenerSetup, Setup};
use candor_broker::shard::{Admission, Answer as Identity, Authenticate, ListenerSettings, Peer, Rights, Settings, Storage};
use candor_broker::store::DataDir;
use candor_broker::transport::bind::BindOptions;
use candor_protocol::packet::{Connect, Durability, Problem, Qos, Reason, Refusal, Retry, TopicFilter};
use candor_protocol::session::{ClientSettings, Parked, ServerPolicy};
use candor_protocol::sim::Way;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

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
