//! A whole broker of three shards on one thread, in virtual time, on a disk that loses power, tears writes, is full and fails, with
//! clients whose connections break: what was acknowledged arrives, once and in order. A seed is a run, and the same run every time.
//!
//! `CANDOR_SEEDS=FROM..TO cargo test -p candor-broker --test simulation` runs others and more.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../compat-tests/src/crash/actor.rs"]
mod actor;
mod dice;
mod house;
#[path = "../../../compat-tests/src/crash/ledger.rs"]
mod ledger;
mod world;

use house::Mutant;
use std::ops::Range;

/// The seeds of an ordinary run.
const SEEDS: Range<u64> = 0..48;
/// How many seeds a mutant may survive.
const MUTANT_SEEDS: Range<u64> = 0..40;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("CANDOR_SEEDS") else { return SEEDS };
    let (from, to) = text.split_once("..").expect("CANDOR_SEEDS is FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn what_was_acknowledged_survives_power_loss_a_failing_disk_and_a_failing_network() {
    let (seeds, mut sum) = (seeds(), ledger::Counts::default());
    let mut wrong = Vec::new();
    for seed in seeds.clone() {
        match world::run(seed, Mutant::None) {
            Ok(ledger) => sum.add(&ledger.counts),
            Err(what) => wrong.push(what),
        }
    }
    println!("{} seeds\n{sum}", seeds.end - seeds.start);
    assert!(wrong.is_empty(), "{} of {} seeds are wrong\n{}", wrong.len(), seeds.end - seeds.start, wrong[..wrong.len().min(3)].join("\n"));
    assert!(sum.kills_in_exchange > 0 && sum.refused > 0 && sum.wills > 0, "{sum}");
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let run = || world::run(7, Mutant::None).map(|ledger| ledger.counts);
    assert_eq!(run(), run());
}

/// What gives a mutant away.
fn caught(mutant: Mutant) -> String {
    MUTANT_SEEDS.into_iter().find_map(|seed| world::run(seed, mutant).err()).unwrap_or_else(|| panic!("{mutant:?} was not caught"))
}

#[test]
fn a_broker_that_does_not_sync_is_caught() {
    caught(Mutant::NoSync);
}

#[test]
fn a_broker_that_acknowledges_before_its_disk_has_synced_is_caught() {
    caught(Mutant::AcknowledgesBeforeSync);
}

#[test]
fn a_broker_that_acknowledges_before_its_store_has_kept_is_caught() {
    caught(Mutant::ReceiptBeforeKeeping);
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
