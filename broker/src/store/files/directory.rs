//! A directory of the real file system.

use super::Files;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file whose lock is the directory's, and which names who holds it.
pub(in crate::store) const LOCK: &str = "lock";

/// How many files are held open for reading.
const OPEN_MAX: usize = 64;

/// Messages are nobody's business but the broker's.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    open: HashMap<String, File>,
    lock: Option<File>,
}

impl Directory {
    /// A directory that exists or is made.
    ///
    /// # Errors
    /// It can be neither.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(&path)?;
            // The entry in its parent has to last as well.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Self::existing(path)
    }

    /// A directory that exists.
    ///
    /// # Errors
    /// It does not, or cannot be read.
    pub fn existing(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        fs::read_dir(&path)?;
        Ok(Self { path, open: HashMap::new(), lock: None })
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(name) {
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            let path = self.path.join(name);
            let file = OpenOptions::new().read(true).append(true).open(&path).or_else(|_| File::open(&path))?;
            self.open.insert(name.to_owned(), file);
        }
        self.open.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Files for Directory {
    fn lock(&mut self) -> io::Result<()> {
        let path = self.path.join(LOCK);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                writeln!(file, "{}", std::process::id())?;
                self.lock = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                let what = format!(
                    "the directory is in use by process {}; stop that broker, or give this one a directory of its own",
                    holder.trim()
                );
                Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(FILE_MODE).open(path)?;
        self.open.insert(name.to_owned(), file);
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn read_at(&mut self, name: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file(name)?.read_exact_at(into, offset)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        fs::remove_file(self.path.join(name))
    }

    fn rename(&mut self, name: &str, to: &str) -> io::Result<()> {
        self.open.remove(name);
        fs::rename(self.path.join(name), self.path.join(to))
    }

    fn path(&self, name: &str) -> String {
        Path::new(&self.path).join(name).display().to_string()
    }
}
