//! The layer of files: a directory that gets what was synced, and at times a little more.

use super::content::Content;
use super::fault::{Fault, Switch};
use super::mutant::Mutant;
use candor_broker::store::files::{Directory, Files};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How long a sync takes, so that what waits for it does wait.
const SYNC_TIME: Duration = Duration::from_millis(1);

/// A directory whose unsynced half is in memory.
#[derive(Debug)]
pub struct VolatileFiles {
    path: PathBuf,
    below: Directory,
    /// The directory as it is seen: names, and what they name.
    names: BTreeMap<String, u64>,
    contents: HashMap<u64, Content>,
    next: u64,
    /// What was done to the directory since it was synced.
    changes: Vec<Change>,
    switch: Switch,
    mutant: Mutant,
    /// Of a mutant: the file whose sync was promised, and how much of it.
    late: Option<(u64, usize)>,
    random: u64,
}

#[derive(Debug)]
enum Change {
    Create { name: String, content: u64 },
    Remove { name: String },
    Rename { name: String, to: String },
}

impl VolatileFiles {
    /// A directory that exists or is made, with what an earlier process has synced. What reaches it early follows from the seed.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn new(path: PathBuf, switch: Switch, mutant: Mutant, seed: u64) -> io::Result<Self> {
        let mut below = Directory::create(&path)?;
        let (mut names, mut contents) = (BTreeMap::new(), HashMap::new());
        for (next, (name, _)) in (0..).zip(below.list()?) {
            contents.insert(next, Content::found(&path.join(&name))?);
            names.insert(name, next);
        }
        let (next, random) = (names.len() as u64, seed ^ 0x9E37_79B9_7F4A_7C15);
        Ok(Self { path, below, names, contents, next, changes: Vec::new(), switch, mutant, late: None, random })
    }

    /// xorshift64*
    fn draw(&mut self, limit: usize) -> usize {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit.max(1)
    }

    fn number(&self, name: &str) -> io::Result<u64> {
        self.names.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}")))
    }

    fn content(&mut self, number: u64) -> io::Result<&mut Content> {
        self.contents.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn refuse(&self, faults: &[Fault]) -> io::Result<()> {
        match self.switch.get().filter(|fault| faults.contains(fault)) {
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(fault) => Err(io::Error::other(format!("the harness wants it so: {}", fault.line()))),
            None => Ok(()),
        }
    }

    /// A change of the directory, which may last at once.
    fn change(&mut self, change: Change) -> io::Result<()> {
        if self.changes.is_empty() && self.draw(2) == 0 {
            return self.carry_out(&change);
        }
        self.changes.push(change);
        Ok(())
    }

    fn carry_out(&mut self, change: &Change) -> io::Result<()> {
        match change {
            Change::Create { name, content } => {
                let path = self.path.join(name);
                self.contents.get_mut(content).map_or(Ok(()), |content| content.named(&path))
            }
            Change::Remove { name } => self.below.remove(name),
            Change::Rename { name, to } => self.below.rename(name, to),
        }
    }
}

impl Files for VolatileFiles {
    fn lock(&mut self) -> io::Result<()> {
        self.below.lock()
    }

    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let len = |number: &u64| self.contents.get(number).map_or(0, |content| content.bytes().len() as u64);
        Ok(self.names.iter().map(|(name, number)| (name.clone(), len(number))).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        self.refuse(&[Fault::Full])?;
        if self.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = self.next;
        self.next += 1;
        self.contents.insert(content, Content::default());
        self.names.insert(name.to_owned(), content);
        self.change(Change::Create { name: name.to_owned(), content })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let number = self.number(name)?;
        let refusal = self.refuse(&[Fault::Write, Fault::ShortWrite, Fault::Full]);
        let len = match (&refusal, self.switch.get()) {
            (Ok(()), _) => bytes.len(),
            (Err(_), Some(Fault::Write)) => 0,
            (Err(_), _) => self.draw(bytes.len()),
        };
        let (kind, first, second) = (self.draw(4), self.draw(usize::MAX), self.draw(usize::MAX));
        let content = self.content(number)?;
        content.append(&bytes[..len]);
        content.write_early(|len| match kind {
            0 => 0..first % (len + 1),
            1 => first % (len + 1)..len,
            2 => {
                let (a, b) = (first % (len + 1), second % (len + 1));
                a.min(b)..a.max(b)
            }
            _ => 0..0,
        })?;
        refusal
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let number = self.number(name)?;
        std::thread::sleep(SYNC_TIME);
        if let Err(refusal) = self.refuse(&[Fault::Sync]) {
            self.content(number)?.fail_sync()?;
            return Err(refusal);
        }
        match self.mutant {
            Mutant::NoSync => Ok(()),
            Mutant::LateSync => {
                let len = self.content(number)?.bytes().len();
                match self.late.replace((number, len)) {
                    Some((before, len)) => self.contents.get_mut(&before).map_or(Ok(()), |content| content.sync(len)),
                    None => Ok(()),
                }
            }
            _ => {
                let content = self.content(number)?;
                content.sync(content.bytes().len())
            }
        }
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.refuse(&[Fault::Sync])?;
        if self.mutant == Mutant::NoDirectorySync {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.changes);
        changes.iter().try_for_each(|change| self.carry_out(change))
    }

    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let number = self.number(name)?;
        let bytes = self.content(number)?.bytes();
        let bytes = bytes.get(offset as usize..).and_then(|bytes| bytes.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let number = self.number(name)?;
        self.names.remove(name);
        // Its own creation may yet have to be carried out, so that the content stays until the directory is synced.
        self.change(Change::Remove { name: name.to_owned() })?;
        if self.changes.is_empty() {
            self.contents.remove(&number);
        }
        Ok(())
    }

    fn rename(&mut self, name: &str, to: &str) -> io::Result<()> {
        let number = self.number(name)?;
        self.names.remove(name);
        self.names.insert(to.to_owned(), number);
        self.change(Change::Rename { name: name.to_owned(), to: to.to_owned() })
    }

    fn path(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}
