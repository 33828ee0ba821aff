//! What this machine has, for the defaults that follow from it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;

/// The cores this process may use.
pub fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

/// The name of this machine, made fit to be a server's name; `candor` where it has none.
pub fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name.chars().filter(|&c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).take(64).collect();
    if name.is_empty() { "candor".into() } else { name }
}

/// A quarter of the memory of this machine, or of the control group that this process lives in if that is less.
pub fn quarter_of_memory() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of_meminfo(&text));
    let group = group_path().and_then(|path| std::fs::read_to_string(path).ok()).and_then(|text| text.trim().parse().ok());
    let total = [machine, group].into_iter().flatten().min().unwrap_or(FALLBACK);
    (total / 4).max(MEMORY_LIMIT_MIN)
}

/// The least that `memory_limit` may be.
pub const MEMORY_LIMIT_MIN: u64 = 16 << 20;

/// What a machine is taken to have that does not tell.
const FALLBACK: u64 = 1 << 30;

/// Descriptors that are not for connections: the files of the store, of a reload and of the log, and some to spare.
const DESCRIPTORS_KEPT: u64 = 64;
/// What the runtime of a thread has open, and the connection that it accepts beyond the limit before it closes another.
const DESCRIPTORS_OF_A_THREAD: u64 = 6;

/// How many connections the limit of open descriptors leaves room for, once it is raised as far as it may be; each thread has a socket
/// for every listener.
pub fn connections_possible(threads: u64, listeners: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let kept = DESCRIPTORS_KEPT + threads.saturating_mul(DESCRIPTORS_OF_A_THREAD + 2 * listeners);
    limit.saturating_sub(kept).max(1)
}

/// Raises the limit of open descriptors of this process as far as it may be.
///
/// # Errors
/// The system does not let it.
pub fn raise_descriptors() -> std::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

fn total_of_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The limit of the version 2 control group of this process.
fn group_path() -> Option<std::path::PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/')).join("memory.max"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_the_kernels_table() {
        assert_eq!(total_of_meminfo("MemTotal:       24654012 kB\nMemFree: 1 kB\n"), Some(24_654_012 * 1024));
        assert_eq!(total_of_meminfo("MemFree: 1 kB\n"), None);
        assert_eq!(total_of_meminfo("MemTotal: lots\n"), None);
    }

    #[test]
    fn every_computed_default_is_usable() {
        assert!(cores() >= 1);
        assert!(!hostname().is_empty());
        assert!(quarter_of_memory() >= MEMORY_LIMIT_MIN);
        assert!(connections_possible(1, 1) >= connections_possible(8, 4) && connections_possible(8, 4) >= 1);
    }
}
