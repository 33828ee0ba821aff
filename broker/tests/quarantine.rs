//! Plain clients that do the same forbidden thing again and again, and what happens to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::feedback::QuarantineLimits;
use candor_broker::shard::Settings;
use candor_protocol::packet::{Qos, Reason};
use candor_protocol::session::{Cause, ClientSettings};
use candor_protocol::sim::Way;
use std::time::Instant;
use support::{Client, DEADLINE, TestBroker, named, policy};

const PLAIN: [Way; 2] = [Way::V31, Way::Plain];

/// Short times, so that the end of a quarantine can be waited for.
const SHORT: QuarantineLimits = QuarantineLimits { refusals: 3, window_ms: 60_000, first_ms: 300, max_ms: 600 };
/// A time that outlasts every test.
const LONG: QuarantineLimits = QuarantineLimits { refusals: 3, window_ms: 60_000, first_ms: 3_600_000, max_ms: 3_600_000 };

fn everywhere(limits: QuarantineLimits, test: impl Fn(&TestBroker, Way)) {
    for shards in [1, 3] {
        let settings = Settings { shards, quarantine: limits, ..Settings::default() };
        let broker = TestBroker::with(settings, policy(), false);
        PLAIN.into_iter().for_each(|way| test(&broker, way));
        broker.stop();
    }
}

/// Connects and does something that is not allowed, so that the connection is closed.
fn sin(broker: &TestBroker, settings: ClientSettings, topic: &str) {
    let mut client = broker.connect_with(settings);
    assert!(client.opened.is_some(), "{:?}", client.closed);
    client.start_publish(topic, "x", Qos::AtLeastOnce, false);
    client.expect_close();
}

fn return_code(client: &Client) -> Option<Reason> {
    match &client.closed {
        Some(Cause::ConnectRefused { connack }) => Some(connack.reason),
        None => None,
        other => panic!("{other:?}"),
    }
}

/// 3 as a return code is "server unavailable" to a plain client.
const CODE_3: Option<Reason> = Some(Reason::SERVER_UNAVAILABLE);

#[test]
fn a_client_that_is_refused_the_same_thing_three_times_is_kept_out() {
    everywhere(LONG, |broker, way| {
        let id = format!("sinner-{way:?}");
        (0..3).for_each(|_| sin(broker, way.settings(&id), "deny/a"));
        assert_eq!(return_code(&broker.connect(way, &id)), CODE_3, "{way:?}");
        assert_eq!(return_code(&broker.connect(way, "somebody else")), None);
    });
}

#[test]
fn different_refusals_and_other_credentials_do_not_count_together() {
    everywhere(LONG, |broker, way| {
        let id = format!("wanderer-{way:?}");
        ["deny/a", "deny/b", "deny/c"].into_iter().for_each(|topic| sin(broker, way.settings(&id), topic));
        assert_eq!(return_code(&broker.connect(way, &id)), None);
        // Whoever does not know the credentials cannot have their owner kept out.
        let owner = format!("owner-{way:?}");
        (0..3).for_each(|_| sin(broker, way.settings(&owner), "deny/a"));
        assert_eq!(return_code(&broker.connect(way, &owner)), CODE_3);
        assert_eq!(return_code(&broker.connect_with(named(way.settings(&owner), "ann"))), None);
    });
}

#[test]
fn a_password_that_is_wrong_three_times_keeps_that_password_out() {
    everywhere(LONG, |broker, way| {
        let with = |password: &str| {
            let mut settings = named(way.settings(&format!("forgetful-{way:?}")), "ann");
            settings.connect.password = Some(password.as_bytes().to_vec().into());
            settings
        };
        let answers: Vec<_> = (0..4).map(|_| return_code(&broker.connect_with(with("wrong"))).unwrap()).collect();
        assert_eq!(answers[3], Reason::SERVER_UNAVAILABLE, "{way:?}");
        assert!(answers[..3].iter().all(|reason| *reason == Reason::BAD_USER_NAME_OR_PASSWORD), "{answers:?}");
        assert_eq!(return_code(&broker.connect_with(with("right"))), None);
    });
}

#[test]
fn time_ends_it_and_the_client_can_read_what_happened() {
    everywhere(SHORT, |broker, way| {
        let settings = || named(way.settings(&format!("patient-{way:?}")), "ann");
        (0..3).for_each(|_| sin(broker, settings(), "deny/a"));
        let until = Instant::now() + DEADLINE;
        let mut client = loop {
            let client = broker.connect_with(settings());
            if return_code(&client).is_none() {
                break client;
            }
            assert!(Instant::now() < until, "it is never let in again");
        };
        client.subscribe("$feedback/#", Qos::AtLeastOnce);
        client.until(|client| client.messages.iter().any(|message| message.message.topic() == b"$feedback/connect"));
        let told = client.messages.iter().find(|message| message.message.topic() == b"$feedback/connect").unwrap();
        let told = serde_json::from_slice::<serde_json::Value>(told.message.payload()).unwrap();
        assert_eq!((&told["reason"]["name"], &told["rule"]), (&"banned".into(), &"quarantine_refusals".into()), "{told}");
        client.leave();
    });
}

#[test]
fn an_extended_client_gets_reasons_and_is_not_kept_out() {
    let broker = TestBroker::with(Settings { quarantine: LONG, ..Settings::default() }, policy(), false);
    for way in [Way::Extended, Way::Offer] {
        let mut client = broker.connect(way, &format!("told-{way:?}"));
        for n in 0..5 {
            let refusal = client.publish("deny/a", "x", Qos::AtLeastOnce).unwrap().refusal().unwrap();
            assert_eq!(refusal.reason, if n < 2 { Reason::NOT_AUTHORIZED } else { Reason::DO_NOT_RETRY });
        }
        client.leave();
        assert_eq!(return_code(&broker.connect(way, &format!("told-{way:?}"))), None);
    }
}
