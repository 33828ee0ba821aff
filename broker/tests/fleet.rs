//! A mixed fleet on one broker: every behaviour for every pair of ways, on one shard and across three.

mod support;

use candor_broker::shard::{Settings, SysSettings};
use candor_protocol::packet::property;
use candor_protocol::packet::{Message, Qos, Reason};
use candor_protocol::session::{Cause, Outcome, Parked, SessionState};
use candor_protocol::sim::Way;
use support::{TestBroker, denied, everywhere, stored, with_will};

#[test]
fn a_message_reaches_every_dialect_at_the_lower_qos() {
    everywhere(|broker, from| {
        for to in Way::ALL {
            let mut subscriber = broker.connect(to, "subscriber");
            let mut publisher = broker.connect(from, "publisher-1");
            for granted in Qos::ALL {
                assert_eq!(subscriber.subscribe("fleet/+", granted), Reason(granted as u8));
                for published in Qos::ALL {
                    publisher.publish("fleet/a", "hello", published);
                    assert_eq!(subscriber.expect(1), ["fleet/a hello"], "{from:?} to {to:?}");
                }
            }
            subscriber.leave();
            publisher.leave();
        }
    });
}

#[test]
fn the_order_of_one_publisher_is_kept() {
    everywhere(|broker, way| {
        let mut subscriber = broker.connect(way, "ordered-subscriber");
        subscriber.subscribe("order", Qos::ExactlyOnce);
        let mut publisher = broker.connect(way, "ordered-publisher");
        for n in 0..60 {
            publisher.start_publish("order", &n.to_string(), Qos::ALL[n % 3], false);
        }
        publisher.until(|client| client.settled.len() == 40);
        let expected: Vec<_> = (0..60).map(|n| format!("order {n}")).collect();
        assert_eq!(subscriber.expect(60), expected);
        subscriber.leave();
    });
}

#[test]
fn a_retained_message_comes_to_new_subscribers_with_the_flag_and_to_old_ones_without() {
    everywhere(|broker, way| {
        let mut old = broker.connect(way, "old");
        old.subscribe("kept/#", Qos::AtLeastOnce);
        let mut publisher = broker.connect(way, "keeper");
        publisher.retain("kept/a", "1");
        publisher.retain("kept/a", "2");
        publisher.retain("kept/b", "3");
        old.until(|client| client.messages.len() == 3);
        assert!(old.messages.iter().all(|publish| !publish.retain));
        let mut new = broker.connect(way, "new");
        new.subscribe("kept/+", Qos::AtLeastOnce);
        new.until(|client| client.messages.len() == 2);
        assert!(new.messages.iter().all(|publish| publish.retain));
        assert_eq!(new.expect(2), ["kept/a 2", "kept/b 3"]);
        publisher.retain("kept/a", "");
        publisher.retain("kept/b", "");
        let mut late = broker.connect(way, "late");
        late.subscribe("kept/#", Qos::AtLeastOnce);
        late.expect_nothing();
        [old, new, late].into_iter().for_each(support::Client::leave);
    });
}

#[test]
fn a_will_is_published_when_a_client_is_lost_and_not_when_it_leaves() {
    everywhere(|broker, way| {
        let mut watcher = broker.connect(way, "watcher");
        watcher.subscribe("will/#", Qos::AtLeastOnce);
        broker.connect_with(with_will(way.settings("polite"), "will/polite", false)).leave();
        broker.connect_with(with_will(way.settings("lost"), "will/lost", true)).drop_connection();
        assert_eq!(watcher.expect(1), ["will/lost gone"]);
        watcher.expect_nothing();
        let mut late = broker.connect(way, "late");
        late.subscribe("will/lost", Qos::AtLeastOnce);
        assert_eq!(late.expect(1), ["will/lost gone"]);
        late.retain("will/lost", "");
        watcher.leave();
    });
}

#[test]
fn a_stored_session_gets_what_it_missed_in_order_and_an_unstored_one_does_not() {
    everywhere(|broker, way| {
        let mut subscriber = broker.connect_stored(way, "sleeper", Parked::default());
        subscriber.subscribe("offline/+", Qos::ExactlyOnce);
        let parked = subscriber.drop_connection();
        let mut publisher = broker.connect(way, "publisher");
        for n in 0..20 {
            publisher.publish("offline/a", &n.to_string(), if n % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce });
        }
        let mut subscriber = broker.connect_stored(way, "sleeper", parked);
        assert!(subscriber.opened.as_ref().unwrap().session_present);
        assert_eq!(subscriber.expect(20), (0..20).map(|n| format!("offline/a {n}")).collect::<Vec<_>>());
        subscriber.leave();
        let mut fresh = broker.connect(way, "sleeper");
        assert!(!fresh.opened.as_ref().unwrap().session_present);
        publisher.publish("offline/a", "x", Qos::AtLeastOnce);
        fresh.expect_nothing();
        fresh.leave();
    });
}

#[test]
fn a_takeover_ends_the_earlier_connection_and_keeps_the_session() {
    everywhere(|broker, way| {
        let mut first = broker.connect_stored(way, "twin", Parked::default());
        first.subscribe("twin/#", Qos::AtLeastOnce);
        let mut second = broker.connect_stored(way, "twin", Parked::default());
        assert!(second.opened.as_ref().unwrap().session_present || way == Way::V31);
        match first.expect_close() {
            Cause::PeerLeft { reason, .. } => assert!(way.is_extended() && reason == Reason::SESSION_TAKEN_OVER),
            cause => assert!(!way.is_extended(), "{cause:?}"),
        }
        let mut publisher = broker.connect(way, "publisher");
        publisher.publish("twin/a", "x", Qos::AtLeastOnce);
        assert_eq!(second.expect(1), ["twin/a x"]);
        broker.connect(way, "twin").leave();
    });
}

#[test]
fn a_session_belongs_to_its_principal() {
    everywhere(|broker, way| {
        let named = |name: &str, way: Way| {
            let mut settings = stored(way, "owned");
            settings.connect.user_name = Some(name.to_owned());
            settings
        };
        let owner = broker.connect_with(named("alice", way));
        let mut thief = broker.connect_with(named("mallory", way));
        let Cause::ConnectRefused { connack } = thief.expect_close() else { panic!() };
        assert_eq!(connack.reason, Reason::NOT_AUTHORIZED);
        owner.drop_connection();
        let mut owner = named("alice", way);
        owner.connect.clean_session = true;
        owner.connect.dictionary = Default::default();
        broker.connect_with(owner).leave();
    });
}

#[test]
fn a_refused_publish_says_why_or_closes() {
    everywhere(|broker, way| {
        let mut publisher = broker.connect(way, "refused");
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            if way.is_extended() {
                let outcome = publisher.publish("deny/a", "x", qos).unwrap();
                let mut refusal = outcome.refusal().unwrap();
                assert!(refusal.problem_mut().trace_id.take().is_some());
                assert_eq!(refusal, denied());
            } else {
                publisher.start_publish("deny/a", "x", qos, false);
                publisher.expect_close();
                assert!(publisher.settled.is_empty(), "no success for a message that was refused");
                publisher = broker.connect(way, "refused");
            }
        }
        publisher.start_publish("deny/a", "x", Qos::AtMostOnce, false);
        if way.is_extended() {
            publisher.until(|client| !client.notices.is_empty());
            assert_eq!(publisher.notices[0].reason, Reason::NOT_AUTHORIZED);
            assert_eq!(publisher.notices[0].dictionary.value(property::TOPIC).as_deref(), Some("deny/a"));
        }
        assert!(publisher.publish("allowed", "x", Qos::AtLeastOnce).is_some());
        publisher.leave();
    });
}

#[test]
fn a_plain_client_learns_from_its_feedback_topic_what_was_refused() {
    everywhere(|broker, way| {
        let mut settings = way.settings("listener");
        settings.connect.user_name = Some("somebody".into());
        let mut client = broker.connect_with(settings.clone());
        assert_eq!(client.subscribe("$feedback/#", Qos::AtLeastOnce), Reason::GRANTED_QOS_1);
        client.messages.clear();
        client.start_publish("deny/a", "x", Qos::AtMostOnce, false);
        client.until(|client| !client.messages.is_empty());
        let verdict: serde_json::Value = serde_json::from_slice(client.messages[0].message.payload()).unwrap();
        assert_eq!(client.messages[0].message.topic_str(), "$feedback/publish");
        assert_eq!(
            (&verdict["rule"], &verdict["topic"], &verdict["reason"]["code"]),
            (&"test rule".into(), &"deny/a".into(), &0x87.into())
        );
        client.messages.clear();
        // The ledger tells it again on the next connection.
        client.leave();
        let mut again = broker.connect_with(settings);
        again.subscribe("$feedback/publish", Qos::AtMostOnce);
        again.until(|client| !client.messages.is_empty());
        again.leave();
        // Nobody else hears of it, and nobody can forge it.
        let mut other = broker.connect(way, "other");
        other.subscribe("#", Qos::AtLeastOnce);
        other.subscribe("$feedback/#", Qos::AtLeastOnce);
        other.expect_nothing();
        other.leave();
    });
}

#[test]
fn a_refused_filter_is_refused_for_itself() {
    everywhere(|broker, way| {
        let mut client = broker.connect(way, "curious");
        if way == Way::V31 {
            return;
        }
        let reason = client.subscribe("secret/#", Qos::AtLeastOnce);
        assert_eq!(reason, if way.is_extended() { Reason::NOT_AUTHORIZED } else { Reason::UNSPECIFIED_ERROR });
        assert_eq!(client.subscribe("open/#", Qos::AtLeastOnce), Reason::GRANTED_QOS_1);
        client.leave();
    });
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    everywhere(|broker, way| {
        let mut members: Vec<_> = (0..3).map(|n| broker.connect(Way::ALL[(n + 1) % 4], &format!("member-{n}"))).collect();
        for member in &mut members {
            assert_eq!(member.subscribe("$share/group/work/#", Qos::AtLeastOnce), Reason::GRANTED_QOS_1);
        }
        let mut publisher = broker.connect(way, "publisher");
        for n in 0..30 {
            publisher.publish("work/a", &n.to_string(), Qos::AtLeastOnce);
        }
        let mut got: Vec<usize> = Vec::new();
        for member in &mut members {
            member.settle_down();
            assert_eq!(member.messages.len(), 10);
            got.extend(member.messages.iter().map(|m| String::from_utf8_lossy(m.message.payload()).parse::<usize>().unwrap()));
        }
        got.sort_unstable();
        assert_eq!(got, (0..30).collect::<Vec<_>>());
        members.into_iter().for_each(support::Client::leave);
    });
}

#[test]
fn a_message_of_one_mebibyte_arrives_whole() {
    everywhere(|broker, way| {
        let payload: String = (0..1024 * 1024).map(|n: u32| char::from(b'a' + (n % 26) as u8)).collect();
        let mut subscriber = broker.connect(way, "big-subscriber");
        subscriber.subscribe("big", Qos::AtLeastOnce);
        let mut publisher = broker.connect(way, "big-publisher");
        publisher.publish("big", &payload, Qos::ExactlyOnce);
        subscriber.until(|client| client.messages.len() == 1);
        assert_eq!(subscriber.messages[0].message, Message::publish("big", &payload).unwrap());
        subscriber.leave();
    });
}

#[test]
fn a_released_message_comes_again_and_a_rejected_one_does_not() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut subscriber = broker.connect(way, "settler");
        subscriber.subscribe("settle", Qos::AtLeastOnce);
        subscriber.settles = None;
        let mut publisher = broker.connect(way, "publisher");
        publisher.publish("settle", "x", Qos::AtLeastOnce);
        subscriber.until(|client| client.tickets.len() == 1);
        subscriber.settle(subscriber.tickets[0], Outcome::released());
        subscriber.until(|client| client.tickets.len() == 2);
        assert_eq!(subscriber.messages[1].dictionary.value(property::REDELIVERY_COUNT), Some(1));
        subscriber.settle(subscriber.tickets[1], Outcome::modified(30));
        subscriber.until(|client| client.tickets.len() == 3);
        subscriber.settle(subscriber.tickets[2], Outcome::refused(denied()));
        subscriber.messages.clear();
        subscriber.expect_nothing();
        subscriber.leave();
    });
}

#[test]
fn a_connack_tells_what_became_of_the_session() {
    let sys = Some(SysSettings { interval_ms: 50, retain: true });
    let broker = TestBroker::with(Settings { shards: 3, sys, ..Settings::default() }, support::policy(), false);
    let mut watcher = broker.connect(Way::Plain, "watcher");
    watcher.subscribe("$SYS/broker/clients/total", Qos::AtMostOnce);
    let sessions = |count: &'static [u8]| {
        move |client: &support::Client| client.messages.last().is_some_and(|publish| publish.message.payload() == count)
    };
    let state = |client: &support::Client| {
        let dictionary = &client.opened.as_ref().unwrap().dictionary;
        dictionary.value(property::SESSION_STATE).and_then(SessionState::of_number)
    };
    let incarnation = |client: &support::Client| client.opened.as_ref().unwrap().dictionary.value(property::SESSION_INCARNATION);
    let mut settings = stored(Way::Extended, "lives");
    settings.connect.dictionary = candor_protocol::codec::dictionary::Dictionary::with(property::SESSION_EXPIRY_INTERVAL, &1);
    let first = broker.connect_with(settings.clone());
    assert_eq!(state(&first), Some(SessionState::New));
    let first_life = incarnation(&first);
    first.drop_connection();
    let second = broker.connect_with(settings.clone());
    assert_eq!((state(&second), incarnation(&second)), (Some(SessionState::Resumed), first_life.clone()));
    watcher.until(sessions(b"2"));
    second.drop_connection();
    // The session lasts one second, and the broker says when there is one less.
    watcher.until(sessions(b"1"));
    let third = broker.connect_with(settings.clone());
    assert_eq!(state(&third), Some(SessionState::Expired));
    assert_ne!(incarnation(&third), first_life);
    third.drop_connection();
    watcher.leave();
    broker.stop();
}

#[test]
fn an_experiment_is_in_force_where_both_ends_run_it_and_nowhere_else() {
    use candor_protocol::extension::Registry;
    use candor_protocol::extension::priority::{PRIORITY, Priority, with_priority};
    use candor_protocol::session::Delivery;
    use std::sync::Arc;

    let mut registry = Registry::default();
    registry.add(Arc::new(Priority)).unwrap();
    for on_server in [true, false] {
        let names: Vec<String> = on_server.then(|| "x-priority".to_owned()).into_iter().collect();
        let (known, experiments) = candor_broker::experiment::switched_on(&names).unwrap();
        let policy = candor_protocol::session::ServerPolicy { registry: known, ..support::policy() };
        let settings = candor_broker::shard::Settings { experiments, ..Default::default() };
        let broker = TestBroker::with(settings, policy, false);
        let speaks = |id: &str, speaks: bool| {
            let mut settings = stored(Way::Extended, id);
            if speaks {
                settings.registry = registry.clone();
                let mut map = candor_protocol::codec::dictionary::MapBuilder::new();
                map.merge(&settings.connect.dictionary).set(property::EXTENSIONS, &registry.names());
                settings.connect.dictionary = map.finish();
            }
            settings
        };
        for on_subscriber in [true, false] {
            let mut subscriber = broker.connect_with(speaks("ranked", on_subscriber));
            subscriber.subscribe("rank", Qos::AtLeastOnce);
            let parked = subscriber.drop_connection();
            let mut publisher = broker.connect_with(speaks("publisher", true));
            for (payload, priority) in [("low", 1), ("high", 9), ("middle", 5)] {
                let message = Message::publish("rank", payload).unwrap();
                let hop = with_priority(&Default::default(), priority);
                let token = publisher.send(Delivery { message, qos: Qos::AtLeastOnce, retain: false, hop });
                assert!(!publisher.outcome(token).reason.is_error());
            }
            let mut subscriber = support::Client::resume(&broker.address, speaks("ranked", on_subscriber), parked);
            subscriber.until(|client| client.messages.len() == 3);
            let has_key = subscriber.messages.iter().all(|publish| publish.dictionary.value(PRIORITY).is_some());
            assert_eq!(has_key, on_server && on_subscriber);
            let expected = if on_server { ["rank high", "rank middle", "rank low"] } else { ["rank low", "rank high", "rank middle"] };
            assert_eq!(subscriber.expect(3), expected);
            subscriber.drop_connection();
        }
    }
}
