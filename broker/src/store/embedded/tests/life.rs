//! Whole lives: a disk that fails again and again, also while it is mended and while the engine starts, and power that is lost at any
//! of it. A seed is a life, and the same life every time.

use super::*;
use crate::store::files::Mishap;
use crate::store::samples::long_history_of;

/// What happens in a life.
struct Dice(u64);

impl Dice {
    /// SplitMix64.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// How often it came to what.
#[derive(Debug, Default)]
struct Counts {
    failures: u64,
    mended: u64,
    restarts: u64,
}

struct Life {
    dice: Dice,
    disk: SimDisk,
    /// `None`: only while it starts.
    engine: Option<Embedded<SimFiles>>,
    /// What the engine says it owes.
    model: Model,
    /// What may be there instead after a loss of power: what it did not get to writing, and nobody was told about.
    may_be: Vec<Model>,
    counts: Counts,
}

impl Life {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let engine = open(&disk).unwrap();
        let (model, may_be) = (Model::default(), Vec::new());
        Self { dice: Dice(seed), disk, engine: Some(engine), model, may_be, counts: Counts::default() }
    }

    fn engine(&mut self) -> &mut Embedded<SimFiles> {
        self.engine.as_mut().unwrap()
    }

    /// Something goes wrong within the next operations; or not.
    fn plan(&mut self) {
        let mishap = match self.dice.below(8) {
            0 | 1 => Mishap::Fails,
            2 => Mishap::FailsForEver,
            3 => Mishap::PowerLoss,
            _ => return,
        };
        let operation = self.disk.operations() + self.dice.below(16);
        self.disk.plan(operation, mishap);
    }

    fn step(&mut self, group: &[Batch]) -> Result<(), String> {
        self.plan();
        let kept = self.engine().keep(group);
        if kept.is_ok() {
            self.model.keep(group);
        } else {
            self.may_be = self.model.prefixes(group);
            self.model.fail(group);
        }
        if kept.is_err() || tidy(self.engine()).is_err() {
            self.counts.failures += 1;
            self.come_back()?;
        } else if self.dice.below(10) == 0 {
            self.restart()?;
        }
        // The power may be lost without anybody having noticed: reading would.
        if self.disk.has_power() { self.check() } else { self.restart() }
    }

    fn check(&mut self) -> Result<(), String> {
        let Self { model, engine, .. } = self;
        model.check(engine.as_mut().unwrap())
    }

    /// Mends it, and loses the power, until one of them is of use.
    fn come_back(&mut self) -> Result<(), String> {
        loop {
            match self.dice.below(6) {
                0 => return self.restart(),
                1 => self.disk.repair(),
                2 => self.plan(),
                _ => {
                    self.may_be.push(self.model.clone());
                    if self.engine().mend().is_ok() {
                        self.may_be.clear();
                        self.counts.mended += 1;
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Loses the power and starts, which may take it several times.
    fn restart(&mut self) -> Result<(), String> {
        self.counts.restarts += 1;
        self.engine = None;
        self.disk.restart();
        self.disk.repair();
        for _ in 0..self.dice.below(3) {
            self.plan();
            drop(open(&self.disk));
            if self.dice.below(2) == 0 || !self.disk.has_power() {
                self.disk.restart();
            }
        }
        self.disk.repair();
        let mut engine = open(&self.disk).map_err(|error| format!("it does not start: {error}"))?;
        let (found, given_out) = (engine.state().numbers(), self.model.state.numbers());
        if found.iter().zip(given_out).any(|(found, given_out)| *found > given_out) {
            return Err(format!("numbers {found:?} were found, {given_out:?} were given out"));
        }
        let mut may_be = std::mem::take(&mut self.may_be);
        // A segment that was begun after a failure knows of the numbers of what failed.
        may_be.iter_mut().for_each(|model| model.state.count_from(found));
        may_be.push(self.model.clone());
        let mut wrong = Vec::new();
        for mut model in may_be {
            match model.check(&mut engine) {
                Ok(()) => {
                    model.restart();
                    (self.model, self.engine) = (model, Some(engine));
                    return Ok(());
                }
                Err(other) => wrong.push(other),
            }
        }
        Err(wrong.join("\n or "))
    }
}

fn live(seed: u64, history: &[Vec<Batch>], counts: &mut Counts) -> Result<(), String> {
    let mut life = Life::new(seed);
    for (at, group) in history.iter().enumerate() {
        life.step(group).map_err(|wrong| format!("seed {seed}, group {at}: {wrong}"))?;
    }
    life.restart().map_err(|wrong| format!("seed {seed}, at the end: {wrong}"))?;
    counts.failures += life.counts.failures;
    counts.mended += life.counts.mended;
    counts.restarts += life.counts.restarts;
    Ok(())
}

#[test]
fn a_life_of_failures_and_losses_of_power_loses_nothing_that_was_acknowledged() {
    let mut counts = Counts::default();
    // With 519, a start that failed once removed an empty segment, whose header alone told of the highest number of a message.
    for seed in seeds(0..60).chain([519]) {
        if let Err(wrong) = live(seed, &long_history_of(seed, 120), &mut counts) {
            panic!("{wrong}");
        }
    }
    assert!(counts.failures > 0 && counts.mended > 0 && counts.restarts > 0, "{counts:?}");
}
