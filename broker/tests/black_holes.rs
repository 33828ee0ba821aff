//! Topics that swallow messages are seen by the operator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::shard::{Settings, SysSettings};
use candor_protocol::packet::Qos;
use candor_protocol::sim::Way;
use support::operator::ask;
use support::{TestBroker, policy};

#[test]
fn a_topic_that_delivers_nothing_or_denies_much_is_counted_and_listed() {
    for shards in [1, 3] {
        for way in Way::ALL {
            let sys = Some(SysSettings { interval_ms: 50, retain: true });
            let broker = TestBroker::with(Settings { shards, sys, ..Settings::default() }, policy(), false);
            let mut operator = broker.connect(way, "operator");
            let mut reader = broker.connect(Way::Plain, "reader");
            reader.subscribe("heard/#", Qos::AtMostOnce);
            let mut publisher = broker.connect(way, "publisher");
            for n in 0..100 {
                for (topic, qos) in [("void/a", Qos::AtLeastOnce), ("deny/a", Qos::AtMostOnce), ("heard/a", Qos::AtLeastOnce)] {
                    publisher.publish(topic, &n.to_string(), qos);
                }
                if n < 99 {
                    publisher.publish("void/b", "x", Qos::AtLeastOnce);
                }
            }
            publisher.retain("void/c", "kept for whoever comes");
            let mut lines = ask(&mut operator, "$operator/black-holes");
            lines.sort_by_key(|line| line["topic"].to_string());
            let told: Vec<_> = lines.iter().map(|line| (line["topic"].as_str().unwrap(), &line["undelivered"], &line["denied"])).collect();
            assert_eq!(told, [("deny/a", &0.into(), &100.into()), ("void/a", &100.into(), &0.into())], "{way:?} {shards}");
            assert!(lines.iter().all(|line| line["first_at_ms"].as_u64() <= line["at_ms"].as_u64()));
            operator.subscribe("$SYS/candor/black-holes", Qos::AtMostOnce);
            operator.until(|client| client.messages.iter().any(|publish| publish.message.payload() == b"2"));
        }
    }
}

#[test]
fn an_operator_lists_the_sessions() {
    for shards in [1, 3] {
        for way in Way::ALL {
            let broker = TestBroker::with(Settings { shards, ..Settings::default() }, policy(), false);
            let mut somebody = broker.connect_with(support::named(support::stored_everywhere(way, "device"), "somebody"));
            somebody.subscribe("a/+", Qos::AtLeastOnce);
            somebody.lose_connection();
            let mut operator = broker.connect(way, "operator");
            let mut lines = ask(&mut operator, "$operator/clients");
            lines.sort_by_key(|line| line["client"].to_string());
            let expected = [
                serde_json::json!({ "client": "device", "user": "somebody", "method": null, "connected": false, "subscriptions": ["a/+"] }),
                serde_json::json!({ "client": "operator", "user": null, "method": null, "connected": true, "subscriptions": [] }),
            ];
            assert_eq!(lines, expected, "{way:?} {shards}");
        }
    }
}
