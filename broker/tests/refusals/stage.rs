//! One broker with the people of one scenario.

use crate::causes::Scenario;
use crate::log;
use crate::support::store::TestStore;
use crate::support::{Client, Folder, TestBroker, named, policy_on, stored_everywhere};
use candor_broker::feedback::Cause;
use candor_broker::shard::{Settings, Storage};
use candor_broker::store::DataDir;
use candor_protocol::packet::{Problem, Qos, Reason, Refusal, Retry, property};
use candor_protocol::session::ClientSettings;
use candor_protocol::sim::Way;
use std::sync::Arc;

/// What happened to one packet or message, and who learns what of it.
#[derive(Debug, Clone)]
pub struct Row {
    pub cause: Cause,
    pub what: &'static str,
    pub way: Way,
    pub qos: Option<Qos>,
    /// Bytes from the server to the client that it concerns.
    pub bytes: usize,
    pub client: String,
    pub publisher: String,
    pub operator: String,
}

impl Row {
    pub fn is_about_the_same_as(&self, other: &Self) -> bool {
        (self.cause, self.what, self.way, self.qos) == (other.cause, other.what, other.way, other.qos)
    }
}

pub struct Stage {
    pub cause: Cause,
    pub what: &'static str,
    pub way: Way,
    pub qos: Option<Qos>,
    /// What keeps everything, where a scenario wants it to fail.
    pub store: TestStore,
    broker: Option<TestBroker>,
    /// Gets everything that anybody takes.
    watcher: Option<Client>,
    _folder: Folder,
}

/// The client that it is about, everywhere.
pub const WHO: &str = "device";
/// The payload of what is refused: nobody may ever get it.
pub const REFUSED: &str = "refused";

impl Stage {
    pub fn new(cause: Cause, scenario: &Scenario, storage: &Storage, way: Way, qos: Option<Qos>) -> Self {
        log::listen();
        let (folder, store) = (Folder::new(), TestStore::default());
        // Each stage begins with nothing.
        let storage = match storage {
            _ if scenario.fails => store.storage(),
            Storage::Engine(_) => Storage::Engine(Arc::new(DataDir { path: folder.0.clone(), salvage: false })),
            other => other.clone(),
        };
        let (mut policy, mut settings) = (policy_on(&storage), Settings { storage, ..Settings::default() });
        (scenario.prepare)(&mut settings, &mut policy);
        let is_watched = settings.connections_max > 2;
        let broker = TestBroker::with(settings, policy, false);
        let mut watcher = is_watched.then(|| broker.connect(Way::Plain, "watcher"));
        if let Some(watcher) = &mut watcher {
            watcher.subscribe("#", Qos::AtMostOnce);
        }
        Self { cause, what: scenario.what, way, qos, store, broker: Some(broker), watcher, _folder: folder }
    }

    pub fn broker(&self) -> &TestBroker {
        self.broker.as_ref().unwrap()
    }

    pub fn stop(&mut self) {
        drop(self.watcher.take());
        self.broker.take().unwrap().stop();
    }

    pub fn qos(&self) -> Qos {
        self.qos.unwrap_or_default()
    }

    pub fn settings(&self) -> ClientSettings {
        named(self.way.settings(WHO), "ann")
    }

    pub fn client(&self) -> Client {
        let mut client = self.broker().connect_with(self.settings());
        if client.opened.is_some() {
            // The server has heard how an offer has ended.
            client.subscribe("round/trip", Qos::AtMostOnce);
        }
        client
    }

    /// One whose session outlives its connection.
    pub fn stored_client(&self, way: Way) -> Client {
        self.broker().connect_with(named(stored_everywhere(way, WHO), "ann"))
    }

    /// Nothing that was refused was given to anybody.
    pub fn end(self) {
        if let Some(mut watcher) = self.watcher {
            watcher.subscribe("the/end", Qos::AtMostOnce);
            watcher.settle_down();
            let refused = watcher.messages.iter().filter(|publish| publish.message.payload() == REFUSED.as_bytes()).count();
            // What a store fails at was handed to those for whom nothing is kept already: at least once is what it was sent with.
            let refused = if self.cause == Cause::Storage { 0 } else { refused };
            assert_eq!(refused, 0, "{:?} {:?} {:?}: refused, and delivered", self.cause, self.way, self.qos);
        }
    }

    /// The row of what was refused for this reason; `bytes` and `client` are what the client saw, `publisher` what somebody else did.
    pub fn row(&self, reason: Reason, bytes: usize, client: String, publisher: &str) -> Row {
        let code = format!("(0x{:02X})", reason.0);
        assert_eq!(Cause::of(reason), self.cause, "{reason:?}");
        let cause = format!("cause=\"{}\"", self.cause.name());
        let lines = log::lines(&[&cause, &code]);
        assert!(!lines.is_empty(), "the operator has no line with {cause} and {code}");
        let publisher = if publisher.is_empty() { "the same".to_owned() } else { publisher.to_owned() };
        let level = reason.name().replace(' ', "-").to_ascii_lowercase();
        let operator = format!("`$SYS/candor/refused/{level}`");
        Row { cause: self.cause, what: self.what, way: self.way, qos: self.qos, bytes, client, publisher, operator }
    }

    /// What the client reads on `$feedback/` when it is back: a verdict with this reason. A part of what it sees.
    pub fn feedback(&self, reason: Reason) -> String {
        let mut back = self.broker().connect_with(named(Way::Plain.settings(WHO), "ann"));
        assert!(back.opened.is_some(), "{:?}", back.closed);
        back.subscribe("$feedback/#", Qos::AtMostOnce);
        let is_told = |client: &Client| (0..client.messages.len()).any(|at| code_of(client, at) == Some(u64::from(reason.0)));
        back.until(is_told);
        let at = (0..back.messages.len()).find(|at| code_of(&back, *at) == Some(u64::from(reason.0))).unwrap();
        let topic = back.messages[at].message.topic_str().to_owned();
        let value: serde_json::Value = serde_json::from_slice(back.messages[at].message.payload()).unwrap();
        let trace = format!("trace=\"{}\"", value["trace_id"].as_str().unwrap());
        assert_eq!(log::lines(&[&trace]).len(), 1, "{trace} in the log");
        back.leave();
        format!("`{topic}`")
    }
}

fn code_of(client: &Client, at: usize) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(client.messages[at].message.payload()).ok()?;
    value["reason"]["code"].as_u64()
}

/// A refusal in words. Its trace id is one that the log has.
pub fn words(refusal: &Refusal) -> String {
    let problem = &refusal.problem;
    let trace = problem.trace_id.as_deref().unwrap_or_else(|| panic!("without a trace id: {refusal:?}"));
    assert_eq!(log::lines(&[&format!("trace=\"{trace}\"")]).len(), 1, "{trace} in the log, for {refusal}");
    let retry = match problem.retry {
        None => "no word on a retry".to_owned(),
        Some(Retry::Never) => "retry never".to_owned(),
        Some(Retry::Changed) => "retry when something has changed".to_owned(),
        Some(Retry::After { .. }) => "retry after a time".to_owned(),
    };
    let parts = [problem.title.clone(), problem.rule.as_ref().map(|rule| format!("rule {rule}")), Some(retry)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("0x{:02X} {}: {}", refusal.reason.0, refusal.reason.name(), parts.join(", "))
}

/// The refusal in a dictionary.
pub fn refusal_of(reason: Reason, dictionary: &candor_protocol::codec::dictionary::Dictionary) -> Refusal {
    let problem = dictionary.value(property::PROBLEM).map(|map| Problem::of_dictionary(&map)).unwrap_or_default();
    Refusal::new(reason, problem)
}
