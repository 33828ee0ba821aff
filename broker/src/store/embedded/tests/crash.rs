//! Power is lost at every operation of random histories: what was acknowledged is there, and nothing half. Brokers that lie about
//! it are caught by the same tests.

use super::*;
use crate::store::files::Mishap;
use crate::store::samples::history_of;

/// What a disk does that it must not.
type Mutant = fn(&SimDisk);

/// Runs a history until the power is lost at the operation, restarts, and holds what is there against what was acknowledged.
fn lose_power(seed: u64, history: &[Vec<Batch>], operation: u64, mutant: Mutant) -> Result<(), String> {
    let disk = SimDisk::new(seed << 32 | operation);
    mutant(&disk);
    disk.plan(operation, Mishap::PowerLoss);
    let mut model = Model::default();
    // Batches of the group in the making: all of them up to any may be there, since nobody was told.
    let mut open_group: &[Batch] = &[];
    if let Ok(mut engine) = open(&disk) {
        for group in history {
            if engine.keep(group).is_err() {
                open_group = group;
                break;
            }
            model.keep(group);
            if tidy(&mut engine).is_err() {
                break;
            }
        }
    }
    disk.restart();
    // And once more while it starts.
    disk.plan(disk.operations() + operation % 7, Mishap::PowerLoss);
    drop(open(&disk));
    disk.restart();
    disk.repair();
    let mut engine = open(&disk).map_err(|error| format!("it does not start: {error}"))?;
    let mut wrong = String::new();
    for len in 0..=open_group.len() {
        let mut model = model.clone();
        model.keep(&open_group[..len]);
        match model.check(&mut engine) {
            Ok(()) => return goes_on(&disk, engine, model, history),
            Err(other) => wrong = other,
        }
    }
    Err(wrong)
}

/// Runs a history until the process dies at the operation; the next one tells its clients what it finds, and then the power is lost.
fn die_and_lose_power(seed: u64, history: &[Vec<Batch>], operation: u64) -> Result<(), String> {
    let disk = SimDisk::new(seed << 32 | operation);
    disk.plan(operation, Mishap::Death);
    let mut model = Model::default();
    let mut open_group: &[Batch] = &[];
    if let Ok(mut engine) = open(&disk) {
        for group in history {
            if engine.keep(group).is_err() {
                open_group = group;
                break;
            }
            model.keep(group);
            if tidy(&mut engine).is_err() {
                break;
            }
        }
    }
    disk.next_process();
    disk.repair();
    let mut engine = open(&disk).map_err(|error| format!("the next process does not start: {error}"))?;
    let mut found = model.prefixes(open_group).into_iter();
    let model = found.find(|model| model.check(&mut engine).is_ok()).ok_or("the next process finds something else")?;
    drop(engine);
    disk.restart();
    model.check(&mut open(&disk).map_err(|error| format!("it does not start after the loss of power: {error}"))?)
}

/// What was found can be built upon.
fn goes_on(disk: &SimDisk, mut engine: Embedded<SimFiles>, mut model: Model, history: &[Vec<Batch>]) -> Result<(), String> {
    // Steps that name nothing new.
    let steps = history.iter().flatten().flat_map(|batch| &batch.records);
    let steps = steps.filter(|record| !matches!(record, Record::Message { .. } | Record::SessionBegun { .. }));
    let group = [Batch { shard: 0, turn: 1, records: steps.cloned().collect(), ..Batch::default() }];
    engine.keep(&group).map_err(|error| error.to_string())?;
    model.restart();
    model.keep(&group);
    tidy(&mut engine).map_err(|error| error.to_string())?;
    model.check(&mut engine)?;
    drop(engine);
    disk.restart();
    model.check(&mut open(disk).map_err(|error| error.to_string())?)
}

/// How many operations a history takes.
fn operations(seed: u64, history: &[Vec<Batch>]) -> u64 {
    let disk = SimDisk::new(seed);
    let mut engine = open(&disk).unwrap();
    for group in history {
        engine.keep(group).unwrap();
        tidy(&mut engine).unwrap();
    }
    disk.operations()
}

/// The first seed and operation that show something wrong.
fn hunt(seeds: std::ops::Range<u64>, mutant: Mutant) -> Option<String> {
    for seed in seeds {
        let history = history_of(seed, 30);
        for operation in 0..=operations(seed, &history) {
            if let Err(wrong) = lose_power(seed, &history, operation, mutant) {
                return Some(format!("seed {seed}, power lost at operation {operation}: {wrong}"));
            }
        }
    }
    None
}

#[test]
fn what_was_acknowledged_is_there_after_a_loss_of_power_and_nothing_half() {
    if let Some(wrong) = hunt(seeds(0..25), |_| {}) {
        panic!("{wrong}");
    }
}

#[test]
fn what_a_process_found_that_another_left_when_it_died_is_there_after_a_loss_of_power() {
    for seed in seeds(0..8) {
        let history = history_of(seed, 30);
        for operation in 0..=operations(seed, &history) {
            if let Err(wrong) = die_and_lose_power(seed, &history, operation) {
                panic!("seed {seed}, the process died at operation {operation}: {wrong}");
            }
        }
    }
}

#[test]
fn an_engine_that_does_not_sync_is_caught() {
    assert!(hunt(0..25, SimDisk::ignore_sync).is_some());
}

#[test]
fn an_engine_that_acknowledges_before_it_syncs_is_caught() {
    assert!(hunt(0..25, SimDisk::sync_late).is_some());
}

#[test]
fn an_engine_that_does_not_sync_its_directory_is_caught() {
    assert!(hunt(0..25, SimDisk::ignore_sync_directory).is_some());
}
