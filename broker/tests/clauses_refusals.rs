//! What a refusal says beyond its reason, and how often it is said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use bytes::{Bytes, BytesMut};
use candor_broker::feedback::{QuarantineLimits, RateLimits};
use candor_broker::shard::{Settings, Storage};
use candor_protocol::codec::dictionary::{Dictionary, MapBuilder};
use candor_protocol::codec::frame::put_header;
use candor_protocol::packet::property::Key;
use candor_protocol::packet::subscribe::items_of;
use candor_protocol::packet::{Disclosure, Message, Notice, Problem, Qos, Reason, Retry, TopicFilter, property};
use candor_protocol::session::{Answer, Cause, Parked};
use candor_protocol::sim::Way;
use support::store::TestStore;
use support::{Client, TestBroker, durable, everywhere, named, policy, stored_everywhere, time_passes};

const EXTENDED: [Way; 2] = [Way::Extended, Way::Offer];

fn problem_of(dictionary: &Dictionary) -> Problem {
    Problem::of_dictionary(&dictionary.value(property::PROBLEM).unwrap_or_default())
}

fn tagged(tag: &'static str) -> Dictionary {
    Dictionary::with(property::TAG, &Bytes::from_static(tag.as_bytes()))
}

fn unknown_critical() -> Dictionary {
    MapBuilder::new().set(Key::<u64>::new("unknown", 9999), &1).finish()
}

fn with(settings: Settings, act: impl Fn(&TestBroker, Way)) {
    for shards in [1, 3] {
        for way in EXTENDED {
            let broker = TestBroker::with(Settings { shards, ..settings.clone() }, policy(), false);
            act(&broker, way);
            broker.stop();
        }
    }
}

/// clause refusals.notice MUST
/// A server that refuses a PUBLISH of QoS 0 for a key MUST answer with a NOTICE that holds the reason, the problem, and the
/// topic, and keep the connection.
#[test]
fn a_qos_0_message_refused_for_its_keys_brings_a_notice() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut client = broker.connect(way, "client");
        let hop = MapBuilder::new().merge(&unknown_critical()).merge(&tagged("job 7")).finish();
        client.publish_with(Message::publish("a/b", "x").unwrap(), Qos::AtMostOnce, false, hop);
        client.until(|client| !client.notices.is_empty());
        let Notice { reason, dictionary } = &client.notices[0];
        assert_eq!((*reason, problem_of(dictionary).field.as_deref()), (Reason::CRITICAL_KEY_UNKNOWN, Some("key 9999")));
        assert_eq!(dictionary.value(property::TOPIC).as_deref(), Some("a/b"));
        assert_eq!(dictionary.value(property::TAG).as_deref(), Some(&b"job 7"[..]));
        assert!(!client.publish("allowed", "x", Qos::AtLeastOnce).unwrap().reason.is_error());
        client.leave();
    });
}

/// clause feedback.qos-0 MUST
/// A server MUST tell an extended publisher of QoS 0 messages that were refused by NOTICE, with their number, and with topic and tag
/// where the number is of messages that had the same.
#[test]
fn refused_messages_at_qos_0_are_told_together_and_none_is_left_out() {
    everywhere(|broker, way| {
        if !way.is_extended() {
            return;
        }
        let mut client = broker.connect(way, "client");
        const COUNT: usize = 300;
        for _ in 0..COUNT {
            client.publish_with(Message::publish("deny/a", "x").unwrap(), Qos::AtMostOnce, false, tagged("same"));
            client.publish("allowed", "x", Qos::AtMostOnce);
        }
        let count =
            |client: &Client| -> u64 { client.notices.iter().map(|notice| notice.dictionary.value(property::COUNT).unwrap_or(1)).sum() };
        client.until(|client| count(client) >= COUNT as u64);
        assert_eq!(count(&client), COUNT as u64, "{way:?}");
        assert!(client.notices.len() < COUNT / 4, "{way:?}: {} notices", client.notices.len());
        for notice in &client.notices {
            assert_eq!(notice.reason, Reason::NOT_AUTHORIZED);
            assert_eq!(notice.dictionary.value(property::TOPIC).as_deref(), Some("deny/a"));
            assert_eq!(notice.dictionary.value(property::TAG).as_deref(), Some(&b"same"[..]));
        }
        client.leave();
    });
}

/// clause problems.disclosure MUST NOT
/// A server MUST NOT tell more of a refusal under `$feedback/` than the listener of the connection discloses on the wire.
#[test]
fn feedback_discloses_no_more_than_the_wire() {
    for (disclosure, code, has_rule) in [(Disclosure::Full, 0x87, true), (Disclosure::Code, 0x87, false), (Disclosure::Opaque, 0x80, false)]
    {
        for way in Way::ALL {
            let mut policy = policy();
            policy.disclosure = disclosure;
            let broker = TestBroker::with(Settings::default(), policy, false);
            let mut client = broker.connect_with(named(way.settings("client"), "ann"));
            client.subscribe("$feedback/#", Qos::AtMostOnce);
            client.publish("deny/a", "x", Qos::AtMostOnce);
            client.until(|client| !client.messages.is_empty());
            let verdict: serde_json::Value = serde_json::from_slice(client.messages[0].message.payload()).unwrap();
            assert_eq!((verdict["reason"]["code"].as_u64(), verdict["rule"].is_string()), (Some(code), has_rule), "{way:?} {disclosure:?}");
            assert!(verdict["retry"].is_object() && verdict["trace_id"].is_string());
            if way.is_extended() {
                let refusal = client.publish("deny/b", "x", Qos::AtLeastOnce).unwrap().refusal().unwrap();
                assert_eq!((u64::from(refusal.reason.0), refusal.problem.rule.is_some()), (code, has_rule));
                assert!(refusal.problem.trace_id.is_some());
            }
            client.leave();
        }
    }
}

/// clause refusals.rate MUST
/// A server that refuses a message because its client publishes too fast MUST do so with reason 0x96 and a problem that names the
/// limit, its value, and when a retry can help.
#[test]
fn messages_that_come_too_fast_are_refused_with_the_time_to_wait() {
    let rate = RateLimits { messages: 5, bytes: 0 };
    with(Settings { rate, ..Settings::default() }, |broker, way| {
        let mut client = broker.connect(way, "fast");
        // More than two seconds' worth, so that one of them is over in any case.
        let outcomes: Vec<_> = (0..12).map(|n| client.publish("a", &n.to_string(), Qos::AtLeastOnce).unwrap()).collect();
        let refusal = outcomes.iter().find_map(candor_protocol::session::Outcome::refusal).unwrap();
        assert_eq!(refusal.reason, Reason::MESSAGE_RATE_TOO_HIGH);
        assert_eq!((refusal.problem.rule.as_deref(), refusal.problem.limit), (Some("publish_messages_per_s_max"), Some(5)));
        let Some(Retry::After { after_ms, .. }) = refusal.problem.retry else { panic!("{refusal}") };
        assert!((1..=1000).contains(&after_ms));
        // The other clients are not slowed down by it.
        let mut other = broker.connect(way, "other");
        assert!(!other.publish("a", "x", Qos::AtLeastOnce).unwrap().reason.is_error());
        // And it is taken when the time has passed.
        time_passes(after_ms);
        assert!(!client.publish("a", "x", Qos::AtLeastOnce).unwrap().reason.is_error());
        client.leave();
        other.leave();
    });
}

/// clause refusals.again MUST
/// A server that does not look at a message because the same was refused again and again MUST refuse it with reason 0xCA and a
/// problem that says after which time it is looked at.
#[test]
fn a_publish_that_is_refused_again_and_again_is_not_looked_at_for_a_time() {
    let quarantine = QuarantineLimits { refusals: 3, window_ms: 60_000, first_ms: 300, max_ms: 600 };
    with(Settings { quarantine, ..Settings::default() }, |broker, way| {
        let mut client = broker.connect(way, "stubborn");
        let reason = |client: &mut Client, topic: &str| client.publish(topic, "x", Qos::AtLeastOnce).unwrap();
        for _ in 0..2 {
            assert_eq!(reason(&mut client, "deny/a").reason, Reason::NOT_AUTHORIZED);
        }
        let broken = reason(&mut client, "deny/a").refusal().unwrap();
        assert_eq!((broken.reason, broken.problem.missing_scope.as_deref()), (Reason::DO_NOT_RETRY, Some("publish:deny")));
        let Some(Retry::After { after_ms, .. }) = broken.problem.retry else { panic!("{broken}") };
        assert_eq!(after_ms, 300);
        assert_eq!(reason(&mut client, "deny/a").reason, Reason::DO_NOT_RETRY);
        assert_eq!(reason(&mut client, "deny/b").reason, Reason::NOT_AUTHORIZED, "another topic is another matter");
        assert!(!reason(&mut client, "allowed").reason.is_error());
        time_passes(320);
        // It is looked at once more, and the next time is twice as long.
        let broken = reason(&mut client, "deny/a").refusal().unwrap();
        assert!(matches!(broken.problem.retry, Some(Retry::After { after_ms: 600, .. })), "{broken}");
        broker.review_rights();
        assert_eq!(until_looked_at(&mut client), Reason::NOT_AUTHORIZED, "an operator who changes the rules gives it another chance");
        client.leave();
    });
}

/// A review is on its way to the shard of the client: what it answers in the end.
fn until_looked_at(client: &mut Client) -> Reason {
    let until = std::time::Instant::now() + std::time::Duration::from_millis(500);
    loop {
        let reason = client.publish("deny/a", "x", Qos::AtLeastOnce).unwrap().reason;
        if reason != Reason::DO_NOT_RETRY || std::time::Instant::now() > until {
            return reason;
        }
    }
}

#[test]
fn a_review_of_rights_lets_those_in_who_were_kept_out() {
    let quarantine = QuarantineLimits { refusals: 3, window_ms: 3_600_000, first_ms: 3_600_000, max_ms: 3_600_000 };
    for way in [Way::V31, Way::Plain] {
        let broker = TestBroker::with(Settings { quarantine, ..Settings::default() }, policy(), false);
        for _ in 0..3 {
            let mut client = broker.connect(way, "sinner");
            client.start_publish("deny/a", "x", Qos::AtLeastOnce, false);
            client.expect_close();
        }
        assert!(broker.connect(way, "sinner").closed.is_some());
        broker.review_rights();
        let until = std::time::Instant::now() + support::DEADLINE;
        while broker.connect(way, "sinner").closed.is_some() {
            assert!(std::time::Instant::now() < until);
        }
    }
}

/// The reasons of a SUBACK to so many filters, and which of them have a problem.
fn suback(client: &mut Client, filters: &[String]) -> (Vec<Reason>, Vec<Option<Problem>>) {
    let filters: Vec<TopicFilter> = filters.iter().map(|filter| TopicFilter::new(filter.as_str()).unwrap()).collect();
    let Answer::Subscribed(suback) = client.subscribe_all(&filters, Qos::AtMostOnce, Dictionary::EMPTY) else { panic!("no SUBACK") };
    let problems = suback.dictionary.items().take(filters.len()).map(|item| item.value(property::PROBLEM));
    let problems = problems.map(|problem| problem.map(|problem| Problem::of_dictionary(&problem))).collect();
    (suback.reasons, problems)
}

/// clause refusals.many MUST
/// A server MUST leave out of a SUBACK the problems of those filters that do not fit into 8192 bytes with the problems before them.
#[test]
fn many_filters_that_are_refused_fit_one_answer() {
    with(Settings::default(), |broker, way| {
        let mut client = broker.connect(way, "client");
        let filters: Vec<String> = (0..2000).map(|n| format!("secret/{n}")).collect();
        let (reasons, problems) = suback(&mut client, &filters);
        assert_eq!(reasons, [Reason::NOT_AUTHORIZED; 2000], "{way:?}");
        let told = problems.iter().take_while(|problem| problem.is_some()).count();
        assert!((20..200).contains(&told) && problems[told..].iter().all(Option::is_none), "{way:?}: {told}");
        assert!(client.closed.is_none(), "{way:?}");
        client.leave();
    });
}

/// clause refusals.filters MAY
/// A server MAY look at the first filters of a SUBSCRIBE alone, and refuse those behind them with reason 0x97, where the first of them has the
/// problem of all.
#[test]
fn a_packet_with_too_many_filters_is_answered_for_the_first_of_them() {
    for way in Way::ALL {
        let broker = TestBroker::with(Settings { subscriptions_max: 300, ..Settings::default() }, policy(), false);
        let mut client = broker.connect(way, "client");
        // Far more than there may be, though it is one subscription.
        let filters: Vec<String> = std::iter::repeat_n("a".to_owned(), 60_000).collect();
        if way == Way::V31 {
            // It has no way to refuse a filter but to close.
            let filters: Vec<TopicFilter> = filters.iter().map(|filter| TopicFilter::new(filter.as_str()).unwrap()).collect();
            assert_eq!(client.subscribe_all(&filters, Qos::AtMostOnce, Dictionary::EMPTY), Answer::Lost);
            continue;
        }
        let (reasons, problems) = suback(&mut client, &filters);
        assert_eq!(reasons[..300], [Reason(0); 300], "{way:?}");
        let refused = if way.is_extended() { Reason::QUOTA_EXCEEDED } else { Reason::UNSPECIFIED_ERROR };
        assert!(reasons.len() == 60_000 && reasons[300..].iter().all(|reason| *reason == refused), "{way:?}");
        let told: Vec<usize> = (0..problems.len()).filter(|at| problems[*at].is_some()).collect();
        assert_eq!(told, if way.is_extended() { vec![300] } else { vec![] }, "{way:?}");
        if way.is_extended() {
            let problem = problems[300].as_ref().unwrap();
            assert_eq!((problem.limit, problem.seen), (Some(300), Some(60_000)), "{way:?}");
        }
        broker.connect(way, "publisher").publish("a", "x", Qos::AtLeastOnce);
        assert_eq!(client.expect(1), ["a x"], "{way:?}");
    }
}

/// clause refusals.filters-max MAY
/// A server MAY close a connection on which a SUBSCRIBE or UNSUBSCRIBE has more than 65535 topic filters, with reason 0x95.
#[test]
fn a_packet_with_more_filters_than_a_client_has_use_for_ends_its_connection() {
    let broker = TestBroker::start(1);
    for way in Way::ALL {
        for (first, filter) in [(0x82, &[0, 1, b'a', 0][..]), (0xA2, &[0, 1, b'a'])] {
            let mut client = broker.connect(way, "client");
            let mut body = vec![0, 1];
            body.extend_from_slice(if way.is_extended() { &[0] } else { &[] });
            body.extend(std::iter::repeat_n(filter, 65_536).flatten());
            let mut packet = BytesMut::new();
            put_header(&mut packet, first, body.len());
            packet.extend_from_slice(&body);
            client.write_raw(&packet);
            match client.expect_close() {
                Cause::PeerLeft { reason, .. } => assert!(way.is_extended() && reason == Reason::PACKET_TOO_LARGE, "{way:?}: {reason}"),
                cause => assert!(!way.is_extended(), "{way:?}: {cause:?}"),
            }
        }
    }
}

/// What `items` says is found in one pass, whatever is between.
#[test]
fn the_options_of_many_filters_are_theirs() {
    with(Settings::default(), |broker, way| {
        let mut client = broker.connect(way, "client");
        let filters: Vec<TopicFilter> = (0..1000).map(|n| TopicFilter::new(format!("a/{n}")).unwrap()).collect();
        let no_local = |n: usize| n % 3 == 1;
        let option = Dictionary::with(property::SUBSCRIPTION_OPTIONS, &1);
        let items = items_of((0..1000).map(|n| if no_local(n) { option.clone() } else { Dictionary::EMPTY }));
        let Answer::Subscribed(suback) = client.subscribe_all(&filters, Qos::AtMostOnce, items) else { panic!("no SUBACK") };
        assert_eq!(suback.reasons, [Reason(0); 1000], "{way:?}");
        for n in [0, 1, 2, 22, 23, 24, 25, 254, 255, 256, 257, 997, 998, 999] {
            client.publish(&format!("a/{n}"), "x", Qos::AtLeastOnce);
            client.publish("a/0", "end", Qos::AtLeastOnce);
            let expected = if no_local(n) { vec![] } else { vec![format!("a/{n} x")] };
            assert_eq!(client.expect(expected.len() + 1), [expected, vec!["a/0 end".to_owned()]].concat(), "{way:?} {n}");
        }
        client.leave();
    });
}

/// clause sessions.takeover-address MUST NOT
/// What a server tells either end of a takeover MUST NOT say where the other one is.
#[test]
fn neither_side_of_a_takeover_learns_the_address_of_the_other() {
    with(Settings::default(), |broker, way| {
        let mut holder = broker.connect_with(named(way.settings("disputed"), "ann"));
        holder.subscribe("$feedback/#", Qos::AtMostOnce);
        let mut taker = broker.connect_with(named(way.settings("disputed"), "ann"));
        let Cause::PeerLeft { problem: Some(lost), .. } = holder.expect_close() else { panic!("{:?}", holder.closed) };
        taker.until(|taker| !taker.notices.is_empty());
        let took = problem_of(&taker.notices[0].dictionary);
        assert_eq!([lost.detail.as_deref(), took.detail.as_deref()], [Some("1 in a row"); 2], "{way:?}");
        taker.subscribe("$feedback/#", Qos::AtMostOnce);
        taker.until(|taker| !taker.messages.is_empty());
        let told = [format!("{lost:?} {took:?}"), format!("{:?}", taker.messages), format!("{:?}", holder.messages)].concat();
        assert!(!told.contains("127.0.0.1"), "{way:?}: {told}");
        taker.leave();
    });
}

/// clause sessions.takeover-told MUST
/// A server MUST tell both ends of a takeover that are extended: the one that lost the session by DISCONNECT with reason 0x8E and a
/// time to stay away, the one that took it by NOTICE with that reason.
#[test]
fn both_sides_of_a_takeover_are_told_and_a_fight_slows_down() {
    with(Settings::default(), |broker, way| {
        let connect = || broker.connect_with(named(way.settings("disputed"), "ann"));
        let mut holder = connect();
        // The server has read its confirmation: before that it would be closed as a plain client is.
        holder.ping(Dictionary::EMPTY);
        for (row, least_ms) in [(1, 5000), (2, 10_000), (3, 20_000)] {
            let mut taker = connect();
            let Cause::PeerLeft { reason, problem: Some(problem), .. } = holder.expect_close() else { panic!("{:?}", holder.closed) };
            assert_eq!(reason, Reason::SESSION_TAKEN_OVER);
            assert_eq!(problem.retry, Some(Retry::After { after_ms: least_ms, jitter_ms: least_ms }));
            taker.until(|taker| !taker.notices.is_empty());
            let told = &taker.notices[0];
            assert_eq!((told.reason, told.dictionary.value(property::COUNT)), (Reason::SESSION_TAKEN_OVER, Some(row)));
            assert_eq!(problem_of(&told.dictionary).trace_id, problem.trace_id, "both name one line of the log");
            holder = taker;
        }
        holder.leave();
    });
}

/// clause disconnect.owed MUST
/// A server that ends MUST give the acknowledgements that it owes before it ends a connection, for as long as it waits, and tell
/// extended clients meanwhile by NOTICE with reason 0x43 when to come back.
#[test]
fn what_was_taken_gets_its_answer_before_the_server_ends() {
    for way in Way::ALL {
        let store = TestStore::default();
        let broker = TestBroker::with(Settings { storage: store.storage(), ..Settings::default() }, durable(), false);
        let mut subscriber = broker.connect_with(stored_everywhere(way, "away"));
        subscriber.subscribe("a", Qos::AtLeastOnce);
        subscriber.lose_connection();
        let mut client = broker.connect(way, "client");
        // Whatever was to be kept before is: what the store holds is the next message.
        client.publish("a", "before", Qos::AtLeastOnce);
        client.settled.clear();
        store.hold(true);
        let token = client.start_publish("a", "x", Qos::AtLeastOnce, false);
        store.until_it_holds();
        let end = std::thread::spawn(move || broker.stop());
        if way.is_extended() {
            client.until(|client| !client.notices.is_empty());
            assert_eq!(client.notices[0].reason, Reason::DRAINING);
            assert!(matches!(problem_of(&client.notices[0].dictionary).retry, Some(Retry::After { .. })));
            assert_eq!(client.settled, []);
        }
        store.hold(false);
        assert_eq!(client.outcome(token).reason, Reason::SUCCESS, "{way:?}");
        match client.expect_close() {
            Cause::PeerLeft { reason: Reason::SERVER_SHUTTING_DOWN, problem: Some(problem), .. } if way.is_extended() => {
                assert!(matches!(problem.retry, Some(Retry::After { .. })), "{problem:?}");
            }
            Cause::Lost if !way.is_extended() => {}
            other => panic!("{way:?}: {other:?}"),
        }
        end.join().unwrap();
    }
}

#[test]
fn an_end_waits_for_no_store_that_does_not_answer() {
    let store = TestStore::default();
    let broker = TestBroker::with(Settings { storage: store.storage(), ..Settings::default() }, durable(), false);
    broker.connect_stored(Way::Plain, "away", Parked::default()).subscribe("a", Qos::AtLeastOnce);
    let mut client = broker.connect(Way::Extended, "client");
    store.hold(true);
    client.start_publish("a", "x", Qos::AtLeastOnce, false);
    store.until_it_holds();
    let end = std::thread::spawn(move || broker.stop());
    let cause = client.expect_close();
    assert!(matches!(cause, Cause::PeerLeft { reason: Reason::SERVER_SHUTTING_DOWN, .. }), "{cause:?}");
    assert_eq!(client.settled, [], "nothing is said of what is not known");
    store.hold(false);
    end.join().unwrap();
}

#[test]
fn a_loss_that_its_session_does_not_live_to_hear_of_is_in_the_ledger() {
    for storage in [Storage::Memory, Storage::Late { turns: 3 }] {
        let mut policy = policy();
        policy.profile.session_expiry_s_max = 1;
        let broker = TestBroker::with(Settings { storage, ..Settings::default() }, policy, false);
        let settings = || named(stored_everywhere(Way::Extended, "late"), "ann");
        let mut subscriber = broker.connect_with(settings());
        subscriber.subscribe("a", Qos::AtLeastOnce);
        subscriber.lose_connection();
        let mut publisher = broker.connect(Way::Plain, "publisher");
        for _ in 0..3 {
            assert_eq!(publisher.publish("a", "x", Qos::AtLeastOnce).unwrap().reason, Reason::SUCCESS);
        }
        time_passes(1200);
        let mut back = broker.connect_with(settings());
        back.subscribe("$feedback/#", Qos::AtMostOnce);
        back.until(|client| !client.messages.is_empty());
        let verdict: serde_json::Value = serde_json::from_slice(back.messages[0].message.payload()).unwrap();
        assert_eq!((verdict["reason"]["code"].as_u64(), verdict["count"].as_u64()), (Some(0xC7), Some(3)));
        back.leave();
    }
}
