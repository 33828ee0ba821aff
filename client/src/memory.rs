//! What a client remembers of a server: whether it spoke the extension, and whether an offer did harm.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Servers that are remembered at most; those whose memory ends first are forgotten first.
const SERVERS_MAX: usize = 1024;

/// What is remembered of one server. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recollection {
    /// Until when it counts that the server spoke the extension; 0: it never did.
    pub spoke_until_s: u64,
    /// Whether the server had proved by TLS who it is. Only then it is held to what it spoke.
    pub verified: bool,
    /// Until when no offer is made, because a connection died of one; 0: offers are welcome.
    pub no_offer_until_s: u64,
}

impl Recollection {
    pub(crate) fn spoke(&self, now_s: u64) -> bool {
        now_s < self.spoke_until_s
    }

    /// Whether the server is bound to speak the extension.
    pub(crate) fn binds(&self, now_s: u64) -> bool {
        self.verified && self.spoke(now_s)
    }

    pub(crate) fn forbids_offer(&self, now_s: u64) -> bool {
        now_s < self.no_offer_until_s
    }

    fn ends_s(&self) -> u64 {
        self.spoke_until_s.max(self.no_offer_until_s)
    }
}

/// Why a memory could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryError(pub String);

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MemoryError {}

/// Keeps what is remembered, by server: the key is the server's URL without credentials.
pub trait Memory: fmt::Debug + Send + Sync {
    /// What is remembered of `server`; nothing is the default.
    ///
    /// # Errors
    /// The memory cannot be read. The client then goes on as if there were none, and tells it as an event.
    fn recall(&self, server: &str) -> Result<Recollection, MemoryError>;

    /// Replaces what is remembered of `server`. The default forgets it.
    ///
    /// # Errors
    /// The memory cannot be written; told as an event.
    fn remember(&self, server: &str, what: Recollection) -> Result<(), MemoryError>;
}

type Servers = BTreeMap<String, Recollection>;

fn put(servers: &mut Servers, server: &str, what: Recollection) {
    if what == Recollection::default() {
        servers.remove(server);
        return;
    }
    servers.insert(server.to_owned(), what);
    while servers.len() > SERVERS_MAX {
        let Some(first) = servers.iter().min_by_key(|(_, what)| what.ends_s()).map(|(server, _)| server.clone()) else { return };
        servers.remove(&first);
    }
}

/// A memory that ends with the process.
#[derive(Debug, Default)]
pub struct InProcess(Mutex<Servers>);

impl InProcess {
    /// The one that all clients of this process share unless they are given another.
    pub fn shared() -> Arc<dyn Memory> {
        static SHARED: OnceLock<Arc<InProcess>> = OnceLock::new();
        SHARED.get_or_init(Arc::default).clone()
    }
}

impl Memory for InProcess {
    fn recall(&self, server: &str) -> Result<Recollection, MemoryError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(server).copied().unwrap_or_default())
    }

    fn remember(&self, server: &str, what: Recollection) -> Result<(), MemoryError> {
        put(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), server, what);
        Ok(())
    }
}

/// A memory in a JSON file, which other processes may share: it is read each time and replaced as a whole.
#[derive(Debug)]
pub struct InFile {
    path: PathBuf,
    /// One writer of this process at a time.
    writing: Mutex<()>,
}

impl InFile {
    /// The file, and its directory, are made when there is something to remember.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), writing: Mutex::new(()) }
    }

    fn read(&self) -> Result<Servers, MemoryError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Servers::new()),
            Err(error) => return Err(failed("read", &self.path, &error)),
        };
        serde_json::from_slice(&text).map_err(|error| failed("understand", &self.path, &error))
    }
}

fn failed(what: &str, path: &Path, error: &dyn fmt::Display) -> MemoryError {
    MemoryError(format!("cannot {what} the memory of servers in {}: {error}; removing the file forgets all servers", path.display()))
}

impl Memory for InFile {
    fn recall(&self, server: &str) -> Result<Recollection, MemoryError> {
        Ok(self.read()?.get(server).copied().unwrap_or_default())
    }

    fn remember(&self, server: &str, what: Recollection) -> Result<(), MemoryError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut servers = self.read()?;
        put(&mut servers, server, what);
        let text = serde_json::to_vec_pretty(&servers).map_err(|error| failed("write", &self.path, &error))?;
        let write = || {
            if let Some(directory) = self.path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            let temporary = self.path.with_extension(format!("{}.tmp", std::process::id()));
            std::fs::write(&temporary, &text)?;
            std::fs::rename(&temporary, &self.path)
        };
        write().map_err(|error: std::io::Error| failed("write", &self.path, &error))
    }
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoke(until_s: u64) -> Recollection {
        Recollection { spoke_until_s: until_s, verified: true, no_offer_until_s: 0 }
    }

    #[test]
    fn only_a_server_that_proved_itself_is_held_to_its_word_and_only_for_a_time() {
        assert!(spoke(10).binds(9) && !spoke(10).binds(10));
        assert!(!Recollection { verified: false, ..spoke(10) }.binds(9));
    }

    #[test]
    fn the_file_keeps_what_the_process_forgets() {
        let path = std::env::temp_dir().join(format!("candor-memory-{}", std::process::id())).join("servers.json");
        let remembered = InFile::new(&path).remember("mqtts://a:1", spoke(7)).and_then(|()| InFile::new(&path).recall("mqtts://a:1"));
        let other = InFile::new(&path).recall("mqtts://b:1");
        std::fs::write(&path, "{").unwrap();
        let broken = InFile::new(&path).recall("mqtts://a:1");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(remembered, Ok(spoke(7)));
        assert_eq!(other, Ok(Recollection::default()));
        assert!(broken.unwrap_err().0.contains("removing the file forgets"));
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_what_ends_first() {
        let mut servers = Servers::new();
        (0..=SERVERS_MAX).for_each(|n| put(&mut servers, &n.to_string(), spoke(1 + n as u64)));
        assert_eq!(servers.len(), SERVERS_MAX);
        assert!(!servers.contains_key("0") && servers.contains_key("1"));
        put(&mut servers, "1", Recollection::default());
        assert!(!servers.contains_key("1"));
    }
}
