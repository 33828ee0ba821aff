//! The process: the broker's own library with the broker's own flags, on the layer that writes late.

use super::fault::Switch;
use super::files::VolatileFiles;
use super::mutant::{Forgetful, Mutant};
use crate::outcome::{Checked, Stop};
use candor_broker::access::Door;
use candor_broker::broker::Broker;
use candor_broker::config::Available;
use candor_broker::config::command::{self, Invocation};
use candor_broker::shard::Storage;
use candor_broker::start::{self, Purpose};
use candor_broker::store::embedded::{Embedded, Options};
use candor_broker::store::{Engine, OpenEngine, StoreError};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// Short segments, so that directories change often.
const SEGMENT_BYTES: u64 = 32 * 1024;

/// What is different from an ordinary broker.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Difference {
    /// What it does wrong.
    #[arg(long, value_enum, default_value_t)]
    pub mutant: Mutant,
    /// What the disk writes early follows from it.
    #[arg(long, default_value_t)]
    pub disk_seed: u64,
}

/// Serves with the flags of `candor-broker` until standard input ends, or the process is killed. Each line of standard input says what
/// goes wrong on the disk from then on; see [`super::fault`].
///
/// # Errors
/// The flags are wrong, it cannot be started, or a line is none.
pub fn serve(difference: &Difference, flags: &[String]) -> Checked {
    let available = Available { durabilities: start::DURABILITIES, experiments: &[] };
    let arguments = std::iter::once("candor-broker".to_owned()).chain(flags.iter().cloned());
    let loaded = match command::invocation(arguments, &available) {
        Ok(Invocation::Serve(loaded)) => loaded,
        Ok(_) => return Err(Stop::failed("only a broker that serves can be killed")),
        Err(error) => return Err(Stop::failed(error.to_string())),
    };
    let path = loaded.config.storage.data_dir.clone().ok_or_else(|| Stop::failed("it needs --data-dir"))?;
    // The rates of its log lines end with the process.
    let _rates = candor_broker::log::start(&loaded.config.log).map_err(Stop::failed)?;
    let setup = start::setup(&loaded.config, &|_| Arc::new(Door::open()), Purpose::Serve);
    let mut setup = setup.map_err(|error| Stop::failed(error.to_string()))?;
    let switch = Switch::default();
    setup.settings.storage = Storage::Engine(Arc::new(VolatileDir { path, switch: switch.clone(), difference: difference.clone() }));
    let broker = Broker::start(setup).map_err(|error| Stop::failed(error.to_string()))?;
    for url in broker.urls() {
        writeln!(std::io::stdout(), "listening {url}")?;
    }
    switch.follow(std::io::stdin().lock())?;
    Ok(broker.stop()?)
}

/// The embedded engine on the layer.
#[derive(Debug)]
struct VolatileDir {
    path: PathBuf,
    switch: Switch,
    difference: Difference,
}

impl OpenEngine for VolatileDir {
    fn open(&self) -> Result<Box<dyn Engine>, StoreError> {
        let Difference { mutant, disk_seed } = self.difference;
        let failed = |error: std::io::Error| StoreError::Failed { file: self.path.display().to_string(), what: error.to_string() };
        let files = VolatileFiles::new(self.path.clone(), self.switch.clone(), mutant, disk_seed).map_err(failed)?;
        let mut options = Options::default();
        options.segment_bytes = SEGMENT_BYTES;
        let engine: Box<dyn Engine> = Box::new(Embedded::open(files, options)?);
        Ok(if mutant == Mutant::ForgetsTakenIdentifiers { Box::new(Forgetful::new(engine)) } else { engine })
    }
}
