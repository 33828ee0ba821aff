//! Every load against a whole broker.

use crate::broker::Served;
use crate::{Relay, measure, plan, row};
use candor_client::Dialect;
use candor_client::bench::{Beside, Count, Fault, Kind, Plan, suite};
use std::time::Duration;

#[test]
fn messages_flow_at_every_qos_in_both_dialects() {
    let served = Served::start();
    for dialect in [Dialect::V311, Dialect::Extended] {
        for qos in 0..=2 {
            let plan = Plan { dialect, ..plan(Kind::Pairs(2), qos, 500) };
            let row = row(&plan, served.address);
            assert_eq!(row.outcomes[0].count, Count { delivered: 500, ..Count::default() }, "{dialect} QoS {qos}");
        }
    }
}

#[test]
fn metadata_travels_with_extended_messages() {
    let served = Served::start();
    let plan = Plan { dialect: Dialect::Extended, dictionary_len: 100, payload_len: 16, ..plan(Kind::FanOut(3), 1, 100) };
    assert_eq!(row(&plan, served.address).outcomes[0].count, Count { delivered: 300, ..Count::default() });
}

#[test]
fn metadata_can_be_spread_over_entries() {
    let served = Served::start();
    for dictionary_entries in [1, 2, 64] {
        let plan = Plan { dialect: Dialect::Extended, dictionary_len: 768, dictionary_entries, ..plan(Kind::Pairs(2), 1, 100) };
        assert_eq!(row(&plan, served.address).outcomes[0].count, Count { delivered: 100, ..Count::default() }, "{dictionary_entries}");
    }
}

#[test]
fn both_dialects_talk_to_each_other_in_one_load() {
    let served = Served::start();
    for qos in 0..=2 {
        let plan = Plan { mixed: true, dictionary_len: 30, ..plan(Kind::Pairs(8), qos, 800) };
        assert_eq!(row(&plan, served.address).outcomes[0].count, Count { delivered: 800, ..Count::default() }, "QoS {qos}");
    }
}

#[test]
fn what_happens_beside_a_load_is_no_part_of_it() {
    let served = Served::start();
    let cases = [Beside::Deaf { count: 3, receive_buffer: 2048 }, Beside::FullQueue, Beside::Retained(500)];
    for beside in cases {
        let plan = Plan { beside, rate: Some(2000.0), window: 1000, ..plan(Kind::Pairs(2), 1, 600) };
        let row = row(&plan, served.address);
        let outcome = &row.outcomes[0];
        assert_eq!((outcome.sent, outcome.count), (600, Count { delivered: 600, ..Count::default() }), "{beside:?}");
        assert!(outcome.latency.is_some_and(|latency| latency.p99 > 0.0) && row.violations().is_empty(), "{beside:?}");
        match beside {
            Beside::FullQueue => assert!(outcome.facts["published_beside"] > 100.0, "{:?}", outcome.facts),
            Beside::Retained(count) => assert_eq!(outcome.facts["delivered_beside"], count as f64),
            _ => assert!(outcome.facts.is_empty(), "{:?}", outcome.facts),
        }
    }
}

/// A crowd of each kind, twice.
const HOSTILE: Beside = Beside::Hostile { count: 12, rate: 5000 };

#[test]
fn hostile_clients_are_told_of_every_refusal_beside_a_load_that_loses_nothing() {
    let served = Served::under("default = \"allow\"\n[[rule]]\naction = \"deny\"\npublish = [\"forbidden/#\"]\n");
    for qos in [0, 1] {
        let plan = Plan { beside: HOSTILE, rate: Some(1000.0), window: 1000, ..plan(Kind::Pairs(2), qos, 600) };
        let row = row(&plan, served.address);
        let outcome = &row.outcomes[0];
        assert_eq!((outcome.sent, outcome.count), (600, Count { delivered: 600, ..Count::default() }));
        assert!(outcome.facts["hostile_sent"] > 1000.0 && outcome.facts["hostile_per_s"] > 500.0, "{:?}", outcome.facts);
        assert_eq!(outcome.facts["hostile_told"], outcome.facts["hostile_sent"]);
    }
}

#[test]
fn hostile_clients_of_a_server_that_lets_them_are_no_load() {
    let served = Served::start();
    let plan = Plan { beside: HOSTILE, rate: Some(1000.0), window: 1000, ..plan(Kind::Pairs(2), 0, 600) };
    let report = measure(&plan, served.address).unwrap();
    let failures = &report.rows[0].failures;
    assert!(failures.len() == 1 && failures[0].contains("rules that deny"), "{failures:?}");
}

#[test]
fn what_is_refused_is_not_called_lost() {
    let served = Served::under("default = \"allow\"\n[[rule]]\naction = \"deny\"\npublish = [\"bench/#\"]\n");
    let plan = Plan { dialect: Dialect::Extended, stall: Duration::from_millis(200), ..plan(Kind::FanOut(3), 1, 20) };
    let report = measure(&plan, served.address).unwrap();
    let (row, faults) = (&report.rows[0], report.faults());
    assert_eq!((row.outcomes[0].refused, row.outcomes[0].count.lost, row.outcomes[0].lost()), (20, 60, 0));
    assert!(row.violations().is_empty() && faults[0].contains("20 messages refused"), "{faults:?}");
    assert!(report.to_text().contains("refused 20"), "{}", report.to_text());
}

#[test]
fn many_publishers_store_for_one_session_and_their_acknowledgements_are_timed() {
    let served = Served::start();
    let row = row(&plan(Kind::Durable { messages: 203, publishers: 10 }, 1, 1), served.address);
    let outcome = &row.outcomes[0];
    assert_eq!((outcome.sent, outcome.count), (203, Count { delivered: 203, ..Count::default() }));
    assert!(0.0 < outcome.facts["ack_p50_us"] && outcome.facts["ack_p50_us"] <= outcome.facts["ack_p99_us"], "{:?}", outcome.facts);
    assert!(outcome.facts["store_s"] > 0.0 && outcome.facts["drain_s"] > 0.0);
}

#[test]
fn messages_wait_for_many_absent_sessions() {
    let served = Served::start();
    for (shared, published) in [(false, 100), (true, 5)] {
        let row = row(&plan(Kind::Offline { sessions: 20, messages: 5, shared }, 1, 1), served.address);
        assert_eq!((row.outcomes[0].sent, row.outcomes[0].count.lost), (published, 0), "shared: {shared}");
        assert!(row.outcomes[0].facts.contains_key("rss_bytes_a_session"));
    }
}

#[test]
fn only_a_server_that_was_started_here_can_be_started_again() {
    let served = Served::start();
    let refused = measure(&plan(Kind::Restart { retained: 10, sessions: 1 }, 1, 1), served.address).unwrap_err();
    assert!(refused.to_string().contains("--start"), "{refused}");
}

#[test]
fn filters_of_every_kind_get_what_is_theirs() {
    let served = Served::start();
    let row = row(&plan(Kind::Subs { filters: 400, connections: 4 }, 0, 2000), served.address);
    assert_eq!(row.outcomes[0].count, Count { delivered: 2000, ..Count::default() });
    // Other tests begin and end threads of this process meanwhile, so that its time is known to a clock tick only, and may be none.
    assert!(row.outcomes[0].facts.contains_key("subscribe_cpu_us"));
}

#[test]
fn retained_messages_come_on_one_subscription_and_are_taken_away_again() {
    let served = Served::start();
    let plan = plan(Kind::Retained(300), 0, 1);
    for _ in 0..2 {
        let row = row(&plan, served.address);
        assert_eq!(row.outcomes[0].count, Count { delivered: 300, ..Count::default() });
    }
}

#[test]
fn an_absent_session_gets_what_was_stored() {
    let served = Served::start();
    for dialect in [Dialect::V311, Dialect::Extended] {
        for qos in 1..=2 {
            let row = row(&Plan { dialect, ..plan(Kind::Durable { messages: 200, publishers: 1 }, qos, 1) }, served.address);
            assert_eq!(row.outcomes[0].sent, 200);
            assert_eq!(row.outcomes[0].count, Count { delivered: 200, ..Count::default() }, "{dialect} QoS {qos}");
        }
    }
}

#[test]
fn what_an_absent_session_lost_is_a_violation() {
    // The relay keeps nothing for anybody, and acknowledges all.
    let relay = Relay::start(Fault::None);
    let plan = Plan { stall: Duration::from_millis(200), ..plan(Kind::Durable { messages: 50, publishers: 1 }, 1, 1) };
    let row = row(&plan, relay.address);
    assert_eq!(row.outcomes[0].count, Count { lost: 50, ..Count::default() });
    assert_eq!(row.violations(), ["50 messages lost"]);
}

#[test]
fn what_many_absent_sessions_lost_is_seen_when_some_of_them_come_back() {
    let relay = Relay::start(Fault::None);
    for (shared, missing) in [(false, 20 * 3), (true, 20 * 3)] {
        let offline = plan(Kind::Offline { sessions: 40, messages: 3, shared }, 1, 1);
        let row = row(&Plan { stall: Duration::from_millis(20), ..offline }, relay.address);
        assert_eq!((row.outcomes[0].facts["sessions_drained"], row.outcomes[0].count.lost), (20.0, missing), "shared: {shared}");
        assert_eq!(row.violations(), [format!("{missing} messages lost")]);
    }
}

#[test]
fn a_message_that_is_longer_than_what_is_read_at_once_is_one_message() {
    let served = Served::start();
    for dialect in [Dialect::V311, Dialect::Extended] {
        let plan = Plan { dialect, payload_len: 3 << 20, window: 3, ..plan(Kind::Pairs(2), 1, 10) };
        assert_eq!(row(&plan, served.address).outcomes[0].count, Count { delivered: 10, ..Count::default() }, "{dialect}");
    }
}

#[test]
fn a_rate_that_is_slower_than_silence_is_a_rate_all_the_same() {
    let served = Served::start();
    for qos in [0, 1] {
        let slow = Plan { rate: Some(20.0), stall: Duration::from_millis(5), ..plan(Kind::Pairs(1), qos, 5) };
        let outcome = row(&slow, served.address).outcomes.remove(0);
        assert_eq!((outcome.sent, outcome.count), (5, Count { delivered: 5, ..Count::default() }), "QoS {qos}");
        // Four intervals of 50 ms; that is a bound of what it says, and not of how fast anything is.
        assert!(outcome.seconds >= 0.2 && outcome.per_second() <= 25.0, "{}", outcome.seconds);
    }
}

#[test]
fn nothing_is_left_behind_on_a_server_of_others() {
    let served = Served::start();
    for beside in [Beside::Retained(50), Beside::FullQueue] {
        row(&Plan { beside, rate: Some(2000.0), window: 1000, ..plan(Kind::Pairs(1), 1, 100) }, served.address);
    }
    row(&plan(Kind::Retained(50), 1, 1), served.address);
    assert_eq!(served.retained_below("bench"), 0);
}

#[test]
fn connections_come_and_go_and_stay() {
    let served = Served::start();
    let storm = row(&plan(Kind::Storm { connections: 50, resume: false }, 0, 1), served.address);
    assert_eq!(storm.outcomes[0].count.delivered, 50);
    let idle = row(&plan(Kind::Idle(20), 0, 1), served.address);
    assert_eq!(idle.outcomes[0].count.delivered, 20);
    assert!(idle.outcomes[0].facts.contains_key("rss_bytes_a_connection"));
}

#[test]
fn a_load_at_a_rate_has_latencies_in_order() {
    let served = Served::start();
    let plan = Plan { rate: Some(5000.0), window: 1000, ..plan(Kind::Pairs(3), 0, 900) };
    let outcome = row(&plan, served.address).outcomes.remove(0);
    assert_eq!(outcome.count, Count { delivered: 900, ..Count::default() });
    let latency = outcome.latency.unwrap();
    assert!(0.0 < latency.p50 && latency.p50 <= latency.p90 && latency.p90 <= latency.p99, "{latency:?}");
    assert!(latency.p99 <= latency.p999 && latency.p999 <= latency.max, "{latency:?}");
}

#[test]
fn a_plan_out_of_range_names_what_is_wrong() {
    let at = |change: fn(&mut Plan)| {
        let mut plan = suite(true, None).remove(0);
        change(&mut plan);
        measure(&plan, ([127, 0, 0, 1], 1).into()).unwrap_err().to_string()
    };
    assert!(at(|plan| plan.payload_len = 15).contains("16"));
    assert!(at(|plan| plan.window = 0).contains("window"));
    assert!(at(|plan| plan.window = 70_000).contains("65535"));
    assert!(at(|plan| plan.qos = 3).contains("QoS 3"));
    assert!(at(|plan| plan.kind = Kind::Pairs(0)).contains("connections"));
    assert!(at(|plan| plan.dictionary_len = 1).contains("extended"));
    assert!(at(|plan| plan.rate = Some(0.0)).contains("rate"));
    assert!(at(|plan| plan.kind = Kind::Subs { filters: 10, connections: 20 }).contains("filters"));
    assert!(at(|plan| (plan.mixed, plan.dialect) = (true, Dialect::Extended)).contains("mixed"));
    assert!(at(|plan| (plan.kind, plan.beside) = (Kind::Idle(1), Beside::FullQueue)).contains("beside"));
    assert!(at(|plan| plan.beside = Beside::Hostile { count: 1, rate: 1 }).contains("rate"));
    assert!(at(|plan| plan.beside = Beside::Deaf { count: 1, receive_buffer: 0 }).contains("receive buffer"));
    assert!(at(|plan| (plan.dialect, plan.dictionary_len, plan.dictionary_entries) = (Dialect::Extended, 10, 2)).contains("entries"));
    assert!(
        at(|plan| (plan.qos, plan.kind) = (1, Kind::Offline { sessions: 1_000_000, messages: 1000, shared: false })).contains("messages")
    );
    assert!(at(|plan| plan.kind = Kind::Durable { messages: 1, publishers: 1 }).contains("QoS 0"));
    assert!(at(|plan| plan.prefix = Some("a/#".into())).contains("a/#"));
    assert!(at(|plan| plan.prefix = Some("x".repeat(1001))).contains("1001"));
    assert!(at(|plan| (plan.dialect, plan.dictionary_len) = (Dialect::Extended, usize::MAX)).contains("1048576"));
    assert!(at(|plan| plan.time = Duration::from_nanos(1)).contains("10ms"));
    assert!(at(|plan| plan.kind = Kind::Storm { connections: 1, resume: true }).contains("mqtts"));
    let deaf = |plan: &mut Plan| {
        (plan.kind, plan.beside) = (Kind::Subs { filters: 8, connections: 2 }, Beside::Deaf { count: 1, receive_buffer: 4096 });
    };
    assert!(at(deaf).contains("--deaf"));
}
