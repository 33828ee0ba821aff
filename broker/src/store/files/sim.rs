//! A disk in memory that keeps no more than it must: what was not synced may be gone after a loss of power, or be there in part.

use super::Files;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What goes wrong, at the given operation that changes something (they are counted from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The power is lost in it: a part of it is done, and nothing works any more until [`SimDisk::restart`].
    PowerLoss,
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
        SimFiles { disk: self.clone(), holds_lock: false }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations there were that change something.
    pub fn operations(&self) -> u64 {
        self.disk().operations
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
        if self.is_without_power { Err(io::Error::other("the power is lost")) } else { Ok(()) }
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
        self.is_broken = mishap == Mishap::FailsForEver;
        Ok(Verdict::Partly(io::Error::other(format!("{mishap:?} at operation {operation}"))))
    }

    fn restart(&mut self) {
        self.is_without_power = false;
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

/// One broker's access to a [`SimDisk`].
#[derive(Debug)]
pub struct SimFiles {
    disk: SimDisk,
    holds_lock: bool,
}

impl Drop for SimFiles {
    fn drop(&mut self) {
        if self.holds_lock {
            self.disk.disk().is_locked = false;
        }
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"))
}

impl Files for SimFiles {
    fn lock(&mut self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        if disk.is_locked {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the directory is in use by process 1"));
        }
        (disk.is_locked, self.holds_lock) = (true, true);
        Ok(())
    }

    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        self.disk.disk().check_power()?;
        Ok(self.disk.list())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let verdict = disk.operate()?;
        if disk.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if let Verdict::Partly(error) = verdict {
            return Err(error);
        }
        disk.content_next += 1;
        let content = Content { number: disk.content_next, ..Content::default() };
        disk.files.insert(name.to_owned(), content);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let verdict = disk.operate()?;
        let room = disk.bytes_max.map_or(usize::MAX, |max| max.saturating_sub(disk.bytes()) as usize);
        let (len, result) = match verdict {
            Verdict::Partly(error) => (disk.random(bytes.len() + 1), Err(error)),
            Verdict::Done if room < bytes.len() => (room, Err(io::ErrorKind::StorageFull.into())),
            Verdict::Done => (bytes.len(), Ok(())),
        };
        let content = disk.files.get_mut(name).ok_or_else(|| missing(name))?;
        content.bytes.extend_from_slice(&bytes[..len]);
        result
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let verdict = disk.operate()?;
        let late = disk.syncs_late;
        let ignores = disk.ignores_sync || late;
        let content = disk.files.get_mut(name).ok_or_else(|| missing(name))?;
        match verdict {
            // The pages count as clean from now on, and are not what was written.
            Verdict::Partly(error) => {
                content.lost.push(content.synced_len..content.bytes.len());
                return Err(error);
            }
            Verdict::Done if !ignores => content.synced_len = content.bytes.len(),
            Verdict::Done => {}
        }
        disk.late = late.then(|| name.to_owned());
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        if let Verdict::Partly(error) = disk.operate()? {
            return Err(error);
        }
        if !disk.ignores_sync_directory {
            disk.synced = disk.files.iter().map(|(name, content)| (name.clone(), content.number)).collect();
            disk.removed.clear();
        }
        Ok(())
    }

    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let disk = self.disk.disk();
        disk.check_power()?;
        let content = disk.files.get(name).ok_or_else(|| missing(name))?;
        let bytes = content.bytes.get(offset as usize..).and_then(|bytes| bytes.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk.disk();
        if let Verdict::Partly(error) = disk.operate()? {
            return Err(error);
        }
        let content = disk.files.remove(name).ok_or_else(|| missing(name))?;
        disk.removed.insert(content.number, content);
        Ok(())
    }

    fn rename(&mut self, name: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk.disk();
        if let Verdict::Partly(error) = disk.operate()? {
            return Err(error);
        }
        let content = disk.files.remove(name).ok_or_else(|| missing(name))?;
        disk.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        format!("sim/{name}")
    }
}
