//! A clock that is set back while no broker runs: nothing is lost, and no session outlives what was agreed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::Settings;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Message, Qos, property};
use candor_protocol::session::{ClientSettings, SessionState};
use candor_protocol::sim::Way;
use std::time::Duration;
use support::store::TestStore;
use support::{Client, TestBroker, durable, stored_everywhere};

const YEARS_MS: u64 = 10 * 365 * 86_400_000;

fn start(store: &TestStore) -> TestBroker {
    TestBroker::with(Settings { shards: 2, storage: store.storage(), ..Settings::default() }, durable(), false)
}

fn with_expiry(way: Way, id: &str, seconds: u64) -> ClientSettings {
    let mut settings = stored_everywhere(way, id);
    let expiry = Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &seconds);
    match &mut settings.offer {
        Some(offer) => offer.dictionary = expiry,
        None => settings.connect.dictionary = expiry,
    }
    settings
}

fn state(client: &Client) -> Option<SessionState> {
    client.opened.as_ref().unwrap().dictionary.value(property::SESSION_STATE).and_then(SessionState::of_number)
}

#[test]
fn a_clock_that_was_set_back_loses_nothing_and_keeps_no_session_longer_than_agreed() {
    for way in [Way::Extended, Way::Offer] {
        let store = TestStore::default();
        let broker = start(&store);
        let mut parked = Vec::new();
        for (name, seconds) in [("short", 1), ("long", 3600)] {
            let mut client = broker.connect_with(with_expiry(way, name, seconds));
            client.subscribe("owed", Qos::ExactlyOnce);
            parked.push(client.drop_connection());
        }
        let mut publisher = broker.connect(way, "publisher");
        publisher.publish("owed", "for ever", Qos::ExactlyOnce);
        let expiry = Dictionary::with(property::MESSAGE_EXPIRY_INTERVAL, &3600);
        publisher.publish_with(Message::publish("owed", "for an hour").unwrap(), Qos::AtLeastOnce, false, expiry);
        broker.stop();

        let broker = start(&store.ahead_by(YEARS_MS));
        let long = parked.pop().unwrap();
        let mut long = Client::resume(&broker.address, with_expiry(way, "long", 3600), long);
        assert_eq!(long.expect(2), ["owed for ever", "owed for an hour"], "{way:?}");
        assert_eq!(state(&long), Some(SessionState::Resumed), "{way:?}");
        // Time itself is what is tested: the second of the short session passes, which by the clock ends in years.
        std::thread::park_timeout(Duration::from_millis(1100));
        let short = broker.connect_with(with_expiry(way, "short", 1));
        assert_eq!(state(&short), Some(SessionState::Expired), "{way:?}: it has ended, and is told so");
        broker.stop();
    }
}

/// Where nothing was agreed to end, nothing does.
#[test]
fn a_session_without_an_end_has_none_under_any_clock() {
    let store = TestStore::default();
    let broker = start(&store);
    let mut sleeper = broker.connect_with(with_expiry(Way::Extended, "sleeper", u64::from(u32::MAX)));
    sleeper.subscribe("owed", Qos::AtLeastOnce);
    let parked = sleeper.drop_connection();
    broker.connect(Way::Plain, "publisher").publish("owed", "x", Qos::AtLeastOnce);
    broker.stop();
    for store in [store.snapshot(), store.ahead_by(YEARS_MS)] {
        let broker = start(&store);
        let mut sleeper = Client::resume(&broker.address, with_expiry(Way::Extended, "sleeper", u64::from(u32::MAX)), parked.clone());
        assert_eq!(sleeper.expect(1), ["owed x"]);
        broker.stop();
    }
}
