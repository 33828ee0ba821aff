mod crash;
mod damage;
mod failure;
mod life;
mod space;

use super::*;
use crate::store::files::{Directory, SimDisk, SimFiles};
use crate::store::record::{Record, SessionNumber};
use crate::store::suite;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

/// Small segments, so that there are many.
fn options() -> Options {
    Options { segment_bytes: 600, ..Options::default() }
}

fn open(disk: &SimDisk) -> Result<Embedded<SimFiles>, StoreError> {
    Embedded::open(disk.files(), options())
}

/// The seeds of a test; `CANDOR_SEEDS=FROM..TO` names others and more.
fn seeds(ordinary: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("CANDOR_SEEDS") else { return ordinary };
    let (from, to) = text.split_once("..").expect("CANDOR_SEEDS is FROM..TO");
    from.parse().expect("FROM is a number")..to.parse().expect("TO is a number")
}

/// Tidies until there is nothing to do.
fn tidy(engine: &mut dyn Engine) -> Result<(), StoreError> {
    while engine.tidy()? {}
    Ok(())
}

/// What is remembered over a restart: of a cleared topic, nothing.
fn remembered(state: &State) -> State {
    let mut state = state.clone();
    state.forget_all_cleared();
    state
}

/// A state of the model, with every message that was ever named.
#[derive(Debug, Clone, Default)]
struct Model {
    state: State,
    envelopes: HashMap<MessageNumber, Envelope>,
}

impl Model {
    fn keep(&mut self, batches: &[Batch]) {
        for record in batches.iter().flat_map(|batch| &batch.records) {
            self.state.apply(record);
            if let Record::Message { message, envelope, .. } = record {
                self.envelopes.insert(*message, envelope.clone());
            }
        }
        self.state.end_group();
    }

    /// Of a group that failed, what holds all the same.
    fn fail(&mut self, batches: &[Batch]) {
        for record in batches.iter().flat_map(|batch| &batch.records) {
            self.state.count_numbers(record);
            if record.survives_failure() {
                self.state.apply(record);
            }
        }
        self.state.end_group();
    }

    /// What may be there of a group that nobody was told about: its batches up to any.
    fn prefixes(&self, group: &[Batch]) -> Vec<Self> {
        let prefix = |len: usize| {
            let mut model = self.clone();
            model.keep(&group[..len]);
            model
        };
        (0..=group.len()).map(prefix).collect()
    }

    /// Nothing is under way any more, and the topic of every will is known.
    fn restart(&mut self) {
        self.state.forget_all_cleared();
        let wills: Vec<MessageNumber> = self.state.wills.values().map(|(_, message)| *message).collect();
        for message in wills {
            self.state.name_topic(message, self.envelopes[&message].message.topic());
        }
    }

    /// Whether the engine owes what the model owes, and can read it.
    fn check(&self, engine: &mut dyn Engine) -> Result<(), String> {
        let (state, expected) = (remembered(engine.state()), remembered(&self.state));
        if state != expected {
            return Err(difference(&state, &expected));
        }
        for message in self.state.references.keys() {
            let read = engine.read(*message).map_err(|error| format!("message {}: {error}", message.0))?;
            if read.as_ref() != self.envelopes.get(message) {
                return Err(format!("message {} is another: {read:?}", message.0));
            }
        }
        let messages = engine.usage().messages;
        if messages != self.state.references.len() as u64 {
            return Err(format!("{messages} messages are kept, {} are owed", self.state.references.len()));
        }
        Ok(())
    }
}

/// The lines that two states differ in.
fn difference(found: &State, expected: &State) -> String {
    let parts = |state: &State| {
        let mut facts: Vec<String> = state.snapshot().map(|fact| format!("{fact:?}")).collect();
        facts.extend(state.references.iter().map(|(message, count)| format!("{} references to {message:?}", count)));
        facts
    };
    let (found, expected) = (parts(found), parts(expected));
    let only = |a: &[String], b: &[String]| a.iter().filter(|part| !b.contains(part)).cloned().collect::<Vec<_>>().join("\n  ");
    format!("found:\n  {}\nexpected:\n  {}", only(&found, &expected), only(&expected, &found))
}

#[test]
fn on_a_simulated_disk_it_passes_the_suite() {
    let disk = RefCell::new(SimDisk::new(0));
    let make = || {
        *disk.borrow_mut() = SimDisk::new(1);
        Box::new(open(&disk.borrow()).unwrap()) as Box<dyn Engine>
    };
    let reopen = |mut engine: Box<dyn Engine>| {
        tidy(&mut *engine).unwrap();
        drop(engine);
        disk.borrow().restart();
        Box::new(open(&disk.borrow()).unwrap()) as Box<dyn Engine>
    };
    suite::run(make, Some(&reopen));
}

/// A directory that is gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        Self(std::env::temp_dir().join(format!("candor-store-{:016x}", u64::from_le_bytes(random))))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn on_a_real_directory_it_passes_the_suite() {
    let scratch = RefCell::new(Scratch::new());
    let open = |path: &PathBuf| Box::new(Embedded::open(Directory::create(path).unwrap(), options()).unwrap()) as Box<dyn Engine>;
    let make = || {
        *scratch.borrow_mut() = Scratch::new();
        open(&scratch.borrow().0)
    };
    let reopen = |engine: Box<dyn Engine>| {
        drop(engine);
        open(&scratch.borrow().0)
    };
    suite::run(make, Some(&reopen));
}

#[test]
fn a_second_broker_on_a_directory_is_refused_with_the_process_of_the_first() {
    let scratch = Scratch::new();
    let open = || Embedded::open(Directory::create(&scratch.0).unwrap(), Options::default());
    let first = open().unwrap();
    let StoreError::Failed { file, what } = open().unwrap_err() else { panic!("it was not refused") };
    assert!(file.ends_with("lock") && what.contains(&format!("process {}", std::process::id())), "{file}: {what}");
    drop(first);
    open().unwrap();
}

#[test]
fn what_it_owes_follows_from_what_it_kept_however_often_it_is_cleaned_and_restarted() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let mut engine = open(&disk).unwrap();
        let mut model = Model::default();
        for (at, group) in crate::store::samples::history_of(seed, 60).iter().enumerate() {
            engine.keep(group).unwrap();
            model.keep(group);
            tidy(&mut engine).unwrap();
            model.check(&mut engine).unwrap_or_else(|wrong| panic!("seed {seed}, group {at}: {wrong}"));
            if at % 5 == 4 {
                drop(engine);
                model.restart();
                engine = open(&disk).unwrap_or_else(|error| panic!("seed {seed}, group {at}: {error}"));
                model.check(&mut engine).unwrap_or_else(|wrong| panic!("seed {seed}, restarted at group {at}: {wrong}"));
            }
        }
    }
}
