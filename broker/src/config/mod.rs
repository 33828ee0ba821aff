//! The broker's configuration: one table of options ([`option::GROUPS`]), from which the flags, the keys of the file, `--help`,
//! the annotated example and the README's table all derive.
//!
//! ```text
//! option (table) ────┬─▶ command.rs  flags ────┐
//!                    ├─▶ file.rs     TOML ─────┼─▶ resolve.rs: default < file < flag ─▶ check.rs ─▶ Config
//!                    └─▶ manual.rs   --help, --help-config, README
//! ```
//!
//! Whatever is wrong is collected and told at once, each with its place, the line, what is allowed and the nearest name.

pub mod check;
pub mod command;
pub mod diagnostic;
pub mod document;
pub mod duration;
pub mod file;
pub mod kind;
pub mod listener;
pub mod machine;
pub mod manual;
pub mod option;
pub mod resolve;
pub mod size;
pub mod source;

use crate::transport::url::ListenUrl;
use candor_protocol::packet::TopicFilter;
use candor_protocol::packet::profile::{Durability, Overflow};
use diagnostic::Origin;
use listener::{Listener, Policy};
use std::path::PathBuf;

/// Everything that can be set, resolved once into typed values. Pieces of it are passed down; nobody reads it as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// At least one, in the order in which they were written.
    pub listeners: Vec<Listener>,
    /// This server's name, in stamps, in logs and towards other servers.
    pub node: String,
    /// Shards: threads that serve connections, at least 1.
    pub threads: u32,
    pub log: Log,
    pub storage: Storage,
    pub limits: Limits,
    pub plain: Plain,
    pub quarantine: Quarantine,
    pub dead_letters: DeadLetters,
    /// Namespaces with limits of their own, in the order in which they were written: the first that matches a topic counts.
    pub namespaces: Vec<Namespace>,
    /// The namespaces whose messages are reported on.
    pub reports: Vec<TopicFilter>,
    /// Namespaces whose messages are stamped.
    pub stamps: Vec<TopicFilter>,
    /// Seconds that a report waits for outcomes.
    pub report_wait_s: u32,
    pub access: AccessFiles,
    /// The experiments that are switched on, by name; all of them are known.
    pub experiments: Vec<String>,
    /// Seconds between the messages below `$SYS/`; 0: none.
    pub sys_interval_s: u32,
    /// The socket's send buffer in bytes; `None`: what the system gives.
    pub send_buffer: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// A level, or a filter as `tracing` reads it: `info,candor_broker::session=debug`.
    pub filter: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is kept, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Storage {
    /// `None`: the folder `candor-data` where the process began, if anything is kept on disk.
    pub data_dir: Option<PathBuf>,
    /// Start although files are damaged, with what can be read.
    pub salvage: bool,
}

/// What bounds everything that clients can make grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of one packet, fixed header included.
    pub packet_size_max: u32,
    /// Messages above QoS 0 that one client may have unacknowledged towards the server; extended clients are told.
    pub receive_maximum: u16,
    /// Messages above QoS 0 that the server has unacknowledged towards a client that names no maximum of its own.
    pub send_window: u16,
    pub connections_max: u32,
    /// Connections without a session at once.
    pub connections_pending_max: u32,
    /// Seconds until CONNECT must be complete.
    pub connect_timeout_s: u32,
    /// Seconds; the longest keep alive that an extended client is granted.
    pub keep_alive_max_s: u16,
    /// Per session.
    pub subscriptions_max: u32,
    /// Per connection; 0: no limit.
    pub publish_messages_per_s_max: u64,
    pub publish_bytes_per_s_max: u64,
    /// Messages that wait for one session.
    pub queue_length_max: u32,
    /// How often a message that is given back is handed out again; 0: without end.
    pub redelivery_limit: u32,
    /// Bytes that wait for one session.
    pub queue_bytes_max: u64,
    pub overflow: Overflow,
    /// Seconds; `u32::MAX`: for ever.
    pub session_expiry_max_s: u32,
    /// Seconds; `u32::MAX`: for ever.
    pub message_expiry_max_s: u32,
    pub retained_max: u32,
    pub retained_bytes_max: u64,
    /// Bytes of everything that clients can make grow, together.
    pub memory_limit: u64,
}

/// What holds for the messages of a namespace, beside the limits of each session's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    pub filter: TopicFilter,
    /// Of its messages that wait for one session.
    pub queue_length_max: Option<u32>,
    pub queue_bytes_max: Option<u64>,
    /// What happens at these two.
    pub overflow: Overflow,
    /// Seconds; `u32::MAX`: for ever.
    pub message_expiry_max_s: Option<u32>,
}

/// What plain clients get where 3.1.1 leaves no way to tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plain {
    /// Seconds that a session with CleanSession 0 outlives its connection; `u32::MAX`: for ever.
    pub session_expiry_s: u32,
    pub ephemeral_session: EphemeralSession,
}

/// What a plain client gets that asks for a session (CleanSession 0) on a server that keeps none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EphemeralSession {
    /// CONNACK 3, server unavailable.
    #[default]
    Refuse,
    /// CONNACK 0 with Session Present 0, and the session ends with the connection.
    Accept,
}

/// When a client that does the same forbidden thing again and again is kept out, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quarantine {
    /// Equal refusals within the window that start it; 0: never.
    pub refusals: u32,
    pub window_s: u32,
    /// The first time; each further one is twice as long.
    pub first_s: u32,
    pub max_s: u32,
}

/// What becomes of messages that subscribers reject.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetters {
    /// The namespaces that keep them.
    pub namespaces: Vec<TopicFilter>,
    /// Per namespace.
    pub len_max: u32,
    /// Per namespace.
    pub bytes_max: u64,
    /// Whether the free text of a subscriber's problem is kept.
    pub text: bool,
}

/// The files that say who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessFiles {
    pub password_file: Option<PathBuf>,
    pub rules_file: Option<PathBuf>,
}

/// What this build of the broker can do, where that decides what may be configured.
#[derive(Debug, Clone, Copy)]
pub struct Available<'a> {
    /// The durabilities that an engine of this build proves.
    pub durabilities: &'a [Durability],
    /// The names of the experiments that it knows.
    pub experiments: &'a [&'a str],
}

impl Config {
    /// What the store has to keep: the most that any listener promises.
    pub fn durability(&self) -> Durability {
        self.listeners.iter().map(|listener| listener.durability).max().unwrap_or_default()
    }
}

impl Default for Available<'_> {
    fn default() -> Self {
        Self { durabilities: &[Durability::None, Durability::Memory, Durability::Disk], experiments: &[] }
    }
}

/// A configuration while it is put together: what [`kind::Kind::set`] writes to.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    pub(crate) config: Config,
    /// What holds for every listener that does not say otherwise.
    pub(crate) policy: Policy,
    pub(crate) listen: Vec<(ListenUrl, Origin)>,
    pub(crate) experiments: Vec<(String, Origin)>,
    pub(crate) config_file: Option<PathBuf>,
    pub(crate) check: bool,
    pub(crate) against: Option<PathBuf>,
    pub(crate) help_config: bool,
    pub(crate) help_rules: bool,
}
