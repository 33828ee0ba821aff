//! What a run is to be: how often it kills, and on what disk.

use super::ledger::Ledger;
use super::volatile::Mutant;
use crate::outcome::{Checked, Stop};
use crate::peer::recipe::candor_broker;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a run is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub kills: u64,
    pub threads: u16,
    pub disk: Disk,
    /// Before each kill the disk fails, and is repaired; only a volatile one can.
    pub has_faults: bool,
    /// Gets a copy of the data directory as the last kill leaves it.
    pub leaves: Option<PathBuf>,
}

/// What the broker writes on, and so what a kill takes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// The system's: what was written is there.
    Real,
    /// The system's, put back to what it was at the kill before: a run that must fail.
    RolledBack,
    /// One that loses what was not synced: `program` is `candor-compat`, which runs the broker's library on it.
    Volatile { program: PathBuf, mutant: Mutant },
}

impl Disk {
    /// Whether a run on it has to find something.
    pub fn must_fail(&self) -> bool {
        match self {
            Self::Real => false,
            Self::RolledBack => true,
            Self::Volatile { mutant, .. } => *mutant != Mutant::None,
        }
    }

    /// The broker's process, without its flags.
    ///
    /// # Errors
    /// It is not there.
    pub fn command(&self, seed: u64) -> Checked<Command> {
        let Self::Volatile { program, mutant } = self else {
            return Ok(Command::new(candor_broker().map_err(|error| Stop::failed(format!("candor-broker: {error:?}")))?));
        };
        let mut command = Command::new(program);
        command.args(["volatile-broker", "--mutant", &mutant.name(), "--disk-seed", &seed.to_string(), "--"]);
        Ok(command)
    }
}

/// Puts the directory back to what it was at the last kill, and remembers what it is now.
pub(super) fn roll_back(data: &Path, before: &Path) -> Checked {
    let now = before.with_extension("now");
    copy(data, &now)?;
    if before.exists() {
        std::fs::remove_dir_all(data)?;
        copy(before, data)?;
        std::fs::remove_dir_all(before)?;
    }
    std::fs::rename(&now, before)?;
    Ok(())
}

pub(super) fn copy(from: &Path, to: &Path) -> Checked {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// What a run came to, for people.
pub fn report(plan: &Plan, ledger: &Ledger) -> String {
    let complaints: String = ledger.complaints.iter().map(|what| format!("\n  {what}")).collect();
    format!("seed {}, {} threads\n{}{complaints}{}\n", plan.seed, plan.threads, ledger.counts, ledger.story())
}
