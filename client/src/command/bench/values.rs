//! What the flags of `candor bench` come to.

use super::failure;
use crate::bench::{Beside, Fault, Kind, Pins, Plan, Source, Target};
use crate::command::exit::Failure;
use crate::command::flags;
use candor_protocol::dialect::Dialect;
use clap::ArgMatches;
use std::time::Duration;

pub(super) fn get<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str, default: T) -> T {
    matches.try_get_one::<T>(name).ok().flatten().cloned().unwrap_or(default)
}

pub(super) fn fault(text: &str) -> Result<Fault, String> {
    let wrong = || "allowed: drop=EVERY, double=EVERY, swap=EVERY with a number from 1 on".to_owned();
    let (what, every) = text.split_once('=').ok_or_else(wrong)?;
    let every = every.parse().ok().filter(|every| *every > 0).ok_or_else(wrong)?;
    match what {
        "drop" => Ok(Fault::Drop(every)),
        "double" => Ok(Fault::Double(every)),
        "swap" => Ok(Fault::Swap(every)),
        _ => Err(wrong()),
    }
}

pub(super) fn pins(text: &str) -> Result<Pins, String> {
    let cores = text.split_once(',').and_then(|(server, load)| Some((server.parse().ok()?, load.parse().ok()?)));
    let (server, load) = cores.ok_or_else(|| "the form is CORE,CORE, as in 0,1".to_owned())?;
    Ok(Pins { server: Some(server), load: Some(load) })
}

pub(super) fn login(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once(':').ok_or_else(|| "the form is NAME:PASSWORD".to_owned())?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 86_400.0);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "allowed: more than 0 to 86400 seconds".to_owned())
}

pub(super) fn plan(name: &str, matches: &ArgMatches) -> Plan {
    let count = |name, default: u32| get(matches, name, default) as usize;
    let connections = count("connections", 10);
    let kind = match name {
        "fan-out" => Kind::FanOut(connections),
        "fan-in" => Kind::FanIn(connections),
        "subs" => Kind::Subs { filters: count("filters", 200_000), connections },
        "retained" => Kind::Retained(count("messages", 100_000)),
        "durable" => Kind::Durable { messages: count("messages", 50_000), publishers: count("publishers", 1) },
        "offline" => {
            Kind::Offline { sessions: count("sessions", 1000), messages: count("messages", 100), shared: get(matches, "shared", false) }
        }
        "restart" => Kind::Restart { retained: count("messages", 100_000), sessions: count("sessions", 1000) },
        "storm" => Kind::Storm { connections, resume: get(matches, "resume", false) },
        "idle" => Kind::Idle(connections),
        _ => Kind::Pairs(connections),
    };
    let beside = match matches.try_get_one::<u32>("deaf").ok().flatten() {
        Some(&deaf) => Beside::Deaf { count: deaf as usize, receive_buffer: count("receive-buffer", 4096) },
        None if get(matches, "full-queue", false) => Beside::FullQueue,
        None => match (count("retained-beside", 0), count("hostile", 0)) {
            (0, 0) => Beside::Nothing,
            (0, hostile) => Beside::Hostile { count: hostile, rate: get(matches, "hostile-rate", 100_000) },
            (retained, _) => Beside::Retained(retained),
        },
    };
    let plan = Plan {
        name: get(matches, "name", name.to_owned()),
        kind,
        qos: get(matches, "qos", 0),
        payload_len: get(matches, "payload", 64),
        window: get(matches, "window", 100),
        rate: matches.try_get_one("rate").ok().flatten().copied(),
        count: get(matches, "count", 100_000_000),
        stall: get(matches, "stall", Duration::from_secs(5)),
        dialect: if get(matches, "dialect", String::new()) == "extended" { Dialect::Extended } else { Dialect::V311 },
        mixed: get(matches, "mixed", false),
        dictionary_len: get(matches, "dictionary", 0),
        dictionary_entries: get(matches, "entries", 1),
        beside,
        hostile_login: matches.try_get_one("hostile-login").ok().flatten().cloned(),
        prefix: matches.try_get_one::<String>("prefix").ok().flatten().cloned(),
        ..Plan::default()
    };
    Plan { time: get(matches, "time", Duration::from_secs(if plan.is_flow() { 3 } else { 120 })), ..plan }
}

/// The targets in the order in which they stand on the command line.
pub(super) fn targets(matches: &ArgMatches) -> Result<Vec<Target>, Failure> {
    let tls = flags::tls(matches);
    let started_tls = (get(matches, "scheme", String::new()) == "mqtts").then(|| tls.clone());
    let mut found = Vec::new();
    for name in ["target", "start"] {
        let places = matches.indices_of(name).into_iter().flatten();
        for (place, text) in places.zip(matches.get_many::<String>(name).into_iter().flatten()) {
            let parsed = if name == "target" { Target::parse(text, &tls) } else { Target::parse_command(text, started_tls.clone()) };
            found.push((place, parsed.map_err(failure)?));
        }
    }
    found.sort_by_key(|(place, _)| *place);
    let targets: Vec<Target> = found.into_iter().map(|(_, target)| target).collect();
    if let Some(given) = matches.get_one::<u32>("pid") {
        return match targets.as_slice() {
            [target @ Target { source: Source::Running { .. }, .. }] => Ok(vec![target.clone().with_process(*given).map_err(failure)?]),
            _ => Err(Failure::Usage("--pid goes with one --target that is a URL; of several each takes `,pid=N`".to_owned())),
        };
    }
    Ok(targets)
}
