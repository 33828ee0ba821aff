//! How each broker is started to be measured: without a log, with limits that do not bind, and with one thread that serves.

use crate::outcome::{Checked, Stop};
use crate::peer::{Unavailable, installed, on_path};
use std::fmt;
use std::path::Path;
use std::process::Command;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The relay that does the least.
    Floor,
    /// Ours, memory only, one thread.
    Candor,
    /// Ours with two threads.
    CandorTwo,
    /// Ours with everything on disk, synced before it is acknowledged.
    CandorDisk,
    /// Ours with limits for small memory, to be seen to hold.
    CandorBounded,
    /// The same, with memory for a large retained store.
    CandorStore,
    Mosquitto,
    /// With persistence, which it saves at intervals.
    MosquittoSaving,
    Rumqttd,
}

use Target::{Candor, CandorBounded, CandorDisk, CandorStore, CandorTwo, Floor, Mosquitto, MosquittoSaving, Rumqttd};

impl Target {
    pub const ALL: [Self; 9] = [Floor, Candor, CandorTwo, CandorDisk, CandorBounded, CandorStore, Mosquitto, MosquittoSaving, Rumqttd];

    pub const fn name(self) -> &'static str {
        match self {
            Floor => "floor",
            Candor => "candor",
            CandorTwo => "candor, two threads",
            CandorDisk => "candor, disk",
            CandorBounded => "candor, small limits",
            CandorStore => "candor, small limits, large store",
            Mosquitto => "mosquitto",
            MosquittoSaving => "mosquitto, persistence",
            Rumqttd => "rumqttd",
        }
    }

    /// What figures, template and load generator call it.
    pub const fn key(self) -> &'static str {
        match self {
            Floor => "floor",
            Candor => "candor",
            CandorTwo => "candor-two",
            CandorDisk => "candor-disk",
            CandorBounded => "candor-bounded",
            CandorStore => "candor-store",
            Mosquitto => "mosquitto",
            MosquittoSaving => "mosquitto-saving",
            Rumqttd => "rumqttd",
        }
    }

    pub fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.key() == key)
    }

    /// What it runs with, for the page.
    pub const fn settings(self) -> &'static str {
        match self {
            Floor => "`candor bench floor`",
            Candor => "`--durability memory --threads 1`, queues and subscriptions unlimited",
            CandorTwo => "as candor, `--threads 2`",
            CandorDisk => "as candor, `--durability disk`: synced before it is acknowledged",
            CandorBounded => {
                "`--durability memory --threads 1 --send-buffer 8KiB --queue-length-max 100 --queue-bytes-max 16KiB \
                 --packet-size-max 16KiB --memory-limit 256MiB`, room for 15,000 connections, and rules that deny a user one tree of topics"
            }
            CandorStore => "as candor, small limits, `--memory-limit 640MiB`, room for 10,000,000 retained messages",
            Mosquitto => "`persistence false`, queues and in-flight unlimited, TCP_NODELAY",
            MosquittoSaving => {
                "as mosquitto, `persistence true`, `autosave_interval 5`: what it acknowledged since it last saved is lost in a crash"
            }
            Rumqttd => "20,000 connections, 1,000 in flight, segments of 100 MB, all in memory",
        }
    }

    /// The arguments that make `candor bench` start it; files go into `folder`.
    ///
    /// # Errors
    /// It is not installed, or a file cannot be written.
    pub fn arguments(self, broker: &Path, folder: &Path) -> Result<[String; 2], Unavailable> {
        let start = |command: String| Ok(["--start".to_owned(), format!("{}={command}", self.key())]);
        let ours = |flags: &str| start(format!("'{}' --listen mqtt://127.0.0.1:{{port}} --log error {flags}", broker.display()));
        let configured = |program: &Path, flag: &str, name: &str, text: &str| {
            let file = folder.join(name);
            std::fs::write(&file, text)?;
            start(format!("'{}' {flag} '{{config:{}}}'", program.display(), file.display()))
        };
        match self {
            Floor => Ok(["--target".to_owned(), "floor".to_owned()]),
            Candor => ours(&format!("--durability memory --threads 1 {UNLIMITED}")),
            CandorTwo => ours(&format!("--durability memory --threads 2 {UNLIMITED}")),
            CandorDisk => ours(&format!("--durability disk --data-dir {{dir}}/data --threads 1 {UNLIMITED}")),
            CandorBounded => {
                let (rules, passwords) = (folder.join("rules.toml"), folder.join("passwords"));
                std::fs::write(&rules, RULES)?;
                std::fs::write(&passwords, PASSWORDS)?;
                let files = format!("--rules-file '{}' --password-file '{}'", rules.display(), passwords.display());
                ours(&format!("{SMALL} --memory-limit 256MiB {files}"))
            }
            CandorStore => ours(&format!("{SMALL} --memory-limit 640MiB --retained-max 10000000 --retained-bytes-max 16GiB")),
            Mosquitto => configured(&on_path("mosquitto")?, "-c", "mosquitto.conf", &mosquitto("persistence false")),
            MosquittoSaving => {
                let saving = "user root\npersistence true\nautosave_interval 5\npersistence_location {dir}/";
                configured(&on_path("mosquitto")?, "-c", "mosquitto-saving.conf", &mosquitto(saving))
            }
            Rumqttd => configured(&installed(RUMQTTD_BUILT)?, "--quiet --config", "rumqttd.toml", RUMQTTD),
        }
    }

    /// What it says of its version.
    pub fn version(self) -> Option<String> {
        let said = |program: Result<std::path::PathBuf, Unavailable>, flag: &str| {
            let output = Command::new(program.ok()?).arg(flag).output().ok()?;
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
        };
        match self {
            Mosquitto => said(on_path("mosquitto"), "-h"),
            Rumqttd => said(installed(RUMQTTD_BUILT), "--version"),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// So that no limit is what is measured; the reasons why they are lower by default do not hold here.
const UNLIMITED: &str = "--connections-max 15000 --subscriptions-max 10000000 --queue-length-max 100000000 --queue-bytes-max 64GiB \
    --retained-max 10000000 --retained-bytes-max 16GiB --memory-limit 64GiB --receive-maximum 65535 --send-window 1000";

/// Limits for small memory, but for that of the memory.
const SMALL: &str = "--durability memory --threads 1 --send-buffer 8KiB --queue-length-max 100 --queue-bytes-max 16KiB \
    --packet-size-max 16KiB --connections-max 15000";

/// User name and password of clients that publish what they may not.
pub(super) const HOSTILE_LOGIN: (&str, &str) = ("hostile", "hostile");

/// The same as the broker keeps it.
const PASSWORDS: &str = "hostile:$argon2id$v=19$m=19456,t=2,p=1$fVVqds6G+jUK0EuLbdq3CQ$/1TDfuNaJkW4kuA097dvL3rpxc/cBMPwaRjOB8vCKnQ\n";

/// What they may not.
const RULES: &str = "default = \"allow\"\n\n[[rule]]\nname = \"not below forbidden\"\naction = \"deny\"\nuser = [\"hostile\"]\n\
    publish = [\"forbidden/#\"]\n";

fn mosquitto(storage: &str) -> String {
    format!(
        "listener {{port}} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nlog_type none\nmax_queued_messages 0\n\
         max_inflight_messages 1000\n{storage}\n"
    )
}

/// As its makers release it: what the matrix plays against is built with little optimisation.
const RUMQTTD_BUILT: &str = "rumqttd-measured/bin/rumqttd";

const RUMQTTD: &str = "id = 0\n[router]\nid = 0\nmax_connections = 20000\nmax_outgoing_packet_count = 200\n\
    max_segment_size = 104857600\nmax_segment_count = 10\n[v4.1]\nname = \"bench\"\nlisten = \"127.0.0.1:{port}\"\n\
    next_connection_delay_ms = 0\n[v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 8388608\n\
    max_inflight_count = 1000\ndynamic_filters = true\n";

/// A prefix of client identifiers with which each of `pairs` publishers has its home in the shard of its subscriber (`within`), or in
/// the other one, of two.
///
/// # Errors
/// None of a million prefixes does it.
pub(super) fn prefix(pairs: usize, within: bool) -> Checked<String> {
    use candor_broker::shard::attach::home;
    let fits =
        |prefix: &String| (0..pairs).all(|at| (home(&format!("{prefix}-sub-{at}"), 2) == home(&format!("{prefix}-pub-{at}"), 2)) == within);
    (0..1_000_000).map(|n| format!("bench{n}")).find(fits).ok_or_else(|| Stop::failed("no prefix places the pairs in shards as wanted"))
}
