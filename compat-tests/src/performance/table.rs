//! The tables of the page.

use super::catalogue::{CROWD_PER_S, Growth, PAIRS_PER_S, READERS, Scale, growths};
use super::figures::{Figures, Spread, short};
use super::goal::GOALS;
use super::profile::{CALLS_MIN, LOADS, SAMPLED};
use super::target::Target::{self, Candor, CandorBounded, CandorDisk, CandorStore, Floor, Mosquitto, MosquittoSaving, Rumqttd};
use std::fmt::Write;

const NONE: &str = "–";

/// A table in Markdown.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(head.len()));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.truncate(out.trim_end().len());
    out
}

fn cell(spread: Option<Spread>) -> String {
    spread.map_or_else(|| NONE.to_owned(), |spread| spread.text())
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), short)
}

pub(super) fn machine(figures: &Figures) -> String {
    let machine = &figures.machine;
    let rows = [
        ("date", machine.date.clone()),
        ("revision", format!("`{}`", machine.revision)),
        ("processor", format!("{}, {} cores", machine.cpu, machine.cores)),
        ("memory", format!("{} GiB", short(machine.memory_gib))),
        ("kernel", machine.kernel.clone()),
        ("rustc", format!("{}, profile `{}`", machine.rustc, machine.profile)),
        ("disk", format!("{}; 4 KiB written and synced: {} µs", machine.file_system, short(machine.sync_us))),
        ("load before the run", short(machine.load_average)),
    ];
    let peers = machine.peers.iter().map(|(name, version)| (name.as_str(), version.clone().unwrap_or_else(|| "not installed".to_owned())));
    table(&["what", "value"], rows.into_iter().chain(peers).map(|(what, value)| vec![what.to_owned(), value]))
}

pub(super) fn targets() -> String {
    table(&["name", "started with"], Target::ALL.map(|target| vec![target.name().to_owned(), target.settings().to_owned()]))
}

pub(super) fn goals(figures: &Figures) -> String {
    let head = ["work", "candor", "against", "multiple", "goal", "", "mosquitto", "rumqttd"];
    table(&head, GOALS.iter().map(|goal| goal.cells(figures)))
}

/// Everything that the goals are judged by, with its range.
pub(super) fn ranges(figures: &Figures) -> String {
    let rows = GOALS.iter().filter(|goal| goal.is_of_all()).map(|goal| {
        let figures = [Floor, Candor, Mosquitto, Rumqttd].map(|target| cell(goal.figure(figures, target)));
        [vec![goal.work().to_owned()], figures.to_vec()].concat()
    });
    table(&["work", "floor", "candor", "mosquitto", "rumqttd"], rows)
}

/// The growth of this name: its plot, and its figures.
pub(super) fn growth(name: &str, figures: &Figures) -> Option<String> {
    let all = growths(figures.scale);
    let growth: &Growth = all.iter().find(|growth| growth.name == name)?;
    let mut head = vec![growth.axis];
    head.extend(growth.lines.iter().map(|line| line.label.as_str()));
    let rows = growth.lines.first()?.points.iter().enumerate().map(|(at, (x, _))| {
        let of = |line: &super::catalogue::Line| cell(line.points.get(at).and_then(|(_, load)| figures.cpu(load, line.target)));
        let count = short(*x).trim_end_matches(".00").trim_end_matches(".0").to_owned();
        [vec![count], growth.lines.iter().map(of).collect()].concat()
    });
    Some(format!("{}.\n\n![{}](performance/{name}.svg)\n\n{}", growth.title, growth.title, table(&head, rows)))
}

pub(super) fn memory(figures: &Figures) -> String {
    let all = [Candor, CandorDisk, Mosquitto, MosquittoSaving];
    let bytes = |what: &str, load: &str, fact: &str, targets: &[Target]| {
        let of = |target: &Target| if targets.contains(target) { cell(figures.fact(load, *target, fact)) } else { NONE.to_owned() };
        [vec![what.to_owned()], all.iter().map(of).collect()].concat()
    };
    let rows = [
        bytes("an idle connection", "idle", "rss_bytes_a_connection", &all),
        bytes("the kernel's, of an idle connection, both of its sides", "idle", "kernel_bytes_a_connection", &all),
        bytes("a subscription", "subs", "rss_bytes_a_subscription", &all),
        bytes("a retained message, 64 B", "retained", "rss_bytes_a_message", &all),
        bytes("a queued message, 256 B", "drain", "rss_bytes_a_message", &all),
        bytes("a queued message, 256 B, on disk", "drain", "disk_bytes_a_message", &[CandorDisk, MosquittoSaving]),
        bytes("an absent session with one subscription", "offline", "rss_bytes_a_session", &all),
        bytes("a message owed to one of many absent sessions, 256 B", "offline", "rss_bytes_a_message_owed", &all),
    ];
    table(&["bytes of", "candor, memory", "candor, disk", "mosquitto", "mosquitto, persistence"], rows)
}

pub(super) fn durable(figures: &Figures) -> String {
    let loads = [
        ("QoS 1, 1 publisher, window 100", "durable-q1-1"),
        ("QoS 1, 100 publishers, window 100 each", "durable-q1-100"),
        ("QoS 2, 1 publisher, window 100", "durable-q2-1"),
        ("QoS 2, 100 publishers, window 100 each", "durable-q2-100"),
        ("QoS 1, each message alone", "durable-alone"),
    ];
    let mut rows = Vec::new();
    for (what, load) in loads {
        for target in [CandorDisk, Candor, MosquittoSaving] {
            let fact = |name| cell(figures.fact(load, target, name));
            let name = if target == Candor { "candor, memory" } else { target.name() };
            rows.push(vec![
                what.to_owned(),
                name.to_owned(),
                fact("stored_per_s"),
                fact("store_cpu_us"),
                fact("drain_cpu_us"),
                fact("ack_p50_us"),
                fact("ack_p99_us"),
            ]);
        }
    }
    table(&["work, 256 B", "broker", "stored a second", "CPU µs, store", "CPU µs, drain", "ack p50 µs", "ack p99 µs"], rows)
}

/// What takes a million messages.
pub(super) fn large(figures: &Figures) -> String {
    let of = |load: &str, target, fact: &str| figures.fact(load, target, fact).map(|spread| spread.median);
    let row = |what: &str, cells: [Option<f64>; 3]| [vec![what.to_owned()], cells.map(number).to_vec()].concat();
    let three = |what, load, fact| row(what, [CandorDisk, Candor, MosquittoSaving].map(|target| of(load, target, fact)));
    let two = |what, load, fact: &str, unit: f64| {
        row(what, [of(load, CandorDisk, fact), None, of(load, MosquittoSaving, fact)].map(|value| value.map(|value| value / unit)))
    };
    let owed = |target| figures.rss_mib("offline", target);
    let payload = 4096.0;
    let beside_payload = |target| {
        let (message, share) = (of("shared", target, "disk_bytes_a_message")?, of("shared", target, "disk_bytes_a_message_owed")?);
        let sessions = message / share;
        Some((message - payload) / sessions)
    };
    let rows = vec![
        three("seconds to store the queue of one absent session", "drain", "store_s"),
        three("seconds to drain it", "drain", "drain_s"),
        two("bytes on disk of a queued message of 256 B", "drain", "disk_bytes_a_message", 1.0),
        two("seconds to start with the retained messages and absent sessions", "restart", "start_s", 1.0),
        two("memory after that start, MiB", "restart", "rss_bytes_after_start", f64::from(1 << 20)),
        two("share of the sessions that were kept", "restart", "sessions_kept_share", 1.0),
        row("memory with absent sessions owed 100 messages of 256 B each, MiB", [owed(CandorDisk), None, owed(MosquittoSaving)]),
        two("bytes on disk of a message of 4 KiB that all those sessions are owed", "shared", "disk_bytes_a_message", 1.0),
        row("of these, beside the payload once, for each of the sessions", [CandorDisk, Candor, MosquittoSaving].map(beside_payload)),
    ];
    table(&["what", "candor, disk", "candor, memory", "mosquitto, persistence"], rows)
}

/// Two loads of which the second has somebody beside it.
struct Case {
    what: &'static str,
    without: (&'static str, f64),
    with: (&'static str, f64),
    /// Ours that bears it.
    own: Target,
    has_peer: bool,
}

/// What some do to others: the latency of those who did nothing, with and without.
pub(super) fn bad(figures: &Figures) -> String {
    // Deliveries a second that are asked for.
    let (calm, alone) = (("calm", PAIRS_PER_S as f64), (CROWD_PER_S * READERS) as f64);
    let pairs = |what, load, own| Case { what, without: calm, with: (load, calm.1), own, has_peer: load != "hostile" };
    let crowd = |what, without| Case { what, without, with: ("half-crowd", alone), own: CandorBounded, has_peer: true };
    let cases = [
        pairs("10 subscribers that never read, beside 10 pairs", "slow", CandorBounded),
        pairs("a publisher at full speed into a full queue, beside 10 pairs", "full", CandorBounded),
        pairs("60 clients that publish what they may not, beside 10 pairs", "hostile", CandorBounded),
        crowd("half of 10,000 subscribers of one topic never read, beside all of them reading", ("whole-crowd", 2.0 * alone)),
        crowd("the same, beside the half that reads being alone", ("crowd", alone)),
        pairs("a whole retained store under `#`, beside 10 pairs", "flood", CandorStore),
    ];
    let mut rows = Vec::new();
    for Case { what, without, with, own, has_peer } in cases {
        for target in [own, Mosquitto].into_iter().filter(|target| *target == own || has_peer) {
            let times = figures.multiple((with.0, target), &[(without.0, target)], |run| run.p99_us);
            rows.push(vec![
                what.to_owned(),
                target.name().to_owned(),
                cell(figures.p99(without.0, target)),
                cell(figures.p99(with.0, target)),
                times.map_or_else(|| NONE.to_owned(), |times| format!("{} ×{}", short(times.median), times.range())),
                verdict(figures, target, times, [without, with]),
                number(figures.peak_mib(with.0, target)),
                sockets(figures.sockets_mib(with.0, target)),
                beside(figures, with.0, target),
                figures.lost(with.0, target).map_or_else(|| NONE.to_owned(), |lost| lost.to_string()),
            ]);
        }
    }
    let head = [
        "what",
        "broker",
        "p99 µs without",
        "p99 µs with",
        "times",
        "",
        "memory at most, MiB",
        "kernel's buffers, MiB",
        "what those beside them did",
        "lost by those who did nothing",
    ];
    table(&head, rows)
}

/// Whether a latency was doubled. That of a broker which does not keep up says how long it was asked, and nothing else.
fn verdict(figures: &Figures, target: Target, times: Option<Spread>, loads: [(&str, f64); 2]) -> String {
    const KEPT_UP: f64 = 0.97;
    let slowest = loads.iter().filter_map(|(load, rate)| figures.kept_up(load, target, *rate)).fold(1.0, f64::min);
    match times {
        None => "not measured".to_owned(),
        Some(_) if slowest < KEPT_UP && figures.scale == Scale::Full => {
            format!("cannot be said: it delivered {:.0} % of what was asked for", slowest * 100.0)
        }
        Some(times) if times.median <= 2.0 => "at most doubled".to_owned(),
        Some(_) => "**more than doubled**".to_owned(),
    }
}

/// What the kernel counts in steps of a mebibyte.
fn sockets(mib: Option<f64>) -> String {
    mib.map_or_else(|| NONE.to_owned(), |mib| if mib < 2.0 { "under 2".to_owned() } else { short(mib) })
}

/// What those came to who are beside a load.
fn beside(figures: &Figures, load: &str, target: Target) -> String {
    let fact = |name| figures.fact(load, target, name).map(|spread| short(spread.median));
    match (fact("published_beside"), fact("delivered_beside").zip(fact("due_beside")), fact("hostile_sent").zip(fact("hostile_told"))) {
        (Some(count), ..) => format!("{count} published"),
        (_, Some((got, due)), _) => format!("{got} of {due} delivered"),
        (_, _, Some((sent, told))) => format!("{sent} published, {told} refusals told"),
        _ => NONE.to_owned(),
    }
}

/// System calls a message.
pub(super) fn calls(figures: &Figures) -> String {
    let of = |load: &str| figures.profiles.get(load).map(|profile| &profile.calls).filter(|calls| !calls.is_empty());
    let mut names: Vec<&String> = LOADS.iter().filter_map(|load| of(load)).flat_map(|calls| calls.keys()).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return "Not measured: `strace` is missing, or may not look at the broker.".to_owned();
    }
    let rare = || format!("under {CALLS_MIN}");
    let cell =
        |load: &str, name: &String| of(load).map_or(NONE.to_owned(), |calls| calls.get(name).map_or_else(rare, |n| format!("{n:.3}")));
    let rows = names.iter().map(|name| [vec![format!("`{name}`")], LOADS.iter().map(|load| cell(load, name)).collect()].concat());
    table(&["calls a message", "QoS 0", "QoS 0, 1 KiB", "QoS 0, alone", "fan-out"], rows)
}

/// The functions that the broker's processor is in.
pub(super) fn functions(figures: &Figures) -> String {
    let of = |load: &str| figures.profiles.get(load).map(|profile| profile.functions.as_slice()).unwrap_or_default();
    let rows = SAMPLED.iter().map(|load| of(load).len()).max().unwrap_or_default();
    if rows == 0 {
        return "Not measured: `perf` is missing, may not look at the broker, or saw too little of it.".to_owned();
    }
    let cell = |load: &str, at: usize| of(load).get(at).map_or(NONE.to_owned(), |(name, share)| format!("{share:.1} % `{name}`"));
    let kernel = |load: &&str| figures.profiles.get(*load).and_then(|profile| profile.kernel_share);
    let shares = SAMPLED.iter().map(|load| kernel(load).map_or(NONE.to_owned(), |share| format!("**{share:.0} % the kernel's in all**")));
    let shares = std::iter::once(shares.collect());
    let rows = (0..rows).map(|at| SAMPLED.iter().map(|load| cell(load, at)).collect());
    table(&["QoS 0, window 100", "QoS 0, alone", "connect, CONNACK, DISCONNECT"], shares.chain(rows))
}

/// What went wrong, as a list.
pub(super) fn faults(figures: &Figures) -> String {
    let mut lines = Vec::new();
    for (load, rows) in &figures.loads {
        for (target, row) in rows {
            lines.extend(row.faults.iter().map(|fault| format!("- {load}, {target}: {fault}")));
        }
    }
    if lines.is_empty() { "Nothing.".to_owned() } else { lines.join("\n") }
}
