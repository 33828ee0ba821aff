//! What a process costs, as the kernel counts it: CPU time and memory of a process and its descendants.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a process and its descendants have used so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// User and system time, to a clock tick; with the threads that have ended.
    ticks_ns: u64,
    /// Of each thread that lives, to the nanosecond.
    threads_ns: BTreeMap<u32, u64>,
    pub(super) rss_bytes: u64,
    /// The most that it was since each process began.
    pub(super) peak_bytes: u64,
}

impl Sample {
    /// `None` when there is no such process.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let mut sample = Self::default();
        for pid in family(pid) {
            sample.add(pid);
        }
        (!sample.threads_ns.is_empty()).then_some(sample)
    }

    fn add(&mut self, pid: u32) -> Option<()> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything, so fields are counted from behind its closing parenthesis: there, state is the first.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
        let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        self.ticks_ns += (number(11)? + number(12)?) * tick_ns;
        self.rss_bytes += number(21)? * rustix::param::page_size() as u64;
        self.peak_bytes += kib(&format!("/proc/{pid}/status"), "VmHWM:").unwrap_or(0);
        for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let run_ns: Option<u64> =
                fs::read_to_string(entry.path().join("schedstat")).ok().and_then(|text| text.split(' ').next()?.parse().ok());
            let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
            self.threads_ns.extend(thread.zip(run_ns));
        }
        Some(())
    }

    /// CPU time since `before`: exact while no thread begins or ends, else to a clock tick.
    pub(super) fn cpu_ns_since(&self, before: &Sample) -> u64 {
        if self.threads_ns.keys().eq(before.threads_ns.keys()) {
            let sum = |threads: &BTreeMap<u32, u64>| threads.values().sum::<u64>();
            return sum(&self.threads_ns).saturating_sub(sum(&before.threads_ns));
        }
        self.ticks_ns.saturating_sub(before.ticks_ns)
    }
}

/// Whether a process is this one, or one that this one descends from: what it costs would be our own cost too.
pub(super) fn is_own_family(pid: u32) -> bool {
    family(pid).contains(&std::process::id())
}

/// A process and all that descend from it.
fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(child);
        }
    }
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at) {
        family.extend(children.remove(parent).unwrap_or_default());
        at += 1;
    }
    family
}

/// CPU time of the calling thread.
pub(super) fn own_cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Bytes of a line `NAME NUMBER kB` in a file of the kernel's.
fn kib(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(1024 * line.split_whitespace().next()?.parse::<u64>().ok()?)
}

/// Bytes of all that the kernel has allocated for objects of its own, sockets among them: of the whole machine.
pub(super) fn slab_bytes() -> u64 {
    kib("/proc/meminfo", "Slab:").unwrap_or(0)
}

/// Bytes that the kernel holds in the buffers of TCP sockets, of the whole network namespace. It counts in steps of up to a mebibyte, and
/// not the sockets themselves (see [`slab_bytes`]).
pub(super) fn socket_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    let pages: u64 = words.nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Bytes that the files below a folder take on the disk.
pub(super) fn disk_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => disk_bytes(&entry.path()),
        // In units of 512 bytes, whatever the file system's blocks are.
        Ok(data) => data.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_and_a_process_that_is_not_there_is_none() {
        let me = std::process::id();
        let (before, own) = (Sample::of(me).unwrap(), own_cpu_ns());
        let mut sum = 0u64;
        while own_cpu_ns() - own < 30_000_000 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(Sample::of(me).unwrap().cpu_ns_since(&before) >= 10_000_000);
        assert!(before.rss_bytes > 100_000 && before.peak_bytes >= before.rss_bytes / 2);
        assert!(slab_bytes() > 1 << 20);
        assert!(Sample::of(u32::MAX).is_none());
        assert!(is_own_family(me) && is_own_family(std::os::unix::process::parent_id()) && !is_own_family(u32::MAX));
    }
}
