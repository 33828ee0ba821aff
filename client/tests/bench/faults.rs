//! Each count can be other than nought: a relay loses, doubles and swaps messages on purpose.

use crate::{Relay, measure, plan, row};
use candor_client::bench::{Count, Endpoint, Fault, Kind, Pins, Plan, Source, Target, run};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

#[test]
fn a_relay_that_does_right_is_found_to() {
    let relay = Relay::start(Fault::None);
    let cases = [(Kind::Pairs(3), 1), (Kind::FanOut(5), 5), (Kind::FanIn(4), 1)];
    for ((kind, fan), qos) in cases.into_iter().flat_map(|case| [(case, 0), (case, 1)]) {
        let row = row(&plan(kind, qos, 1000), relay.address);
        let outcome = &row.outcomes[0];
        assert_eq!((outcome.sent, outcome.refused), (1000, 0), "{kind:?} QoS {qos}");
        assert_eq!(outcome.count, Count { delivered: 1000 * fan, ..Count::default() }, "{kind:?} QoS {qos}");
        assert!(row.violations().is_empty());
        assert!(outcome.cpu_per_million().is_some() && outcome.per_second() > 0.0);
    }
}

#[test]
fn lost_messages_are_counted_to_the_last() {
    let relay = Relay::start(Fault::Drop(7));
    let plan = Plan { window: 700, stall: Duration::from_millis(300), ..plan(Kind::Pairs(1), 0, 700) };
    let row = row(&plan, relay.address);
    assert_eq!(row.outcomes[0].count, Count { delivered: 600, lost: 100, ..Count::default() });
    assert!(row.violations().is_empty(), "at QoS 0 a message may be lost");
}

#[test]
fn a_closed_window_goes_on_behind_a_lost_message() {
    let relay = Relay::start(Fault::Drop(5));
    let plan = Plan { window: 4, stall: Duration::from_millis(50), ..plan(Kind::Pairs(1), 0, 20) };
    assert_eq!(row(&plan, relay.address).outcomes[0].count, Count { delivered: 16, lost: 4, ..Count::default() });
}

#[test]
fn above_qos_0_a_lost_message_is_a_violation() {
    let relay = Relay::start(Fault::Drop(50));
    let plan = Plan { window: 100, stall: Duration::from_millis(300), ..plan(Kind::Pairs(1), 1, 100) };
    let row = row(&plan, relay.address);
    assert_eq!(row.outcomes[0].count, Count { delivered: 98, lost: 2, ..Count::default() });
    assert_eq!(row.violations(), ["2 messages lost"]);
}

#[test]
fn doubled_messages_are_counted_and_a_violation_where_they_are_one() {
    let relay = Relay::start(Fault::Double(10));
    for (qos, violations) in [(0, vec!["10 messages duplicated".to_owned()]), (1, vec![])] {
        // Of 105 messages the last is not doubled, so that none comes when nobody looks any more.
        let row = row(&plan(Kind::Pairs(1), qos, if qos == 0 { 105 } else { 100 }), relay.address);
        assert_eq!((row.outcomes[0].count.lost, row.outcomes[0].count.duplicated), (0, 10), "QoS {qos}");
        assert_eq!(row.violations(), violations);
    }
}

#[test]
fn messages_out_of_order_are_counted() {
    let relay = Relay::start(Fault::Swap(10));
    let row = row(&plan(Kind::Pairs(1), 0, 105), relay.address);
    assert_eq!(row.outcomes[0].count, Count { delivered: 105, reordered: 10, ..Count::default() });
    assert_eq!(row.violations(), ["10 messages out of order"]);
}

#[test]
fn a_target_that_is_not_there_or_does_not_answer_is_a_failure_of_its_row() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let report = measure(&plan(Kind::Pairs(1), 0, 10), gone).unwrap();
    assert!(report.rows[0].outcomes.is_empty());
    assert!(report.faults()[0].contains(&gone.to_string()), "{:?}", report.faults());
    let closes = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = closes.local_addr().unwrap();
    let thread = std::thread::spawn(move || drop(closes.accept().unwrap()));
    let report = measure(&plan(Kind::Pairs(1), 0, 10), address).unwrap();
    assert!(report.faults()[0].contains("CONNECT"), "{:?}", report.faults());
    thread.join().unwrap();
}

#[test]
fn where_nothing_comes_back_the_report_asks_why() {
    let relay = Relay::start(Fault::Drop(1));
    let plan = Plan { window: 50, stall: Duration::from_millis(100), ..plan(Kind::Pairs(1), 0, 50) };
    let report = measure(&plan, relay.address).unwrap();
    let outcome = &report.rows[0].outcomes[0];
    assert_eq!((outcome.own_cpu_per_million(), outcome.cpu_per_million()), (None, None));
    let faults = report.faults();
    assert!(faults.len() == 1 && faults[0].contains("nothing came back of 50 messages") && faults[0].contains("`bench/#`"), "{faults:?}");
}

#[test]
fn a_process_that_is_gone_at_the_end_is_a_fault_of_its_run() {
    let relay = Relay::start(Fault::None);
    let mut server = Command::new("sleep").arg("600").spawn().unwrap();
    let source = Source::Running { endpoint: Endpoint::at(relay.address), pid: Some(server.id()) };
    let targets = [Target { name: "it".into(), source }];
    let plan = Plan { time: Duration::from_millis(500), ..plan(Kind::Pairs(1), 0, u64::MAX) };
    let mut end = |_: &str, done: u64| {
        if done > 0 {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    };
    let report = run(&[plan], &targets, Pins::default(), 1, &mut end).unwrap();
    server.wait().unwrap();
    assert_eq!(report.rows[0].outcomes.len(), 1, "what came is no less true");
    assert!(report.faults()[0].contains("is gone at the end of the run"), "{:?}", report.faults());
}
