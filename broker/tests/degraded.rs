//! A disk that takes nothing for a while, as clients of both dialects see it: `docs/degraded-disk.md`, written by
//!
//!     CANDOR_WRITE_DOCS=1 cargo test -p candor-broker --test degraded
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::Dictionary;

use candor_protocol::packet::{Notice, Profile, Qos, Refusal, Retry, property};
use candor_protocol::sim::Way;
use std::fmt::Write;
use std::path::PathBuf;
use support::store::TestStore;
use support::{Client, TestBroker, durable, named, stored_everywhere};

const BEGIN: &str = "<!-- transcript: begin -->\n";
const END: &str = "<!-- transcript: end -->";

/// What is said, in its order.
#[derive(Default)]
struct Transcript(String);

impl Transcript {
    fn event(&mut self, what: &str) {
        let _ = writeln!(self.0, "{}{what}", if self.0.is_empty() { "" } else { "\n" });
    }

    fn says(&mut self, who: &str, what: &str) {
        let _ = writeln!(self.0, "{who:>8} -> {what}");
    }

    fn hears(&mut self, who: &str, what: &str) {
        let _ = writeln!(self.0, "{who:>8} <- {what}");
    }
}

fn refusal(refusal: &Refusal) -> String {
    let problem = &refusal.problem;
    let mut text = format!("{}: {}; rule {}", refusal.reason, problem.title.as_deref().unwrap(), problem.rule.as_deref().unwrap());
    if let Some(Retry::After { after_ms, jitter_ms }) = &problem.retry {
        let _ = write!(text, "; retry after {after_ms} ms and up to {jitter_ms} more");
    }
    assert!(problem.trace_id.is_some(), "it is found in the server's log");
    format!("{text}; trace ...")
}

fn notice(notice: &Notice) -> String {
    let profile = Profile::of_dictionary(&notice.dictionary.value::<Dictionary>(property::PROFILE).unwrap());
    format!("NOTICE {}: durability {}, sessions {}", notice.reason, profile.durability, profile.session_durability)
}

/// A verdict as a plain client reads it, without what is different each time.
fn verdict(client: &Client) -> String {
    let publish = client.messages.last().unwrap();
    let value: serde_json::Value = serde_json::from_slice(publish.message.payload()).unwrap();
    let reason = format!("{} (0x{:02X})", value["reason"]["name"].as_str().unwrap(), value["reason"]["code"].as_u64().unwrap());
    format!("PUBLISH {}  {reason}, about {}", publish.message.topic_str(), value["topic"].as_str().unwrap())
}

fn play() -> String {
    let mut told = Transcript::default();
    let store = TestStore::default();
    let broker = TestBroker::with(Settings { shards: 2, storage: store.storage(), ..Settings::default() }, durable(), false);
    let plain_settings = || named(Way::Plain.settings("plain"), "ann");
    let mut sleeper = broker.connect_with(stored_everywhere(Way::Plain, "sleeper"));
    sleeper.subscribe("owed/#", Qos::AtLeastOnce);
    let asleep = sleeper.drop_connection();
    let mut extended = broker.connect(Way::Extended, "extended");
    let mut plain = broker.connect_with(plain_settings());

    told.event("The disk is whole.");
    for (who, client) in [("extended", &mut extended), ("plain", &mut plain)] {
        told.says(who, "PUBLISH owed/before, QoS 1");
        let outcome = client.publish("owed/before", who, Qos::AtLeastOnce).unwrap();
        assert!(outcome.refusal().is_none());
        told.hears(who, "PUBACK: it is on disk");
    }

    told.event("It is full.");
    store.fail(true);
    told.says("extended", "PUBLISH owed/meanwhile, QoS 1");
    let outcome = extended.publish("owed/meanwhile", "extended", Qos::AtLeastOnce).unwrap();
    extended.until(|client| !client.notices.is_empty());
    told.hears("extended", &notice(&extended.notices[0]));
    told.hears("extended", &format!("PUBACK {}", refusal(&outcome.refusal().unwrap())));
    told.says("plain", "PUBLISH owed/meanwhile, QoS 1");
    let token = plain.start_publish("owed/meanwhile", "plain", Qos::AtLeastOnce, false);
    plain.expect_close();
    assert!(plain.settled.iter().all(|(other, _)| *other != token), "no success for what is not kept");
    told.hears("plain", "no PUBACK, since 3.1.1 knows only that of success: the connection is closed");
    told.says("plain", "CONNECT, SUBSCRIBE $feedback/#");
    let mut plain = broker.connect_with(plain_settings());
    plain.subscribe("$feedback/#", Qos::AtMostOnce);
    plain.until(|client| !client.messages.is_empty());
    told.hears("plain", &verdict(&plain));

    told.event("There is room again.");
    store.fail(false);
    extended.until(|client| client.notices.len() == 2);
    told.hears("extended", &notice(&extended.notices[1]));
    told.says("extended", "PUBLISH owed/after, QoS 1");
    assert!(extended.publish("owed/after", "extended", Qos::AtLeastOnce).unwrap().refusal().is_none());
    told.hears("extended", "PUBACK: it is on disk");
    told.says("plain", "PUBLISH owed/meanwhile, QoS 1, once more");
    assert!(plain.publish("owed/meanwhile", "plain", Qos::AtLeastOnce).unwrap().refusal().is_none());
    told.hears("plain", "PUBACK: it is on disk");

    told.event("The subscriber comes back.");
    let mut sleeper = Client::resume(&broker.address, stored_everywhere(Way::Plain, "sleeper"), asleep);
    for message in sleeper.expect(4) {
        told.hears("sleeper", &format!("PUBLISH {message}"));
    }
    sleeper.expect_nothing();
    told.0
}

#[test]
fn the_page_of_a_degraded_disk_is_what_clients_see() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/degraded-disk.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the page has a mark where the transcript begins");
    let (_, after) = rest.split_once(END).expect("the page has a mark where the transcript ends");
    let made = format!("{before}{BEGIN}```text\n{}```\n{END}{after}", play());
    if std::env::var_os("CANDOR_WRITE_DOCS").is_some() {
        return std::fs::write(&path, made).unwrap();
    }
    assert_eq!(page, made, "docs/degraded-disk.md is behind: CANDOR_WRITE_DOCS=1 writes it");
}
