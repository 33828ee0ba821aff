//! What a broker does on a simulated disk.

use super::{Content, SimDisk, Verdict};
use crate::store::files::Files;
use std::io;

/// One broker's access to a [`SimDisk`].
#[derive(Debug)]
pub struct SimFiles {
    disk: SimDisk,
    holds_lock: bool,
}

impl SimFiles {
    pub(super) fn new(disk: SimDisk) -> Self {
        Self { disk, holds_lock: false }
    }
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
        let (ignores, is_dead) = (disk.ignores_sync || late, disk.is_dead);
        let content = disk.files.get_mut(name).ok_or_else(|| missing(name))?;
        match verdict {
            Verdict::Partly(error) if is_dead => return Err(error),
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
