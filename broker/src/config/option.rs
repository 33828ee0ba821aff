//! The table of options: each is written here once. Flags, keys of the file, `--help`, the annotated example and the README's
//! table of defaults are all read from it.

mod info;
#[cfg(test)]
mod tests;
mod value;

pub use info::{DefaultValue, OptionInfo, Scope};

use super::diagnostic::Origin;
use super::kind::{Choice, Kind, NAMESPACE};
use super::listener::{self, Anonymous, Disclosure, Extended, RefusedPublish, TlsMin};
use super::{Draft, EphemeralSession, LogFormat, machine, size};
use crate::transport::url;
use candor_protocol::dialect::terms::PACKET_SIZE_MAX;
use candor_protocol::packet::profile::{Durability, Overflow};
pub use value::namespace;
use value::{check_experiment, check_log, check_node};

/// The row called `name`.
pub fn named(name: &str) -> Option<&'static OptionInfo> {
    OPTIONS.iter().find(|option| option.name == name)
}

const fn row(name: &'static str, group: &'static str, kind: Kind, default: DefaultValue, sentence: &'static str) -> OptionInfo {
    OptionInfo { name, group, kind, default, sentence, why: "", scope: Scope::Server, short: None }
}

const fn choice(name: &'static str, meaning: &'static str, set: fn(&mut Draft)) -> Choice {
    Choice { name, meaning, set }
}

/// Any number of namespaces.
const fn namespaces(clear: fn(&mut Draft), add: fn(&mut Draft, &str, Origin)) -> Kind {
    Kind::List { form: NAMESPACE, check: |text| namespace(text).map(drop), clear, add }
}

/// A number whose range fits `u32`; beyond it, which the range excludes, it saturates.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// As [`narrow`], for ranges that fit `u16`.
fn short(number: u64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// The longest time short of `forever`: a hundred years of 365 days.
const CENTURY_S: u64 = 100 * 365 * 86_400;

const SERVED: &str = "What is served";
const TLS: &str = "TLS";
const ACCESS: &str = "Users and rights";
const STORAGE: &str = "Storage";
const CONNECTIONS: &str = "Limits of a connection";
const SESSIONS: &str = "Sessions, queues and memory";
const DEAD_LETTERS: &str = "Messages that are rejected";
const REPORTS: &str = "Reports to publishers";
const PLAIN: &str = "What plain 3.1.1 clients get";
const QUARANTINE: &str = "Quarantine";
const OPERATION: &str = "Operation";
const COMMAND: &str = "This command";

use DefaultValue::{Computed, Text, Unset};
use Kind::{Bytes, List, Number, Path, Seconds, Switch};

/// The table.
pub static OPTIONS: &[OptionInfo] = &[
    row(
        "listen",
        SERVED,
        List {
            form: url::FORM,
            check: |text| listener::parse_url(text).map(drop),
            clear: |d| d.listen.clear(),
            add: |d, text, origin| d.listen.extend(listener::parse_url(text).map(|url| (url, origin))),
        },
        Text("mqtt://127.0.0.1:1883"),
        "Where clients are served; may be given several times; a WebSocket without a path is served at /mqtt and /.",
    )
    .why("Only this machine reaches it: who opens a broker to others says so."),
    row(
        "extended",
        SERVED,
        Kind::Choice(&[
            choice("on", "extended and plain clients side by side", |d| d.policy.extended = Extended::On),
            choice("off", "plain 3.1.1 only", |d| d.policy.extended = Extended::Off),
            choice("required", "extended clients only; a plain CONNECT gets return code 5", |d| d.policy.extended = Extended::Required),
        ]),
        Text("on"),
        "Whether the extension is served.",
    )
    .scope(Scope::Listener),
    row(
        "disclosure",
        SERVED,
        Kind::Choice(&[
            choice("full", "the reason and the problem", |d| d.policy.disclosure = Disclosure::Full),
            choice("code", "the reason only", |d| d.policy.disclosure = Disclosure::Code),
            choice("opaque", "only that it failed", |d| d.policy.disclosure = Disclosure::Opaque),
        ]),
        Text("full"),
        "How much of a problem is told to a client; before it is authenticated it is never more than the reason.",
    )
    .scope(Scope::Listener),
    row(
        "node",
        SERVED,
        Kind::Text { form: "1 to 64 letters, digits, `.`, `-`, `_`", check: check_node, set: |d, text| d.config.node = text },
        Computed { words: "the host name", text: machine::hostname },
        "The name of this server, in stamps, logs and `$SYS/`.",
    ),
    row(
        "stamps",
        SERVED,
        namespaces(|d| d.config.stamps.clear(), |d, text, _| d.config.stamps.extend(namespace(text))),
        Unset("none"),
        "A namespace whose messages say, to extended subscribers and in envelopes, which user published them, which server took them \
         and when; may be given several times.",
    )
    .why("Who published is not everybody's to know."),
    row(
        "experiments",
        SERVED,
        List {
            form: "the name of an experiment: letters, digits, `-`",
            check: check_experiment,
            clear: |d| d.experiments.clear(),
            add: |d, text, origin| d.experiments.push((text.to_owned(), origin)),
        },
        Unset("none"),
        "An experiment that is switched on; may be given several times.",
    ),
    row(
        "tls_cert",
        TLS,
        Path { set: |d, path| d.policy.tls.cert = Some(path) },
        Unset("none"),
        "The certificate chain of this server, PEM.",
    )
    .scope(Scope::Listener),
    row("tls_key", TLS, Path { set: |d, path| d.policy.tls.key = Some(path) }, Unset("none"), "The private key of this server, PEM.")
        .scope(Scope::Listener),
    row(
        "tls_development",
        TLS,
        Path { set: |d, path| d.policy.tls.development = Some(path) },
        Unset("none"),
        "A folder in which a certificate authority and a certificate for trying out are made and kept, in place of tls_cert and tls_key.",
    )
    .scope(Scope::Listener),
    row(
        "tls_min",
        TLS,
        Kind::Choice(&[
            choice("1.2", "TLS 1.2 and 1.3", |d| d.policy.tls.min = TlsMin::V1_2),
            choice("1.3", "TLS 1.3 only", |d| d.policy.tls.min = TlsMin::V1_3),
        ]),
        Text("1.3"),
        "The oldest TLS version that is served.",
    )
    .why("Extended clients speak 1.3; devices that cannot are a reason to write 1.2.")
    .scope(Scope::Listener),
    row(
        "tls_client_ca",
        TLS,
        Path { set: |d, path| d.policy.tls.client_ca = Some(path) },
        Unset("none: client certificates are not asked for"),
        "The authority of client certificates, PEM; a client that shows one is known by the name in it.",
    )
    .scope(Scope::Listener),
    row(
        "tls_client_required",
        TLS,
        Switch { set: |d, on| d.policy.tls.client_required = on },
        Text("false"),
        "Whether a client must show a certificate.",
    )
    .scope(Scope::Listener),
    row(
        "anonymous",
        ACCESS,
        Kind::Choice(&[
            choice("loopback", "clients whose address is a loopback address", |d| d.policy.anonymous = Anonymous::Loopback),
            choice("never", "nobody", |d| d.policy.anonymous = Anonymous::Never),
            choice("always", "everybody", |d| d.policy.anonymous = Anonymous::Always),
        ]),
        Text("loopback"),
        "Who may connect without user name, password and certificate.",
    )
    .why("It works out of the box on one machine, and is closed on a network.")
    .scope(Scope::Listener),
    row(
        "password_file",
        ACCESS,
        Path { set: |d, path| d.config.access.password_file = Some(path) },
        Unset("none: no password is accepted"),
        "The users and their passwords; entries are made with `candor-broker passwd FILE USER`.",
    ),
    row(
        "rules_file",
        ACCESS,
        Path { set: |d, path| d.config.access.rules_file = Some(path) },
        Unset("none: whoever is admitted may do everything but publish to topics that begin with $"),
        "The rules that say who may connect, publish and subscribe.",
    ),
    row(
        "durability",
        STORAGE,
        Kind::Choice(&[
            choice("none", "nothing outlives the connection", |d| d.policy.durability = Durability::None),
            choice("memory", "it outlives the connection, not the process", |d| d.policy.durability = Durability::Memory),
            choice("disk", "it outlives the process and the power", |d| d.policy.durability = Durability::Disk),
        ]),
        Text("disk"),
        "What an acknowledged message survives that comes through a listener, and the state of a session that begins there.",
    )
    .why("A publisher that is told \"accepted\" takes it to mean that the power may fail; what is less has to be asked for.")
    .scope(Scope::Listener),
    row(
        "data_dir",
        STORAGE,
        Path { set: |d, path| d.config.storage.data_dir = Some(path) },
        Unset("candor-data, where the durability of a listener is disk"),
        "The folder for everything that is kept on disk.",
    ),
    row(
        "salvage",
        STORAGE,
        Switch { set: |d, on| d.config.storage.salvage = on },
        Text("false"),
        "Starts although files in data_dir are damaged: keeps what can be read, puts the damaged files aside as NAME.damaged, and tells \
         those who were owed what is lost.",
    )
    .why("Whoever has a copy of the folder restores it instead; a start that loses something is asked for.")
    .scope(Scope::CommandLine),
    row(
        "packet_size_max",
        CONNECTIONS,
        Bytes { min: KIB, max: PACKET_SIZE_MAX as u64, set: |d, n| d.config.limits.packet_size_max = narrow(n) },
        Text("10MiB"),
        "The largest packet that is taken from a client, fixed header included.",
    )
    .why("An image or a firmware block fits, and the memory limit of a machine with 1 GiB still holds 25 of them at once."),
    row(
        "receive_maximum",
        CONNECTIONS,
        Number { min: 1, max: 65_535, set: |d, n| d.config.limits.receive_maximum = short(n) },
        Text("1000"),
        "Messages above QoS 0 that one client may have unacknowledged towards the server; extended clients are told.",
    )
    .why("At a round trip of 50 ms it lets one connection send 20,000 messages a second."),
    row(
        "send_window",
        CONNECTIONS,
        Number { min: 1, max: 65_535, set: |d, n| d.config.limits.send_window = short(n) },
        Text("100"),
        "Messages above QoS 0 that are unacknowledged towards a client that names no maximum of its own.",
    )
    .why("3.1.1 has no flow control, so small devices must bear it; at a round trip of 50 ms it still is 2,000 messages a second."),
    row(
        "connections_max",
        CONNECTIONS,
        Number { min: 1, max: 10_000_000, set: |d, n| d.config.limits.connections_max = narrow(n) },
        Computed { words: "10000, or what the limit of open files leaves room for", text: default_connections },
        "Connections that have a session at once; at the limit a CONNECT is told that the server is busy.",
    ),
    row(
        "connections_pending_max",
        CONNECTIONS,
        Number { min: 1, max: 10_000_000, set: |d, n| d.config.limits.connections_pending_max = narrow(n) },
        Computed { words: "a quarter of the default of connections_max", text: default_pending },
        "Connections that have no session at once, because their CONNECT was not answered yet or they are being closed; at the limit the \
         oldest is closed for a new one, once it has had a second; where an address has many of them, one of its own, and sooner.",
    )
    .why("A connection that says nothing costs a descriptor, and the store and everybody else need some."),
    row(
        "connect_timeout_s",
        CONNECTIONS,
        Seconds { min: 1, max: 300, forever: false, set: |d, s| d.config.limits.connect_timeout_s = s },
        Text("10s"),
        "The time until CONNECT must be complete, TLS and WebSocket handshakes included.",
    )
    .why("A mobile network needs a few seconds; a connection that says nothing costs a descriptor."),
    row(
        "keep_alive_max_s",
        CONNECTIONS,
        Seconds { min: 10, max: 65_535, forever: false, set: |d, s| d.config.limits.keep_alive_max_s = short(u64::from(s)) },
        Text("1h"),
        "The longest keep alive: an extended client that asks for more, or for none, gets this one; a plain client cannot be told and keeps its own.",
    )
    .why("A connection that died in silence is found within one and a half times this."),
    row(
        "subscriptions_max",
        CONNECTIONS,
        Number { min: 1, max: 10_000_000, set: |d, n| d.config.limits.subscriptions_max = narrow(n) },
        Text("1000"),
        "Subscriptions of one session.",
    )
    .why("Wildcards serve larger needs at a smaller cost."),
    row(
        "publish_messages_per_s_max",
        CONNECTIONS,
        Number { min: 0, max: 1_000_000_000, set: |d, n| d.config.limits.publish_messages_per_s_max = n },
        Text("0"),
        "Messages that one client may publish in a second; what is more is refused, with the time to wait; 0: no limit.",
    )
    .why("What is too fast depends on the devices; a plain client is disconnected for it at QoS 1 and 2."),
    row(
        "publish_bytes_per_s_max",
        CONNECTIONS,
        Bytes { min: 0, max: TIB, set: |d, n| d.config.limits.publish_bytes_per_s_max = n },
        Text("0B"),
        "Bytes of topics, payloads and message maps that one client may publish in a second; one message alone is always taken; 0: no limit.",
    )
    .why("As for the messages; a limit on messages alone lets large ones through."),
    row(
        "send_buffer",
        CONNECTIONS,
        Bytes { min: 4 * KIB, max: 64 * MIB, set: |d, n| d.config.send_buffer = Some(narrow(n)) },
        Unset("what the system gives"),
        "The send buffer of each socket; the system may round it, and Linux is given no more than an eighth of it that the peer has no room for: the rest waits here, and counts.",
    ),
    row(
        "queue_length_max",
        SESSIONS,
        Number { min: 1, max: 100_000_000, set: |d, n| d.config.limits.queue_length_max = narrow(n) },
        Text("1000"),
        "Messages that wait for one session.",
    )
    .why("It is the usual default of brokers, so that nothing changes for who moves here.")
    .scope(Scope::Namespace),
    row(
        "queue_bytes_max",
        SESSIONS,
        Bytes { min: KIB, max: TIB, set: |d, n| d.config.limits.queue_bytes_max = n },
        Text("16MiB"),
        "Bytes that wait for one session; at least packet_size_max.",
    )
    .why("The largest packet fits, and a thousand messages of 16 KiB do.")
    .scope(Scope::Namespace),
    row(
        "overflow",
        SESSIONS,
        Kind::Choice(&[
            choice("drop-oldest", "the oldest message goes, and the subscriber is told of the gap", |d| {
                d.config.limits.overflow = Overflow::DropOldest;
            }),
            choice("drop-newest", "the new message goes, and the subscriber is told of the gap", |d| {
                d.config.limits.overflow = Overflow::DropNewest;
            }),
            choice("refuse-publisher", "the publisher is refused", |d| d.config.limits.overflow = Overflow::RefusePublisher),
            choice("hold-back", "the acknowledgement waits for room", |d| d.config.limits.overflow = Overflow::HoldBack),
        ]),
        Text("drop-oldest"),
        "What happens to a message for a session whose queue is full, or as full of its namespace as it may be.",
    )
    .why("A subscriber that was away wants the present first, and one slow subscriber must not stop a publisher.")
    .scope(Scope::Namespace),
    row(
        "redelivery_limit",
        SESSIONS,
        Number { min: 0, max: 1_000_000, set: |d, n| d.config.limits.redelivery_limit = narrow(n) },
        Text("1000"),
        "How often a message that its subscribers give back is handed out again, before it counts as rejected; 0: without end.",
    )
    .why("With the pauses between them it is more than three hours, and a message that nobody can take blocks its queue no longer."),
    row(
        "session_expiry_max_s",
        SESSIONS,
        Seconds { min: 0, max: CENTURY_S, forever: true, set: |d, s| d.config.limits.session_expiry_max_s = s },
        Text("30d"),
        "The longest time that a session outlives its connection.",
    )
    .why("A device that was away for longer has most likely been taken out of service."),
    row(
        "message_expiry_max_s",
        SESSIONS,
        Seconds { min: 1, max: CENTURY_S, forever: true, set: |d, s| d.config.limits.message_expiry_max_s = s },
        Text("7d"),
        "The longest time that a message waits for an absent session.",
    )
    .why("It covers a long weekend and a repair; older messages are seldom still wanted.")
    .scope(Scope::Namespace),
    row(
        "retained_max",
        SESSIONS,
        Number { min: 0, max: 1_000_000_000, set: |d, n| d.config.limits.retained_max = narrow(n) },
        Text("100000"),
        "Retained messages; 0: none are served.",
    )
    .why("It is several topics for each of the default's ten thousand connections."),
    row(
        "retained_bytes_max",
        SESSIONS,
        Bytes { min: 0, max: TIB, set: |d, n| d.config.limits.retained_bytes_max = n },
        Text("64MiB"),
        "Bytes of all retained messages together.",
    )
    .why("It is about 600 bytes for each of the default's hundred thousand messages."),
    row(
        "memory_limit",
        SESSIONS,
        Bytes { min: machine::MEMORY_LIMIT_MIN, max: 1024 * TIB, set: |d, n| d.config.limits.memory_limit = n },
        Computed { words: "a quarter of the memory of this machine or control group", text: || size::format(machine::quarter_of_memory()) },
        "Memory that is taken for clients, together: connections with output, incomplete packets and what waits for its CONNECT to be answered, sessions with their filters, queues and messages in flight, retained messages; the program takes some 10 MiB besides, and the kernel its sockets, some 4 KiB each and what waits in their buffers; at the limit new work is refused, and the refusal names it.",
    ),
    row(
        "dead_letters",
        DEAD_LETTERS,
        namespaces(|d| d.config.dead_letters.namespaces.clear(), |d, text, _| d.config.dead_letters.namespaces.extend(namespace(text))),
        Unset("none: what is rejected is dropped"),
        "A namespace whose rejected messages are kept, as retained messages below `$dead-letters/`; may be given several times, and the first that matches a topic counts.",
    ),
    row(
        "dead_letters_max",
        DEAD_LETTERS,
        Number { min: 1, max: 10_000_000, set: |d, n| d.config.dead_letters.len_max = narrow(n) },
        Text("1000"),
        "Dead letters of one namespace; what is rejected when there are so many is dropped, and told.",
    )
    .why("More than anybody looks through by hand; what was kept is never dropped for what comes later."),
    row(
        "dead_letters_bytes_max",
        DEAD_LETTERS,
        Bytes { min: KIB, max: TIB, set: |d, n| d.config.dead_letters.bytes_max = n },
        Text("16MiB"),
        "Bytes of the dead letters of one namespace.",
    ),
    row(
        "dead_letters_text",
        DEAD_LETTERS,
        Switch { set: |d, on| d.config.dead_letters.text = on },
        Text("false"),
        "Whether a dead letter keeps the free text that its subscriber rejected it with.",
    )
    .why("What a subscriber writes may hold what the readers of its topic are not to see."),
    row(
        "reports",
        REPORTS,
        namespaces(|d| d.config.reports.clear(), |d, text, _| d.config.reports.extend(namespace(text))),
        Unset("none: a publisher that asks is told that there are none"),
        "A namespace whose publishers may be told how many subscribers took a message, or why not; may be given several times.",
    ),
    row(
        "report_wait_s",
        REPORTS,
        Seconds { min: 1, max: 86_400, forever: false, set: |d, s| d.config.report_wait_s = s },
        Text("1m"),
        "How long a report waits for subscribers; who has not answered by then is told as pending.",
    ),
    row(
        "refused_publish_plain",
        PLAIN,
        Kind::Choice(&[
            choice("close", "the connection is closed", |d| d.policy.refused_publish_plain = RefusedPublish::Close),
            choice("acknowledge-and-drop", "it is acknowledged although it is dropped", |d| {
                d.policy.refused_publish_plain = RefusedPublish::AcknowledgeAndDrop;
            }),
        ]),
        Text("close"),
        "What follows on a refused PUBLISH above QoS 0; 3.1.1 has no third way.",
    )
    .why("An acknowledgement would say that the message was taken.")
    .scope(Scope::Listener),
    row(
        "session_expiry_plain_s",
        PLAIN,
        Seconds { min: 1, max: CENTURY_S, forever: true, set: |d, s| d.config.plain.session_expiry_s = s },
        Computed { words: "7d, or session_expiry_max_s if that is less", text: || "7d".into() },
        "How long a session with CleanSession 0 outlives its connection; at most session_expiry_max_s.",
    )
    .why("3.1.1 lets a client neither ask nor know; a week covers a long weekend and a repair."),
    row(
        "ephemeral_session_plain",
        PLAIN,
        Kind::Choice(&[
            choice("refuse", "CONNACK 3, server unavailable", |d| d.config.plain.ephemeral_session = EphemeralSession::Refuse),
            choice("accept", "CONNACK 0, and the session ends with the connection", |d| {
                d.config.plain.ephemeral_session = EphemeralSession::Accept;
            }),
        ]),
        Text("refuse"),
        "What a client with CleanSession 0 gets where the durability is none and no session is kept.",
    )
    .why("Accepting would promise a session that is lost with the connection."),
    row(
        "quarantine_refusals",
        QUARANTINE,
        Number { min: 0, max: 1000, set: |d, n| d.config.quarantine.refusals = narrow(n) },
        Text("3"),
        "How often a client must be refused the same thing within the window; then a plain client is kept out for a time, and of an extended one the same publish is not looked at; 0: never.",
    )
    .why("Once is a mistake and twice a retry; the third time a program does not read the answer."),
    row(
        "quarantine_window_s",
        QUARANTINE,
        Seconds { min: 1, max: 86_400, forever: false, set: |d, s| d.config.quarantine.window_s = s },
        Text("1m"),
        "The window in which refusals are counted.",
    ),
    row(
        "quarantine_first_s",
        QUARANTINE,
        Seconds { min: 1, max: 86_400, forever: false, set: |d, s| d.config.quarantine.first_s = s },
        Text("10s"),
        "How long a client is kept out the first time; each further time is twice as long.",
    ),
    row(
        "quarantine_max_s",
        QUARANTINE,
        Seconds { min: 1, max: 604_800, forever: false, set: |d, s| d.config.quarantine.max_s = s },
        Text("1h"),
        "The longest time that a client is kept out.",
    ),
    row(
        "threads",
        OPERATION,
        Number { min: 1, max: 1024, set: |d, n| d.config.threads = narrow(n) },
        Computed { words: "the number of cores", text: || machine::cores().to_string() },
        "Threads that serve connections.",
    ),
    row(
        "log",
        OPERATION,
        Kind::Text {
            form: "error, warn, info, debug, trace, off, or a filter such as info,candor_broker::session=debug",
            check: check_log,
            set: |d, text| d.config.log.filter = text,
        },
        Text("info"),
        "What is logged, on standard error.",
    ),
    row(
        "log_format",
        OPERATION,
        Kind::Choice(&[
            choice("text", "lines for people", |d| d.config.log.format = LogFormat::Text),
            choice("json", "one JSON object a line", |d| d.config.log.format = LogFormat::Json),
        ]),
        Text("text"),
        "How it is logged.",
    ),
    row(
        "sys_interval_s",
        OPERATION,
        Seconds { min: 0, max: 86_400, forever: false, set: |d, s| d.config.sys_interval_s = s },
        Text("10s"),
        "The time between the messages below `$SYS/`; 0: none.",
    ),
    row("config", COMMAND, Path { set: |d, path| d.config_file = Some(path) }, Unset("none"), "A TOML file with any of these options.")
        .scope(Scope::CommandLine)
        .short('c'),
    row(
        "check",
        COMMAND,
        Switch { set: |d, on| d.check = on },
        Text("false"),
        "Reads everything, password and rules files included, prints what would be served, and ends: with 0, or with 2 if anything is wrong.",
    )
    .scope(Scope::CommandLine),
    row(
        "against",
        COMMAND,
        Path { set: |d, path| d.against = Some(path) },
        Unset("none"),
        "With --check: says which clients of FILE, a listing by `candor clients --json`, would lose what under these users and rules.",
    )
    .scope(Scope::CommandLine),
    row(
        "help_config",
        COMMAND,
        Switch { set: |d, on| d.help_config = on },
        Text("false"),
        "Prints an annotated configuration file with every option at its default, and ends.",
    )
    .scope(Scope::CommandLine),
    row(
        "help_rules",
        COMMAND,
        Switch { set: |d, on| d.help_rules = on },
        Text("false"),
        "Prints an annotated rules file that shows every key, and ends.",
    )
    .scope(Scope::CommandLine),
];

fn default_connections() -> String {
    connections().to_string()
}

fn default_pending() -> String {
    (connections() / 4).max(1).to_string()
}

/// The default of connections_max: a quarter of it has to be possible beside it.
fn connections() -> u64 {
    (machine::connections_possible(machine::cores(), 1) * 4 / 5).clamp(1, 10_000)
}
