//! `candor probe`: what a server agrees to and declares, door by door.

use super::exit::Failure;
use super::why::moment;
use super::{experiment, flags, json};
use crate::agreement::Agreement;
use crate::client::Client;
use crate::error::{Error, NotAvailable};
use crate::link::Clock;
use crate::negotiate::{Door, Negotiator};
use crate::options::{Options, Policy};
use crate::reconnect::Reconnect;
use crate::store::Journal;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::terms::PACKET_SIZE_MAX;
use candor_protocol::packet::{Profile, property};
use candor_protocol::shown::Shown;
use clap::{Arg, ArgMatches, Command};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The doors in the order they are tried; the first that opens is the one that is reported in full.
const DOORS: [Door; 4] = [Door::Extended, Door::Offer, Door::Plain(Dialect::V311), Door::Plain(Dialect::V31)];

pub(super) fn command() -> Command {
    flags::add_to_question(Command::new("probe").about("Say what a server agrees to and declares")).args([
        Arg::new("server").value_name("URL").conflicts_with_all(["url", "host", "port"]).help("The server, as with --url"),
        flags::json_flag(),
    ])
}

/// What is behind one door.
struct Tried {
    door: Door,
    result: Result<Agreement, Error>,
    took: Duration,
}

pub(super) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let server = flags::string(matches, "server");
    let options = flags::options_for(matches, server.as_deref())?;
    let registry = experiment::with_known(options.registry.clone());
    let options = Arc::new(options.experiments(registry));
    options.check().map_err(|misuse| Failure::Usage(misuse.to_string()))?;
    let tried = knock(&options).await;
    let Some(best) = tried.iter().find_map(|tried| tried.result.as_ref().ok()) else { return Err(closed(tried)) };
    let pong = ping(&options, best).await;
    if matches.get_flag("json") {
        report_json(&options, &tried, best, pong.as_ref()).print();
        return Ok(());
    }
    let written = report(&options, &tried, best, &mut io::stdout()).and_then(|()| report_pong(pong.as_ref(), &mut io::stdout()));
    written.map_err(|error| Failure::Other(format!("standard output: {error}")))
}

/// Tries every door; where nothing listens, one failure is enough. So is one refusal: it is about who asks, not how, and a server may keep
/// out for a time who is refused again and again.
async fn knock(options: &Arc<Options>) -> Vec<Tried> {
    let negotiator = Negotiator::new(Arc::clone(options), Clock::start(), Journal::default(), false);
    let mut tried = Vec::new();
    for door in DOORS {
        if door != Door::Extended && options.needs_extension() {
            break;
        }
        let since = Instant::now();
        let result = negotiator.knock(door).await;
        let unreachable = matches!(&result, Err(Error::Transport(error)) if error.step != crate::error::Step::Open);
        let refused = is_refusal(&result);
        tried.push(Tried { door, result, took: since.elapsed() });
        if unreachable || refused {
            break;
        }
    }
    tried
}

fn is_refusal(result: &Result<Agreement, Error>) -> bool {
    result.as_ref().is_err_and(|error| error.refusal().is_some())
}

/// The doors that were left alone, and why.
fn untried(tried: &[Tried]) -> Option<(&'static [Door], &'static str)> {
    let refused = tried.last().is_some_and(|last| is_refusal(&last.result));
    let left = DOORS.get(tried.len()..).filter(|left| refused && !left.is_empty())?;
    Some((left, "not tried: who was refused once would be refused again"))
}

/// What an extended server says with PINGRESP, on one more connection.
async fn ping(options: &Arc<Options>, best: &Agreement) -> Option<Pong> {
    if !best.dialect.is_extended() {
        return None;
    }
    // By the door that is open, so that no other refuses it.
    let options = Options::clone(options).policy(Policy::Require).reconnect(Reconnect::never());
    let (client, _messages) = Client::connect(options).await.ok()?;
    let since = Instant::now();
    let said = client.ping().await.ok();
    let took = since.elapsed();
    client.leave().await;
    said.map(|said| Pong { said, took })
}

/// A PINGRESP.
struct Pong {
    said: Dictionary,
    took: Duration,
}

impl Pong {
    /// The numbers in it, under the names of their keys.
    fn numbers(&self) -> Vec<(&'static str, u64)> {
        let keys = [property::BACKLOG, property::SERVER_TIME, property::LOAD];
        keys.into_iter().filter_map(|key| Some((key.name, self.said.value(key)?))).collect()
    }
}

fn report_pong(pong: Option<&Pong>, out: &mut impl Write) -> io::Result<()> {
    let Some(pong) = pong else { return Ok(()) };
    writeln!(out, "  ping")?;
    writeln!(out, "    {:<22} {:.1} ms", "round trip", pong.took.as_secs_f64() * 1000.0)?;
    for (name, number) in pong.numbers() {
        let what = match name {
            "backlog" => format!("{number} messages wait"),
            "load" => format!("{number} % of what it can bear"),
            _ => moment(number),
        };
        writeln!(out, "    {name:<22} {what}")?;
    }
    match pong.said.value(property::PROFILE) {
        Some(map) => writeln!(out, "    {:<22} keeps messages at `{}` now", "degraded", Profile::of_dictionary(&map).durability),
        None => Ok(()),
    }
}

/// No door opened: the refusal that says most.
fn closed(tried: Vec<Tried>) -> Failure {
    let errors: Vec<_> = tried.into_iter().filter_map(|tried| tried.result.err()).collect();
    let says_most = errors.iter().find(|error| error.refusal().is_some()).or_else(|| {
        let plain = |error: &&Error| !matches!(error, Error::NotAvailable(NotAvailable::Extension { .. }));
        errors.iter().find(plain).or(errors.first())
    });
    says_most.map_or_else(|| Failure::Other("no door was tried".to_owned()), |error| Failure::Connect(error.clone()))
}

fn report(options: &Options, tried: &[Tried], best: &Agreement, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", options.address)?;
    if let Some(tls) = tls_of(tried) {
        let verified = if tls.verified { "verified" } else { "NOT verified" };
        let alpn = tls.alpn.as_deref().unwrap_or("none selected");
        line(out, "TLS", &format!("{}, {}, certificate {verified}", tls.version, tls.cipher_suite))?;
        line(out, "ALPN", alpn)?;
        line(out, "resumption", if was_resumed(tried) { "yes" } else { "no" })?;
    }
    writeln!(out, "  doors")?;
    for Tried { door, result, took } in tried {
        let result = match result {
            Ok(agreement) => format!("MQTT {}", agreement.dialect),
            Err(Error::NotAvailable(NotAvailable::Extension { how })) => format!("closed: {how}"),
            Err(error) => error.to_string(),
        };
        writeln!(out, "    {:<22} {result} ({} ms)", door.to_string(), took.as_millis())?;
    }
    for (door, why) in untried(tried).into_iter().flat_map(|(doors, why)| doors.iter().map(move |door| (door, why))) {
        writeln!(out, "    {:<22} {why}", door.to_string())?;
    }
    line(out, "dialect", best.dialect.name())?;
    if let Some(node) = &best.node {
        line(out, "node", node)?;
    }
    match &best.profile {
        None => line(out, "profile", "this server declares nothing: plain MQTT has no way to")?,
        Some(profile) => report_profile(profile, out)?,
    }
    report_limits(options, best, out)
}

fn report_profile(profile: &Profile, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "  profile")?;
    for (name, value) in rows(profile) {
        writeln!(out, "    {name:<22} {value}")?;
    }
    Ok(())
}

/// The profile row by row, under the names of the table of clauses.
fn rows(profile: &Profile) -> Vec<(&'static str, String)> {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    vec![
        ("durability", profile.durability.to_string()),
        ("session-durability", profile.session_durability.to_string()),
        ("maximum-qos", profile.qos_max.to_string()),
        ("retain", yes(profile.retain)),
        ("will", yes(profile.will)),
        ("shared-subscriptions", yes(profile.shared_subscriptions)),
        ("session-expiry", seconds(profile.session_expiry_s_max)),
        ("message-expiry", seconds(profile.message_expiry_s_max)),
        ("queue-length", format!("{} messages", profile.queue_len_max)),
        ("queue-bytes", format!("{} bytes", profile.queue_bytes_max)),
        ("overflow", profile.overflow.to_string()),
        ("will-on-server-close", yes(profile.will_on_server_close)),
        ("loss-window", format!("{} ms", profile.loss_window_ms)),
    ]
}

fn seconds(seconds: u32) -> String {
    match seconds {
        0 => "ends with the connection".to_owned(),
        u32::MAX => "no limit".to_owned(),
        seconds => format!("{seconds} s"),
    }
}

fn report_limits(options: &Options, agreement: &Agreement, out: &mut impl Write) -> io::Result<()> {
    if !agreement.dialect.is_extended() {
        return Ok(());
    }
    let terms = &agreement.terms;
    writeln!(out, "  limits")?;
    let size = match terms.send_size_max {
        PACKET_SIZE_MAX => "as the framing allows".to_owned(),
        bytes => format!("{bytes} bytes"),
    };
    let keep_alive = if terms.keep_alive_s == 0 { "none".to_owned() } else { format!("{} s", terms.keep_alive_s) };
    for (name, value) in [("packet size", size), ("messages in flight", terms.send_window.to_string()), ("keep alive", keep_alive)] {
        writeln!(out, "    {name:<22} {value}")?;
    }
    writeln!(out, "  experiments")?;
    for name in options.registry.names() {
        let runs = if agreement.experiments.contains(&name) { "in force" } else { "not run by the server" };
        writeln!(out, "    {name:<22} {runs}")?;
    }
    Ok(())
}

fn line(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "  {name:<12} {}", Shown::new(value))
}

/// TLS as the extended door met it, or the first that opened.
fn tls_of(tried: &[Tried]) -> Option<&crate::transport::TlsFacts> {
    tried.iter().find_map(|tried| tried.result.as_ref().ok()?.tls.as_ref())
}

/// Whether a later handshake resumed an earlier one.
fn was_resumed(tried: &[Tried]) -> bool {
    tried.iter().filter_map(|tried| tried.result.as_ref().ok()?.tls.as_ref()).any(|tls| tls.resumed)
}

fn report_json(options: &Options, tried: &[Tried], best: &Agreement, pong: Option<&Pong>) -> json::Object {
    let mut object = json::Object::new();
    object.set("url", options.address.to_string()).extend(json::agreement(best));
    if best.tls.is_some() {
        object.set("tls_resumption", was_resumed(tried));
    }
    object.set("declares_profile", best.profile.is_some()).set("experiments_offered", options.registry.names());
    for (name, number) in pong.map(Pong::numbers).unwrap_or_default() {
        object.set(&name.replace('-', "_"), number);
    }
    object.set_some("degraded", pong.map(|pong| pong.said.value(property::PROFILE).is_some()));
    let doors: Vec<serde_json::Value> = tried
        .iter()
        .map(|Tried { door, result, took }| {
            let mut object = json::Object::new();
            object.set("door", door.to_string()).set("took_ms", took.as_millis() as u64);
            match result {
                Ok(agreement) => object.set("dialect", agreement.dialect.name()),
                Err(error) => object.set("error", error.to_string()).extend(error.refusal().map(json::refusal).unwrap_or_default()),
            };
            object.into()
        })
        .chain(untried(tried).into_iter().flat_map(|(doors, why)| {
            doors.iter().map(move |door| {
                let mut object = json::Object::new();
                object.set("door", door.to_string()).set("not_tried", why);
                object.into()
            })
        }))
        .collect();
    object.set("doors", doors);
    object
}
