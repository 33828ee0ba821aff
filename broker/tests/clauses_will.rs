//! A will that cannot be published one day is refused when it is made.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::Settings;
use candor_protocol::packet::{Problem, Qos, Reason, property};
use candor_protocol::session::Cause;
use candor_protocol::sim::Way;
use support::{Client, TestBroker, named, policy, with_will};

const RULES: &str = "default = \"deny\"\n[[rule]]\naction = \"allow\"\npublish = [\"open/#\", \"$SYS/#\"]\nretain = false\n[[rule]]\naction = \"allow\"\n\
     publish = [\"kept/#\"]\nsubscribe = [\"#\"]\n[[rule]]\naction = \"allow\"\npublish = [\"quiet/#\"]\nwill = false\n";

fn connect(broker: &TestBroker, way: Way, topic: &str, retain: bool) -> Client {
    broker.connect_with(with_will(named(way.settings("device"), "somebody"), topic, retain))
}

/// clause refusals.will MUST
/// A server MUST refuse a CONNECT whose will the client may not publish, or not with its RETAIN flag, with the reason that such a PUBLISH
/// would be refused with, and a problem whose field is the will.
#[test]
fn a_will_without_right_is_refused_with_its_connect() {
    let broker = TestBroker::with_rules(Settings::default(), policy(), RULES);
    for way in Way::ALL {
        for (topic, retain, reason) in [
            ("secret/a", false, Reason::NOT_AUTHORIZED),
            ("open/a", true, Reason::NOT_AUTHORIZED),
            ("quiet/a", false, Reason::NOT_AUTHORIZED),
            ("$SYS/a", false, Reason::TOPIC_NAME_INVALID),
        ] {
            let client = connect(&broker, way, topic, retain);
            let Some(Cause::ConnectRefused { connack }) = &client.closed else {
                // A reason for which MQTT 3.1.1 has no return code is a close.
                assert!(way != Way::Extended && reason == Reason::TOPIC_NAME_INVALID, "{way:?} {topic}: {:?}", client.closed);
                continue;
            };
            assert_eq!(connack.reason, reason, "{way:?} {topic}");
            if way == Way::Extended {
                let problem = Problem::of_dictionary(&connack.dictionary.value(property::PROBLEM).unwrap());
                assert_eq!(problem.field.as_deref(), Some("will"), "{topic}");
            }
        }
        for (topic, retain) in [("open/a", false), ("kept/a", true)] {
            let client = connect(&broker, way, topic, retain);
            assert!(client.opened.is_some(), "{way:?} {topic}");
            client.leave();
        }
    }
}

/// clause plain-feedback.will MUST
/// A server MUST tell a refused will, by `$feedback/`, to a client that it has authenticated, when that subscribes there on its next
/// connection.
#[test]
fn a_plain_client_reads_why_its_will_was_refused() {
    for way in Way::ALL {
        let broker = TestBroker::with_rules(Settings::default(), policy(), RULES);
        assert!(connect(&broker, way, "secret/a", true).opened.is_none());
        let mut client = broker.connect_with(named(way.settings("device"), "somebody"));
        client.subscribe("$feedback/#", Qos::AtLeastOnce);
        client.until(|client| !client.messages.is_empty());
        let message = &client.messages[0].message;
        let told: serde_json::Value = serde_json::from_slice(message.payload()).unwrap();
        assert_eq!(
            (message.topic_str(), &told["field"], &told["missing_scope"]),
            ("$feedback/connect", &"will".into(), &"will:secret/a".into()),
            "{way:?}"
        );
    }
}
