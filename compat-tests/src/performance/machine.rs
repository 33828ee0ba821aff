//! Where it was measured, and with what.

use super::target::Target;
use crate::outcome::Checked;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What the figures depend on besides the code.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    pub date: String,
    /// Of this repository.
    pub revision: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    pub rustc: String,
    pub profile: String,
    /// Of the folder that brokers keep their data in.
    pub file_system: String,
    /// 4 KiB written and synced, microseconds, the middle of a hundred.
    pub sync_us: f64,
    /// The load of the machine before anything was measured.
    pub load_average: f64,
    /// What each peer says of itself; `None`: it is not installed.
    pub peers: BTreeMap<String, Option<String>>,
}

impl Machine {
    /// Looks at this one; `data`: where brokers will keep their data.
    pub(super) fn here(profile: &str, data: &Path) -> Checked<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib = after(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse::<f64>().unwrap_or_default();
        let average = read("/proc/loadavg").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
        Ok(Self {
            date: said("date", &["-u", "+%Y-%m-%d"]),
            revision: said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]),
            cpu: after(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: kib / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: said("rustc", &["--version"]),
            profile: profile.to_owned(),
            file_system: said("stat", &["-f", "-c", "%T", &data.display().to_string()]),
            sync_us: sync_us(data)?,
            load_average: average,
            peers: [Target::Mosquitto, Target::Rumqttd].map(|peer| (peer.name().to_owned(), peer.version())).into(),
        })
    }
}

/// The first line of what a program prints; empty where it cannot be run.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().trim().to_owned()
}

fn sync_us(folder: &Path) -> Checked<f64> {
    let path = folder.join("sync");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let begin = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begin.elapsed().as_nanos() as f64 / 1e3);
    }
    fs::remove_file(&path)?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
