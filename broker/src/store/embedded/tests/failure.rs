//! Disks that fail: nothing more is acknowledged, and when they are mended, what holds all the same is kept.

use super::*;
use crate::store::files::Mishap;
use crate::store::samples::history_of;

/// Runs a history with a mishap, mending after each failure, and loses the power at the end.
fn fail_once(seed: u64, history: &[Vec<Batch>], operation: u64, mishap: Mishap) -> Result<(), String> {
    let disk = SimDisk::new(seed << 32 | operation);
    let mut engine = open(&disk).map_err(|error| error.to_string())?;
    disk.plan(disk.operations() + operation, mishap);
    let mut model = Model::default();
    let mut failures = 0;
    for group in history {
        match engine.keep(group) {
            Ok(_) => model.keep(group),
            Err(_) => {
                failures += 1;
                model.fail(group);
                // A group in between is told that nothing is mended; what it says holds as well.
                if failures == 1 {
                    assert_eq!(engine.keep(&[]), Err(StoreError::NotMended));
                }
                if mishap == Mishap::FailsForEver && engine.mend().is_ok() {
                    return Err("it is mended on a broken disk".to_owned());
                }
                model.check(&mut engine)?;
                disk.repair();
                engine.mend().map_err(|error| error.to_string())?;
            }
        }
        if tidy(&mut engine).is_err() {
            disk.repair();
            engine.mend().map_err(|error| error.to_string())?;
            tidy(&mut engine).map_err(|error| error.to_string())?;
        }
        model.check(&mut engine)?;
    }
    drop(engine);
    disk.repair();
    disk.restart();
    model.check(&mut open(&disk).map_err(|error| format!("it does not start: {error}"))?)
}

#[test]
fn after_a_failure_nothing_is_acknowledged_until_it_is_mended_and_what_holds_is_kept() {
    for seed in 0..12 {
        let history = history_of(seed, 30);
        for operation in 0..120 {
            for mishap in [Mishap::Fails, Mishap::FailsForEver] {
                if let Err(wrong) = fail_once(seed, &history, operation, mishap) {
                    panic!("seed {seed}, {mishap:?} at operation {operation}: {wrong}");
                }
            }
        }
    }
}

#[test]
fn a_full_disk_is_named_and_what_is_kept_stays_readable() {
    let disk = SimDisk::new(1);
    let mut engine = open(&disk).unwrap();
    let mut model = Model::default();
    let history = history_of(3, 60);
    let (first, rest) = history.split_at(history.len() / 2);
    for group in first {
        engine.keep(group).unwrap();
        model.keep(group);
    }
    disk.limit(Some(disk.bytes() + 100));
    let mut is_full = false;
    for group in rest {
        match engine.keep(group) {
            Ok(_) => model.keep(group),
            Err(error) => {
                assert!(matches!(error, StoreError::Full { .. } | StoreError::NotMended), "{error}");
                is_full |= matches!(error, StoreError::Full { .. });
                model.fail(group);
            }
        }
        model.check(&mut engine).unwrap();
    }
    assert!(is_full);
    assert!(matches!(engine.mend(), Err(StoreError::Full { .. })), "there is no room yet");
    disk.repair();
    engine.mend().unwrap();
    model.check(&mut engine).unwrap();
    drop(engine);
    disk.restart();
    model.check(&mut open(&disk).unwrap()).unwrap();
}
