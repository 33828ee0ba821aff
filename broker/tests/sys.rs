//! `$SYS/`: what the broker says about itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::feedback::QuarantineLimits;
use candor_broker::shard::{Settings, SysSettings};
use candor_protocol::packet::{Qos, Reason};
use candor_protocol::sim::Way;
use support::{Client, TestBroker, policy};

fn everywhere(retain: bool, test: impl Fn(&TestBroker, Way)) {
    for shards in [1, 3] {
        for way in Way::ALL {
            let quarantine = QuarantineLimits { refusals: 2, window_ms: 60_000, first_ms: 60_000, max_ms: 60_000 };
            let sys = Some(SysSettings { interval_ms: 50, retain });
            let broker = TestBroker::with(Settings { shards, sys, quarantine, ..Settings::default() }, policy(), false);
            test(&broker, way);
            broker.stop();
        }
    }
}

/// Waits until a topic has said this.
fn until(client: &mut Client, topic: &str, value: &str) {
    let is_it = |client: &Client| {
        client
            .messages
            .iter()
            .any(|publish| publish.message.topic_str() == format!("$SYS/{topic}") && publish.message.payload() == value.as_bytes())
    };
    client.until(is_it);
}

#[test]
fn it_counts_over_all_shards() {
    everywhere(true, |broker, way| {
        let mut watcher = broker.connect(way, "watcher");
        assert_eq!(watcher.subscribe("$SYS/#", Qos::AtLeastOnce), Reason(1));
        until(&mut watcher, "broker/clients/connected", "1");
        let mut others: Vec<Client> = (0..4).map(|n| broker.connect(way, &format!("other {n}"))).collect();
        until(&mut watcher, "broker/clients/connected", "5");
        others.iter_mut().for_each(|other| assert_eq!(other.subscribe("a/#", Qos::AtMostOnce), Reason(0)));
        until(&mut watcher, "broker/subscriptions/count", "5");
        others[0].publish("a/b", "x", Qos::AtLeastOnce);
        until(&mut watcher, "broker/publish/messages/received", "1");
        others.into_iter().for_each(Client::leave);
        until(&mut watcher, "broker/clients/total", "1");
    });
}

#[test]
fn what_has_not_changed_is_found_among_the_retained_messages() {
    everywhere(true, |broker, way| {
        let mut early = broker.connect(way, "early");
        early.subscribe("$SYS/broker/+", Qos::AtMostOnce);
        until(&mut early, "broker/version", concat!("candor-broker version ", env!("CARGO_PKG_VERSION")));
        let mut late = broker.connect(way, "late");
        late.subscribe("$SYS/broker/version", Qos::AtMostOnce);
        assert_eq!(late.expect(1), [concat!("$SYS/broker/version candor-broker version ", env!("CARGO_PKG_VERSION"))]);
    });
}

#[test]
fn where_nothing_is_retained_it_is_said_again_and_again() {
    everywhere(false, |broker, way| {
        let mut client = broker.connect(way, "client");
        client.subscribe("$SYS/broker/version", Qos::AtMostOnce);
        assert_eq!(client.expect(2).len(), 2);
    });
}

#[test]
fn no_wildcard_at_the_front_reaches_it_and_no_client_publishes_there() {
    everywhere(true, |broker, way| {
        let mut hungry = broker.connect(Way::Plain, "hungry");
        hungry.subscribe("#", Qos::AtMostOnce);
        hungry.subscribe("+/broker/version", Qos::AtMostOnce);
        let mut watcher = broker.connect(way, "watcher");
        watcher.subscribe("$SYS/broker/uptime", Qos::AtMostOnce);
        watcher.expect(2);
        hungry.expect_nothing();
        if way.is_extended() {
            let refusal = watcher.publish("$SYS/broker/version", "x", Qos::AtLeastOnce).unwrap().refusal().unwrap();
            assert_eq!(refusal.reason, Reason::TOPIC_NAME_INVALID);
        }
    });
}

#[test]
fn a_quarantine_is_seen_by_the_operator() {
    everywhere(true, |broker, way| {
        for _ in 0..2 {
            let mut sinner = broker.connect(Way::Plain, "sinner");
            sinner.start_publish("deny/a", "x", Qos::AtLeastOnce, false);
            sinner.expect_close();
        }
        assert!(broker.connect(Way::Plain, "sinner").opened.is_none());
        let mut operator = broker.connect(way, "operator");
        operator.subscribe("$SYS/candor/#", Qos::AtMostOnce);
        // Two messages, and the connection that was turned away.
        until(&mut operator, "candor/refused", "3");
        until(&mut operator, "candor/quarantine/clients", "1");
        until(&mut operator, "candor/quarantine/turned-away", "1");
    });
}
