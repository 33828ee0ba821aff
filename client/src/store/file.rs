//! A session in a file: a log that is synced for each group of records, and written anew as what it comes to when it has grown long.

use super::{Record, SessionStore, StoreError, StoredSession, encode, frame};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A log is written anew when it has more bytes than this and than four times what it comes to.
const COMPACT_BYTES: u64 = 1 << 20;
/// Records of one frame of a log that is written anew, in bytes: what is read is checked frame by frame.
const FRAME_BYTES: usize = 256 << 10;

/// A session in a file, synced before anything that depends on it leaves: it survives the process and, as far as the disk keeps what it has
/// acknowledged, the power.
///
/// - A group that was being written when the process or the power ended was never kept and is cut off on opening. No other damage is
///   repaired: it is a [`StoreError::Damaged`] that names the place.
/// - Beside the file stands `FILE.lock`, which is locked as long as the store lives; it stays empty and may stay there.
/// - After an error of the disk nothing more is kept, since nobody knows what the disk holds.
#[derive(Debug)]
pub struct FileStore(Mutex<Log>);

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    salt: [u8; 8],
    len: u64,
    session: StoredSession,
    broken: Option<String>,
    lock: File,
}

impl FileStore {
    /// Opens the session in `path`, and makes it where there is none. It reads the whole file and may block.
    ///
    /// # Errors
    /// The file is in use, damaged, no session, or cannot be read or written.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let lock = lock(&path)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed(&path, "open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed(&path, "read"))?;
        // The head is written whole before the file has its name, but for one that this process did not make.
        if bytes.is_empty() {
            let session = StoredSession::default();
            let (file, salt, len) = write_anew(&path, &session).map_err(failed(&path, "make"))?;
            return Ok(Self(Mutex::new(Log { path, file, salt, len, session, broken: None, lock })));
        }
        let salt = check_head(&path, &bytes)?;
        let (session, len) = replay(&path, &bytes, salt)?;
        if len < bytes.len() as u64 {
            file.set_len(len).and_then(|()| file.sync_all()).map_err(failed(&path, "mend"))?;
        }
        file.seek(SeekFrom::Start(len)).map_err(failed(&path, "read"))?;
        Ok(Self(Mutex::new(Log { path, file, salt, len, session, broken: None, lock })))
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn failed(path: &Path, what: &'static str) -> impl Fn(io::Error) -> StoreError {
    move |error| StoreError::Io { file: path.to_owned(), what, cause: error.to_string() }
}

/// A device or a folder cannot be a store, and a store is put in the place of the file.
fn check_is_a_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(StoreError::Io {
            file: path.to_owned(),
            what: "use",
            cause: "it is no ordinary file; name one, or a path where there is nothing".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The lock stands beside the file, which gets another inode each time it is written anew.
fn lock(path: &Path) -> Result<File, StoreError> {
    check_is_a_file(path)?;
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(beside(path, ".lock"));
    let lock = lock.map_err(failed(path, "lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { file: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(path, "lock")(error)),
    }
}

fn check_head(path: &Path, bytes: &[u8]) -> Result<[u8; 8], StoreError> {
    let file = path.to_owned();
    let Some(rest) = bytes.strip_prefix(frame::MAGIC) else { return Err(StoreError::Foreign { file }) };
    match rest.split_first_chunk::<9>() {
        Some(([frame::VERSION, salt @ ..], _)) => Ok(*salt),
        Some(([version, ..], _)) => Err(StoreError::Version { file, version: *version }),
        None => Err(StoreError::Damaged { file, offset: bytes.len() as u64, what: "its head is cut off".to_owned() }),
    }
}

/// What a file comes to, and where its last whole frame ends.
fn replay(path: &Path, bytes: &[u8], salt: [u8; 8]) -> Result<(StoredSession, u64), StoreError> {
    let damaged = |offset, what: &str| StoreError::Damaged { file: path.to_owned(), offset, what: what.to_owned() };
    let frames =
        frame::read_all(bytes, salt).map_err(|offset| damaged(offset, "the checksum does not fit, and whole records stand behind it"))?;
    let mut session = StoredSession::default();
    for (offset, payload) in frames.whole {
        let records = encode::read_all(payload).map_err(|at| damaged(offset + 8 + at as u64, "this is no record that is known"))?;
        records.iter().for_each(|record| session.apply(record));
    }
    Ok((session, frames.end))
}

/// Writes a session to a new file that then takes the place of the old one: at every moment one of them is whole.
fn write_anew(path: &Path, session: &StoredSession) -> io::Result<(File, [u8; 8], u64)> {
    let salt = crate::random::bytes();
    let mut bytes = frame::head(salt);
    let mut payload = Vec::new();
    for record in session.to_records() {
        encode::put(&record, &mut payload);
        if payload.len() >= FRAME_BYTES {
            let at = bytes.len() as u64;
            frame::write(salt, at, &payload, &mut bytes);
            payload.clear();
        }
    }
    if !payload.is_empty() {
        let at = bytes.len() as u64;
        frame::write(salt, at, &payload, &mut bytes);
    }
    let temporary = beside(path, ".new");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    // The name is kept with its directory.
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()?;
    Ok((file, salt, bytes.len() as u64))
}

impl Log {
    fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut payload = Vec::new();
        records.iter().for_each(|record| encode::put(record, &mut payload));
        let mut bytes = Vec::with_capacity(payload.len() + 8);
        frame::write(self.salt, self.len, &payload, &mut bytes);
        self.file.write_all(&bytes).and_then(|()| self.file.sync_data()).map_err(failed(&self.path, "write"))?;
        self.len += bytes.len() as u64;
        records.iter().for_each(|record| self.session.apply(record));
        if self.len > COMPACT_BYTES && self.len / 4 > self.session.weight() {
            let (file, salt, len) = write_anew(&self.path, &self.session).map_err(failed(&self.path, "write"))?;
            (self.file, self.salt, self.len) = (file, salt, len);
        }
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // To close it is not enough: a process that is just being started from this one may hold it open for a moment longer.
        let _ = self.lock.unlock();
    }
}

impl SessionStore for FileStore {
    fn load(&self) -> StoredSession {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).session.clone()
    }

    fn keep(&self, records: &[Record]) -> Result<(), StoreError> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = &log.broken {
            return Err(StoreError::Broken { cause: cause.clone() });
        }
        if records.is_empty() {
            return Ok(());
        }
        log.append(records).inspect_err(|error| log.broken = Some(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode::tests::every;
    use super::*;
    use bytes::Bytes;
    use candor_protocol::codec::dictionary::Dictionary;
    use candor_protocol::packet::{Message, Qos};
    use candor_protocol::session::Delivery;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A directory that goes with its owner.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let name = format!("candor-store-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn file(&self) -> PathBuf {
            self.0.join("session")
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn accepted(number: u64, len: usize) -> Record {
        let message = Message::publish("a", vec![number as u8; len]).unwrap();
        let delivery = Delivery { message, qos: Qos::ExactlyOnce, retain: false, hop: Dictionary::EMPTY };
        Record::Accepted { number, delivery, mark: Some(Bytes::copy_from_slice(&number.to_le_bytes())) }
    }

    #[test]
    fn what_was_kept_is_there_in_the_next_life_after_every_step() {
        let place = Place::new();
        let mut expected = StoredSession::default();
        for record in every() {
            let store = FileStore::open(place.file()).unwrap();
            assert_eq!(store.load(), expected);
            store.keep(std::slice::from_ref(&record)).unwrap();
            expected.apply(&record);
        }
        assert_eq!(FileStore::open(place.file()).unwrap().load(), expected);
    }

    #[test]
    fn a_write_that_was_cut_anywhere_leaves_a_whole_number_of_groups() {
        let place = Place::new();
        let groups: Vec<_> = (1..6u64).map(|n| vec![accepted(n, 20), Record::Settled { number: n - 1 }]).collect();
        let store = FileStore::open(place.file()).unwrap();
        let mut lens = vec![store.0.lock().unwrap().len];
        let mut states = vec![store.load()];
        for group in &groups {
            store.keep(group).unwrap();
            lens.push(store.0.lock().unwrap().len);
            states.push(store.load());
        }
        drop(store);
        let whole = std::fs::read(place.file()).unwrap();
        for len in lens[0] as usize..=whole.len() {
            std::fs::write(place.file(), &whole[..len]).unwrap();
            let store = FileStore::open(place.file()).unwrap();
            let groups = lens.iter().filter(|end| **end <= len as u64).count() - 1;
            assert_eq!(store.load(), states[groups], "cut at {len}");
            // And it goes on from there.
            store.keep(&[accepted(9, 3)]).unwrap();
            drop(store);
            assert!(FileStore::open(place.file()).unwrap().load().messages.contains_key(&9), "cut at {len}");
        }
    }

    #[test]
    fn damage_is_an_error_that_names_file_and_place() {
        let place = Place::new();
        let store = FileStore::open(place.file()).unwrap();
        let first = store.0.lock().unwrap().len;
        (1..4).for_each(|n| store.keep(&[accepted(n, 20)]).unwrap());
        drop(store);
        let mut bytes = std::fs::read(place.file()).unwrap();
        bytes[first as usize + 12] ^= 1;
        std::fs::write(place.file(), &bytes).unwrap();
        let error = FileStore::open(place.file()).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { file, offset, .. } if *file == place.file() && *offset == first), "{error}");
        assert_eq!(std::fs::read(place.file()).unwrap(), bytes, "a damaged file is left as it is");
    }

    #[test]
    fn what_is_no_session_or_another_version_is_left_alone() {
        let place = Place::new();
        std::fs::write(place.file(), "my diary, and more than one line of it").unwrap();
        assert_eq!(FileStore::open(place.file()).unwrap_err(), StoreError::Foreign { file: place.file() });
        std::fs::write(place.file(), b"CANDOR-S\x09saltsalt").unwrap();
        assert_eq!(FileStore::open(place.file()).unwrap_err(), StoreError::Version { file: place.file(), version: 9 });
        std::fs::write(place.file(), b"CANDOR-S\x01sal").unwrap();
        assert!(matches!(FileStore::open(place.file()).unwrap_err(), StoreError::Damaged { offset: 12, .. }));
    }

    #[test]
    fn a_file_has_one_user() {
        let place = Place::new();
        let store = FileStore::open(place.file()).unwrap();
        assert_eq!(FileStore::open(place.file()).unwrap_err(), StoreError::InUse { file: place.file() });
        drop(store);
        assert!(FileStore::open(place.file()).is_ok());
    }

    #[test]
    fn a_long_log_is_written_anew_and_says_the_same() {
        let place = Place::new();
        let store = FileStore::open(place.file()).unwrap();
        store.keep(&every()).unwrap();
        for n in 10..60 {
            store.keep(&[accepted(n, 100_000), Record::Settled { number: n - 1 }]).unwrap();
        }
        let (kept, len) = (store.load(), store.0.lock().unwrap().len);
        assert!(len < COMPACT_BYTES + 200_000, "{len}");
        drop(store);
        let store = FileStore::open(place.file()).unwrap();
        assert_eq!((store.load(), store.load().last_number), (kept, u64::MAX));
        assert_eq!(std::fs::metadata(place.file()).unwrap().len(), len);
    }

    #[test]
    fn after_a_failure_nothing_more_is_said_to_be_kept() {
        let place = Place::new();
        let store = FileStore::open(place.file()).unwrap();
        // A file that is open for reading alone stands for a disk that fails.
        store.0.lock().unwrap().file = File::open(place.file()).unwrap();
        let error = store.keep(&[accepted(1, 3)]).unwrap_err();
        assert!(matches!(&error, StoreError::Io { what: "write", .. }), "{error}");
        store.0.lock().unwrap().file = OpenOptions::new().append(true).open(place.file()).unwrap();
        assert!(matches!(store.keep(&[accepted(1, 3)]).unwrap_err(), StoreError::Broken { .. }));
        assert!(store.load().messages.is_empty());
    }
}
