//! The flags that every command that connects has, and what they come to.

use super::exit::Failure;
use super::{experiment, values};
use crate::address::{Address, Scheme, default_port};
use crate::error::Misuse;
use crate::memory::InFile;
use crate::options::{Options, Policy, TlsOptions, WillOptions};
use crate::properties::Properties;
use candor_protocol::extension::Registry;
use candor_protocol::packet::{Qos, Requirement};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SERVER: &str = "Server";
const SESSION: &str = "Session";
const TLS: &str = "TLS";
const WILL: &str = "Will";

/// Adds the flags to a command. `-h` is the host, so that help has only its long name.
pub(super) fn add(command: Command) -> Command {
    let flags = server_flags().into_iter().chain(session_flags()).chain(tls_flags()).chain(will_flags());
    command
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print help"))
        .args(flags)
}

/// As [`add`], for commands that only ask: their help leaves out the will, which nobody sets to ask a question.
pub(super) fn add_to_question(command: Command) -> Command {
    add(command).mut_args(|arg| match arg.get_help_heading() {
        Some(WILL) => arg.hide(true),
        _ => arg,
    })
}

fn text(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

fn server_flags() -> Vec<Arg> {
    let flags = vec![
        text("url", "URL")
            .short('L')
            .conflicts_with_all(["host", "port"])
            .help("mqtt://, mqtts://, ws:// or wss:// [USER[:PASSWORD]@]HOST[:PORT][/PATH]"),
        text("host", "HOST").short('h').default_value("localhost").help("The server's name or address"),
        text("port", "PORT").short('p').value_parser(value_parser!(u16).range(1..)).help("Default 1883, with TLS flags 8883"),
        text("username", "NAME").short('u').help("User name"),
        text("pw", "PASSWORD").short('P').help("Password"),
        text("dialect", "DIALECT")
            .short('V')
            .default_value("auto")
            .value_parser(values::dialect)
            .help("auto: the extension where the server has it; extended: nothing less; 3.1.1; 3.1"),
        text("require", "CLAUSE=VALUE")
            .action(ArgAction::Append)
            .value_parser(values::pair)
            .help("The least profile that is good enough, as in durability=disk; may be repeated"),
        experiment::flag(),
        text("connect-timeout", "SECONDS")
            .value_parser(value_parser!(u64).range(1..))
            .default_value("10")
            .help("Until a connection is open"),
        text("memory", "FILE").value_parser(value_parser!(PathBuf)).help("Remember in FILE which servers spoke the extension"),
    ];
    flags.into_iter().map(|flag| flag.help_heading(SERVER)).collect()
}

fn session_flags() -> Vec<Arg> {
    let flags = vec![
        text("id", "ID").short('i').help("Client identifier; default candor- and 16 random characters"),
        flag("disable-clean-session").short('c').help("Carry on a stored session, and keep it"),
        text("session-expiry", "SECONDS")
            .value_parser(value_parser!(u32))
            .help("How long the server keeps the session; default 0, with -c for ever"),
        text("keepalive", "SECONDS").short('k').value_parser(value_parser!(u16)).default_value("60").help("0: none"),
        text("receive-maximum", "COUNT").value_parser(value_parser!(u16).range(1..)).help("Messages above QoS 0 at once"),
    ];
    flags.into_iter().map(|flag| flag.help_heading(SESSION)).collect()
}

pub(super) fn tls_flags() -> Vec<Arg> {
    let flags = vec![
        text("cafile", "FILE").value_parser(value_parser!(PathBuf)).help("PEM file with trusted roots, instead of the system's"),
        text("cert", "FILE").value_parser(value_parser!(PathBuf)).requires("key").help("PEM file with this client's certificate"),
        text("key", "FILE").value_parser(value_parser!(PathBuf)).requires("cert").help("PEM file with its key"),
        text("server-name", "NAME").help("The name in the server's certificate, where it is not the host"),
        flag("insecure").help("DANGER: take any certificate; anybody can be the server"),
    ];
    flags.into_iter().map(|flag| flag.help_heading(TLS)).collect()
}

fn will_flags() -> Vec<Arg> {
    let flags = vec![
        text("will-topic", "TOPIC").help("Where the server publishes when this client is gone without leave"),
        text("will-payload", "TEXT").requires("will-topic").help("What; default nothing"),
        text("will-qos", "QOS").requires("will-topic").value_parser(values::qos).default_value("0").help("0, 1 or 2"),
        flag("will-retain").requires("will-topic").help("Keep it as the topic's last message"),
        text("will-prop", "KEY=VALUE")
            .requires("will-topic")
            .action(ArgAction::Append)
            .value_parser(values::pair)
            .help("A property of the will; may be repeated"),
    ];
    flags.into_iter().map(|flag| flag.help_heading(WILL)).collect()
}

/// What stands before the names of properties that are the application's own, so that no slip of the keyboard becomes one.
const OWN: &str = "text:";

/// `--prop KEY=VALUE`, for commands that publish.
pub(super) fn prop_flag() -> Arg {
    let names: Vec<_> = crate::properties::settable_names().collect();
    text("prop", "KEY=VALUE").action(ArgAction::Append).value_parser(values::pair).help(format!(
        "A property of the message, may be repeated: {}, keys of --experiment, and {OWN}NAME for a name of your own",
        names.join(", ")
    ))
}

pub(super) fn json_flag() -> Arg {
    flag("json").help("One JSON object for each result, on its line")
}

pub(super) fn events_flag() -> Arg {
    flag("events").help("Say everything that happens on standard error, not only what matters")
}

pub(super) fn string(matches: &ArgMatches, name: &str) -> Option<String> {
    matches.get_one::<String>(name).cloned()
}

/// What the flags come to.
pub(super) fn options(matches: &ArgMatches) -> Result<Options, Failure> {
    options_for(matches, None)
}

/// As [`options`], for a server that is named beside the flags.
pub(super) fn options_for(matches: &ArgMatches, server: Option<&str>) -> Result<Options, Failure> {
    let usage = |misuse: Misuse| Failure::Usage(misuse.to_string());
    let registry = experiment::registry(matches)?;
    let mut options = match server.map(str::to_owned).or_else(|| string(matches, "url")) {
        Some(url) => Options::new(&url).map_err(usage)?,
        None => Options::at(address(matches)),
    };
    options = options.tls(tls(matches)).experiments(registry.clone()).require(requirement(matches)?);
    options = options.policy(matches.get_one::<Policy>("dialect").copied().unwrap_or_default());
    options = options.keep_alive_s(number(matches, "keepalive").unwrap_or(60));
    options = options.connect_timeout(Duration::from_secs(number(matches, "connect-timeout").unwrap_or(10)));
    if let Some(id) = string(matches, "id") {
        options = options.client_id(id);
    }
    if let Some(name) = string(matches, "username") {
        options = options.user_name(name);
    }
    if let Some(password) = string(matches, "pw") {
        options = options.password(password);
    }
    if let Some(messages) = number(matches, "receive-maximum") {
        options = options.receive_maximum(messages);
    }
    if let Some(path) = matches.get_one::<PathBuf>("memory") {
        options = options.memory(Arc::new(InFile::new(path)));
    }
    let keep = matches.get_flag("disable-clean-session");
    let expiry_s = number(matches, "session-expiry").unwrap_or(if keep { u32::MAX } else { 0 });
    options = options.clean_start(!keep).session_expiry_s(expiry_s);
    if let Some(will) = will(matches, &registry)? {
        options = options.will(will);
    }
    Ok(options)
}

pub(super) fn number<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.get_one::<T>(name).cloned()
}

fn address(matches: &ArgMatches) -> Address {
    let is_tls = ["cafile", "cert", "key"].iter().any(|name| matches.contains_id(name)) || matches.get_flag("insecure");
    let scheme = if is_tls { Scheme::Mqtts } else { Scheme::Mqtt };
    let host = string(matches, "host").unwrap_or_else(|| "localhost".to_owned());
    Address::new(scheme, host, number(matches, "port").unwrap_or(default_port(scheme)))
}

pub(super) fn tls(matches: &ArgMatches) -> TlsOptions {
    let path = |name| matches.get_one::<PathBuf>(name).cloned();
    TlsOptions {
        ca_file: path("cafile"),
        client_identity: path("cert").zip(path("key")),
        server_name: string(matches, "server-name"),
        dangerously_accept_any_certificate: matches.get_flag("insecure"),
    }
}

fn requirement(matches: &ArgMatches) -> Result<Requirement, Failure> {
    let mut requirement = Requirement::default();
    for (name, value) in matches.get_many::<(String, String)>("require").into_iter().flatten() {
        requirement.set(name, value).map_err(|wrong| Failure::Usage(format!("--require: {wrong}")))?;
    }
    Ok(requirement)
}

/// The properties that a repeated flag sets.
pub(super) fn properties(matches: &ArgMatches, flag: &str, registry: &Registry) -> Result<Properties, Failure> {
    let mut properties = Properties::default();
    for (name, value) in matches.get_many::<(String, String)>(flag).into_iter().flatten() {
        match name.strip_prefix(OWN) {
            Some(own) if !own.is_empty() => properties = properties.text(own, value),
            _ => properties.set(name, value, registry).map_err(|wrong| unknown(flag, name, value, registry, &wrong))?,
        }
    }
    Ok(properties)
}

/// A property that cannot be set, with what was probably meant.
fn unknown(flag: &str, name: &str, value: &str, registry: &Registry, wrong: &Misuse) -> Failure {
    if !matches!(wrong, Misuse::UnknownProperty(_)) {
        return Failure::Usage(format!("--{flag}: {wrong}"));
    }
    let experiments = registry.iter().flat_map(|extension| extension.keys()).map(|row| row.name);
    let near = crate::properties::settable_names().chain(experiments).map(|known| (strsim::damerau_levenshtein(name, known), known)).min();
    let near = near.filter(|(distance, _)| *distance <= name.chars().count().div_ceil(3));
    let meant = near.map(|(_, known)| format!("; did you mean `{known}`?")).unwrap_or_default();
    Failure::Usage(format!("--{flag}: {wrong}{meant}\n  a name of your own is written `--{flag} {OWN}{name}={value}`"))
}

fn will(matches: &ArgMatches, registry: &Registry) -> Result<Option<WillOptions>, Failure> {
    let Some(topic) = string(matches, "will-topic") else { return Ok(None) };
    let payload = string(matches, "will-payload").unwrap_or_default();
    let will = WillOptions::new(&topic, payload).map_err(|wrong| Failure::Usage(format!("--will-topic: {wrong}")))?;
    let qos = matches.get_one::<Qos>("will-qos").copied().unwrap_or_default();
    let properties = properties(matches, "will-prop", registry)?;
    Ok(Some(will.qos(qos).retain(matches.get_flag("will-retain")).properties(properties)))
}
