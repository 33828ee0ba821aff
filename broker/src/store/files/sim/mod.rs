//! A disk in memory that keeps no more than it must: what was not synced may be gone after a loss of power, or be there in part.

mod access;

pub use access::SimFiles;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What goes wrong, at the given operation that changes something (they are counted from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The power is lost in it: a part of it is done, and nothing works any more until [`SimDisk::restart`].
    PowerLoss,
    /// The process dies in it: a part of it is done, and nothing works any more until [`SimDisk::next_process`].
    Death,
    /// It fails: of a write a part is done, a sync loses what it was to keep.
    Fails,
    /// It fails, and all after it, until [`SimDisk::repair`].
    FailsForEver,
}

/// The disk itself, which outlives the brokers on it. Everything random follows from its seed.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, Content>,
    /// The directory as it is without what was not synced: names, and the contents that they name.
    synced: BTreeMap<String, u64>,
    /// Contents that only the synced directory names.
    removed: BTreeMap<u64, Content>,
    content_next: u64,
    operations: u64,
    mishap: Option<(u64, Mishap)>,
    is_without_power: bool,
    is_dead: bool,
    is_broken: bool,
    bytes_max: Option<u64>,
    is_locked: bool,
    ignores_sync: bool,
    ignores_sync_directory: bool,
    /// A sync says that it is done, and is done with the operation after it.
    syncs_late: bool,
    late: Option<String>,
    random: u64,
}

#[derive(Debug, Default, Clone)]
struct Content {
    number: u64,
    bytes: Vec<u8>,
    synced_len: usize,
    /// What a sync that failed was to keep: it is not on the disk, whatever later ones say.
    lost: Vec<std::ops::Range<usize>>,
}

impl SimDisk {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk { random: seed ^ 0x9E37_79B9_7F4A_7C15, ..Disk::default() })))
    }

    /// Access for one broker.
    pub fn files(&self) -> SimFiles {
        SimFiles::new(self.clone())
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations there were that change something.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Whether the power was not lost since the last [`SimDisk::restart`].
    pub fn has_power(&self) -> bool {
        !self.disk().is_without_power
    }

    /// Lets something go wrong at an operation, counted from the first one ever.
    pub fn plan(&self, operation: u64, mishap: Mishap) {
        self.disk().mishap = Some((operation, mishap));
    }

    /// How many bytes there is room for.
    pub fn limit(&self, bytes_max: Option<u64>) {
        self.disk().bytes_max = bytes_max;
    }

    /// Nothing fails any more.
    pub fn repair(&self) {
        let mut disk = self.disk();
        (disk.mishap, disk.is_broken, disk.bytes_max) = (None, false, None);
    }

    /// The disk says that data is synced, and does nothing.
    pub fn ignore_sync(&self) {
        self.disk().ignores_sync = true;
    }

    /// The disk says that the directory is synced, and does nothing.
    pub fn ignore_sync_directory(&self) {
        self.disk().ignores_sync_directory = true;
    }

    /// The disk says that data is synced before it is.
    pub fn sync_late(&self) {
        self.disk().syncs_late = true;
    }

    /// Loses the power, if it is not lost, and comes back: what was not synced is there, or in part, or not.
    pub fn restart(&self) {
        self.disk().restart();
    }

    /// The process has died, and the power stayed: all that it wrote is there, and may yet be lost with the power where it was not synced.
    pub fn next_process(&self) {
        let mut disk = self.disk();
        (disk.is_dead, disk.is_locked) = (false, false);
    }

    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) {
        if let Some(byte) = self.disk().files.get_mut(name).and_then(|content| content.bytes.get_mut(offset as usize)) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// Cuts a file behind a length.
    pub fn cut(&self, name: &str, len: u64) {
        if let Some(content) = self.disk().files.get_mut(name) {
            content.bytes.truncate(len as usize);
            content.synced_len = content.synced_len.min(len as usize);
        }
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.disk().bytes()
    }

    /// All files with their lengths, in the order of their names.
    pub fn list(&self) -> Vec<(String, u64)> {
        self.disk().files.iter().map(|(name, content)| (name.clone(), content.bytes.len() as u64)).collect()
    }
}

/// What an operation comes to.
enum Verdict {
    Done,
    /// A part of it, and an error.
    Partly(io::Error),
}

impl Disk {
    fn bytes(&self) -> u64 {
        self.files.values().map(|content| content.bytes.len() as u64).sum()
    }

    /// xorshift64*
    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below.max(1)
    }

    fn check_power(&self) -> io::Result<()> {
        match (self.is_without_power, self.is_dead) {
            (true, _) => Err(io::Error::other("the power is lost")),
            (_, true) => Err(io::Error::other("the process is dead")),
            _ => Ok(()),
        }
    }

    /// Counts an operation that changes something.
    fn operate(&mut self) -> io::Result<Verdict> {
        self.check_power()?;
        let operation = self.operations;
        self.operations += 1;
        if self.is_broken {
            return Ok(Verdict::Partly(io::Error::other("the disk is broken")));
        }
        let mishap = self.mishap.filter(|(at, _)| *at == operation);
        if let Some(name) = self.late.take()
            && let Some(content) = self.files.get_mut(&name)
            && mishap.is_none()
        {
            content.synced_len = content.bytes.len();
        }
        let Some((_, mishap)) = mishap else { return Ok(Verdict::Done) };
        self.mishap = None;
        self.is_without_power = mishap == Mishap::PowerLoss;
        self.is_dead = mishap == Mishap::Death;
        self.is_broken = mishap == Mishap::FailsForEver;
        Ok(Verdict::Partly(io::Error::other(format!("{mishap:?} at operation {operation}"))))
    }

    fn restart(&mut self) {
        self.is_without_power = false;
        self.is_dead = false;
        self.is_locked = false;
        self.late = None;
        self.restart_directory();
        let names: Vec<String> = self.files.keys().cloned().collect();
        for name in names {
            let Some(content) = self.files.get(&name) else { continue };
            let (len, synced_len) = (content.bytes.len(), content.synced_len);
            let kept = synced_len + self.random(len - synced_len + 1);
            // Pages reach the disk in any order: a hole may stand before what is there.
            let hole = if kept > synced_len && self.random(2) == 0 { synced_len + self.random(kept - synced_len) } else { kept };
            let hole_len = self.random(64);
            if let Some(content) = self.files.get_mut(&name) {
                content.bytes.truncate(kept);
                content.bytes[hole..].iter_mut().take(hole_len).for_each(|byte| *byte = 0);
                content.synced_len = kept;
                for lost in std::mem::take(&mut content.lost) {
                    let end = lost.end.min(kept);
                    content.bytes[lost.start.min(end)..end].fill(0);
                }
            }
        }
        self.synced = self.files.iter().map(|(name, content)| (name.clone(), content.number)).collect();
        self.removed.clear();
    }

    /// Of what was created and removed since the directory was synced, any part lasts.
    fn restart_directory(&mut self) {
        let created: Vec<String> = self.files.keys().filter(|name| !self.synced.contains_key(*name)).cloned().collect();
        for name in created {
            if self.random(2) == 0 {
                self.files.remove(&name);
            }
        }
        let removed: Vec<(String, u64)> = self.synced.iter().map(|(name, number)| (name.clone(), *number)).collect();
        for (name, number) in removed {
            if !self.files.contains_key(&name)
                && self.random(2) == 0
                && let Some(content) = self.removed.remove(&number)
            {
                self.files.insert(name, content);
            }
        }
    }
}
