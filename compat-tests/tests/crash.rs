//! Our broker, killed while it works. `candor-compat crash --kills 200` is the long form, with `--power-loss` or `--faults`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use candor_broker::store::inspect::inspect;
use candor_compat::crash::ledger::Counts;
use candor_compat::crash::volatile::{Fault, Mutant};
use candor_compat::crash::{Disk, Plan, report, run};
use candor_compat::peer::scratch::Scratch;

/// What must be clean.
fn survives(plan: &Plan) -> Counts {
    let ledger = run(plan).unwrap();
    println!("{}", report(plan, &ledger));
    assert!(ledger.counts.is_clean(), "{}", report(plan, &ledger));
    ledger.counts
}

fn volatile(mutant: Mutant) -> Disk {
    Disk::Volatile { program: env!("CARGO_BIN_EXE_candor-compat").into(), mutant }
}

#[test]
fn a_broker_that_is_killed_loses_nothing_doubles_nothing_and_forgets_nobody() {
    let mut sum = Counts::default();
    let left = Scratch::new("left").unwrap();
    for (seed, threads) in [(1, 1), (2, 3)] {
        let leaves = left.path().join(seed.to_string());
        sum.add(&survives(&Plan { seed, kills: 8, threads, disk: Disk::Real, has_faults: false, leaves: Some(leaves.clone()) }));
        let report = inspect(&leaves).unwrap();
        println!("{report}");
        let sessions: Vec<&str> = report.sessions.iter().map(|session| &*session.client_id).collect();
        assert_eq!(
            sessions,
            ["publisher-0", "publisher-1", "publisher-2", "reader-0", "reader-1", "reader-2"],
            "what a kill left can be read"
        );
    }
    assert!(sum.kills >= 10 && sum.kills_in_exchange > 0 && sum.wills > 0 && sum.acknowledged > 100, "{sum}");
}

/// The harness itself: a broker whose disk gives back an older state is found out.
#[test]
fn a_broker_that_comes_back_with_an_older_disk_is_caught() {
    let plan = Plan { seed: 3, kills: 4, threads: 1, disk: Disk::RolledBack, has_faults: false, leaves: None };
    assert!(gives_itself_away(&plan).is_some());
}

#[test]
fn a_broker_that_loses_power_loses_nothing_that_it_acknowledged() {
    let mut sum = Counts::default();
    for (seed, threads) in [(4, 1), (5, 3)] {
        sum.add(&survives(&Plan { seed, kills: 6, threads, disk: volatile(Mutant::None), has_faults: false, leaves: None }));
    }
    assert!(sum.kills_in_exchange > 0 && sum.wills > 0 && sum.acknowledged > 100, "{sum}");
}

#[test]
fn a_disk_that_fails_is_told_to_clients_and_loses_nothing_that_was_acknowledged() {
    let rounds = Fault::ALL.len() as u64;
    let counts = survives(&Plan { seed: 6, kills: rounds, threads: 3, disk: volatile(Mutant::None), has_faults: true, leaves: None });
    assert!(counts.faults_mended == rounds && counts.refused > 0, "{counts}");
}

/// The seeds that a mutant is looked for in, and the kills of each.
const HUNT: std::ops::Range<u64> = 100..104;
const HUNT_KILLS: u64 = 6;

/// What a broker says of a directory that a disk without syncs has left, be it the inside of a segment or the head that a segment never got.
const REFUSALS: [&str; 2] = ["is damaged at byte", "it is not a segment of this broker's log"];

/// What a run that must fail has found: a complaint of the ledger, or that the next broker refuses what is left as damaged.
fn gives_itself_away(plan: &Plan) -> Option<String> {
    match run(plan) {
        Ok(ledger) if ledger.counts.is_clean() => None,
        Ok(ledger) => Some(report(plan, &ledger)),
        Err(stop) if REFUSALS.iter().any(|refusal| stop.to_string().contains(refusal)) => Some(stop.to_string()),
        Err(stop) => panic!("{plan:?}: {stop}"),
    }
}

fn caught(mutant: Mutant) -> String {
    let plan = |seed| Plan { seed, kills: HUNT_KILLS, threads: 3, disk: volatile(mutant), has_faults: false, leaves: None };
    let how = HUNT.into_iter().find_map(|seed| gives_itself_away(&plan(seed)));
    let how = how.unwrap_or_else(|| panic!("{mutant:?} was not caught within {} runs of {HUNT_KILLS} kills", HUNT.count()));
    println!("{mutant:?} {how}");
    how
}

#[test]
fn a_broker_that_does_not_sync_is_caught() {
    caught(Mutant::NoSync);
}

#[test]
fn a_broker_that_acknowledges_before_it_has_synced_is_caught() {
    caught(Mutant::LateSync);
}

#[test]
fn a_broker_that_does_not_sync_its_directory_is_caught() {
    caught(Mutant::NoDirectorySync);
}

#[test]
fn a_broker_that_forgets_which_identifiers_were_taken_is_caught() {
    let how = caught(Mutant::ForgetsTakenIdentifiers);
    assert!(how.contains("came again at QoS 2"), "{how}");
}
