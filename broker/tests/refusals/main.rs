//! Every cause of a refusal or a loss, in every dialect, at every QoS, on every engine: what goes over the wire, and what everybody
//! concerned is told. The table that comes of it is `docs/refusals.md`:
//!
//!     CANDOR_WRITE_DOCS=1 cargo test -p candor-broker --test refusals
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "modules of one test")]

mod causes;
mod log;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod table;

use candor_broker::feedback::Cause;
use candor_broker::shard::Storage;
use candor_protocol::sim::Way;
use causes::{Scenario, scenarios};
use stage::{Row, Stage};
use std::cell::RefCell;

const WAYS: [Way; 4] = [Way::V31, Way::Plain, Way::Extended, Way::Offer];

/// Plays a scenario in every dialect and at every QoS that it knows.
fn play(cause: Cause, scenario: &Scenario, storage: &Storage) -> Vec<Row> {
    let mut rows = Vec::new();
    for way in WAYS {
        for qos in scenario.qos {
            let mut stage = Stage::new(cause, scenario, storage, way, *qos);
            rows.extend((scenario.act)(&mut stage));
            stage.end();
        }
    }
    rows
}

fn play_all(storage: &Storage) -> Vec<Row> {
    let all = Cause::ALL.iter().flat_map(|cause| scenarios(*cause).iter().map(|scenario| (*cause, scenario)));
    all.filter(|(_, scenario)| !scenario.is_slow || matches!(storage, Storage::Memory))
        .flat_map(|(cause, scenario)| play(cause, scenario, storage))
        .collect()
}

#[test]
fn every_refusal_and_loss_is_told_to_all_whom_it_concerns() {
    let memory = RefCell::new(Vec::new());
    support::in_every_storage(|storage| {
        let rows = play_all(storage);
        for cause in Cause::ALL {
            let is_played = rows.iter().any(|row| row.cause == *cause);
            assert_eq!(
                is_played,
                scenarios(*cause).iter().any(|scenario| !scenario.is_slow || matches!(storage, Storage::Memory)),
                "{cause:?}"
            );
        }
        let mut memory = memory.borrow_mut();
        if memory.is_empty() {
            *memory = rows;
        } else {
            // What is told does not depend on the engine.
            for row in &rows {
                let same: &Row = memory.iter().find(|other: &&Row| other.is_about_the_same_as(row)).unwrap_or_else(|| panic!("{row:?}"));
                assert_eq!((&row.client, &row.publisher), (&same.client, &same.publisher), "{row:?}");
            }
        }
    });
    let memory = memory.into_inner();
    // An offer comes to the same as an extended CONNECT.
    for row in memory.iter().filter(|row| row.way == Way::Offer) {
        let same = Row { way: Way::Extended, ..row.clone() };
        assert!(memory.iter().any(|other| other.is_about_the_same_as(&same) && other.client == row.client), "{row:?}");
    }
    table::check(&memory);
}
