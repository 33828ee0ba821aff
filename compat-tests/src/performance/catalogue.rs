//! Every load of the page: what `candor bench` is told, against which brokers, how often.

use super::target::Target::{self, Candor, CandorBounded, CandorDisk, CandorStore, CandorTwo, Floor, Mosquitto, MosquittoSaving, Rumqttd};
use super::target::{HOSTILE_LOGIN, prefix};
use crate::outcome::Checked;
use serde::{Deserialize, Serialize};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// What the page is made of: about half an hour.
    Full,
    /// A thousandth of it, once: whether everything works. Its figures mean nothing.
    Quick,
}

impl Scale {
    fn of(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => (full / 1000).max(full.min(10)),
        }
    }

    /// How long a load lasts that no count bounds, in seconds.
    const fn time_s(self, full: f64) -> f64 {
        match self {
            Self::Full => full,
            Self::Quick => 0.2,
        }
    }
}

/// One load.
#[derive(Debug, Clone)]
pub struct Load {
    /// Its name in figures and template.
    pub id: String,
    /// Of `candor bench`.
    pub arguments: Vec<String>,
    pub targets: Vec<Target>,
    /// Whether broker and load generator are bound to a core each.
    pub pinned: bool,
}

/// Loads that are measured in turn, so that what else the machine does falls on all of them.
#[derive(Debug, Clone)]
pub struct Group {
    pub rounds: usize,
    pub loads: Vec<Load>,
}

/// The three that everything is shown beside, where they can do it.
const BESIDE: [Target; 3] = [Floor, Candor, Mosquitto];

/// The suite's loads that have a goal, and who takes part: rumqttd delivers next to nothing with many filters or retained messages. Those
/// of one group are held against the floor of its first.
const GOALS: &[&[(&str, &[Target])]] = &[
    &[("qos0", &[Floor, Candor, Mosquitto, Rumqttd]), ("subs", &[Candor, Mosquitto]), ("retained", &[Candor, Mosquitto])],
    &[("qos0-1k", &[Floor, Candor, Mosquitto, Rumqttd])],
    &[("qos0-w1", &[Floor, Candor, Mosquitto, Rumqttd])],
    &[("qos1", &[Floor, Candor, Mosquitto, Rumqttd]), ("qos2", &[Candor, Mosquitto, Rumqttd])],
    &[("qos1-w1", &[Floor, Candor, Mosquitto, Rumqttd])],
    &[("fanout", &[Floor, Candor, Mosquitto, Rumqttd])],
    &[("fanout-q1", &[Floor, Candor, Mosquitto, Rumqttd])],
    &[("fanin", &[Floor, Candor, Mosquitto, Rumqttd])],
    &[("storm", &[Floor, Candor, Mosquitto, Rumqttd])],
    &[("latency0", &[Floor, Candor, Mosquitto, Rumqttd])],
    &[("latency1", &[Floor, Candor, Mosquitto, Rumqttd])],
    // It takes rumqttd twenty seconds to open them.
    &[("idle", &[Floor, Candor, Mosquitto])],
];

/// Everything, in the order in which it is measured.
///
/// # Errors
/// No client identifiers can be found that lie in shards as wanted.
pub fn groups(scale: Scale) -> Checked<Vec<Group>> {
    let mut groups = Vec::new();
    let rounds = |full: usize| if scale == Scale::Full { full } else { 1 };
    // What is divided by each other stands close together in time.
    let goals = GOALS.iter().map(|names| names.iter().map(|(name, targets)| suite(name, targets, scale)).collect());
    groups.extend(goals.map(|loads| Group { rounds: rounds(7), loads }));
    // Short and often, as they differ by little.
    groups.extend(dialects(scale).map(|loads| Group { rounds: rounds(31), loads }));
    groups.push(Group { rounds: rounds(31), loads: shards(scale)? });
    groups.push(Group { rounds: rounds(2), loads: growths(scale).into_iter().flat_map(|growth| growth.loads).collect() });
    groups.push(Group { rounds: rounds(5), loads: durable(scale) });
    groups.push(Group { rounds: 1, loads: large(scale) });
    groups.push(Group { rounds: rounds(5), loads: bad(scale) });
    Ok(groups)
}

fn load(id: &str, line: &str, targets: &[Target]) -> Load {
    let mut arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    arguments.extend(["--name".to_owned(), id.to_owned()]);
    Load { id: id.to_owned(), arguments, targets: targets.to_vec(), pinned: true }
}

/// A load of the suite.
pub(super) fn suite(name: &str, targets: &[Target], scale: Scale) -> Load {
    let quick = if scale == Scale::Quick { "--quick" } else { "" };
    let line = format!("suite --only {name} --time {} {quick}", scale.time_s(1.2));
    let arguments = line.split_whitespace().map(str::to_owned).collect();
    Load { id: name.to_owned(), arguments, targets: targets.to_vec(), pinned: true }
}

/// The extended dialect beside the plain one, those together that are held against each other.
fn dialects(scale: Scale) -> [Vec<Load>; 3] {
    let time = scale.time_s(0.4);
    let rows = [
        vec![("plain-q0", "-q 0"), ("mixed-q0", "-q 0 --mixed"), ("extended-q0", "-q 0 -V extended")],
        vec![("plain-q1", "-q 1"), ("mixed-q1", "-q 1 --mixed"), ("extended-q1", "-q 1 -V extended")],
        vec![("plain-30", "-q 0 --payload 94"), ("extended-30", "-q 0 -V extended --dictionary 30")],
    ];
    let load = |(id, flags)| load(id, &format!("pairs -n 10 {flags} --time {time}"), &[Candor]);
    rows.map(|rows| rows.into_iter().map(load).collect())
}

/// Pairs of shards.
const PAIRS: usize = 10;

/// One shard and two. They are not bound to a core: two shards on one would measure the scheduler.
fn shards(scale: Scale) -> Checked<Vec<Load>> {
    let line = |prefix: &str| format!("pairs -n {PAIRS} -q 0 --time {} --prefix {prefix}", scale.time_s(0.4));
    let (within, across) = (prefix(PAIRS, true)?, prefix(PAIRS, false)?);
    let loads = [
        load("shards-1", &line(&within), &[Candor]),
        load("shards-2-within", &line(&within), &[CandorTwo]),
        load("shards-2-across", &line(&across), &[CandorTwo]),
    ];
    Ok(loads.into_iter().map(|load| Load { pinned: false, ..load }).collect())
}

/// How a cost grows with something.
#[derive(Debug, Clone)]
pub struct Growth {
    /// Of its plot.
    pub name: &'static str,
    pub title: &'static str,
    /// What it grows with.
    pub axis: &'static str,
    pub loads: Vec<Load>,
    pub lines: Vec<Line>,
}

/// One line of a plot: a broker, and its loads from left to right.
#[derive(Debug, Clone)]
pub struct Line {
    pub label: String,
    pub target: Target,
    pub points: Vec<(f64, String)>,
}

/// Every growth that is shown.
pub fn growths(scale: Scale) -> Vec<Growth> {
    let time = scale.time_s(0.8);
    let sizes = |full: &[usize]| -> Vec<usize> {
        let mut sizes: Vec<usize> = full.iter().map(|size| scale.of(*size)).collect();
        sizes.dedup();
        sizes
    };
    let connections = sizes(&[1, 5, 50, 500, 5000]);
    let filters = sizes(&[1, 100, 10_000, 100_000, 1_000_000]);
    let subscribers = sizes(&[1, 10, 100, 1000, 10_000]);
    // What is under way at once is bounded in bytes, so that large messages do not measure a full memory.
    let payloads: &[(usize, usize)] = match scale {
        Scale::Full => &[(16, 100), (256, 100), (4096, 100), (65_536, 16), (1_048_576, 2)],
        Scale::Quick => &[(16, 100), (1_048_576, 2)],
    };
    let entries: &[usize] = if scale == Scale::Full { &[0, 1, 4, 16, 64] } else { &[0, 64] };
    let plain = |name, title, axis, targets: &[Target], points: Vec<(usize, String)>| {
        let id = |x: usize| format!("{name}-{x}");
        let loads = points.iter().map(|(x, line)| load(&id(*x), &format!("{line} --time {time}"), targets)).collect();
        let points: Vec<(f64, String)> = points.iter().map(|(x, _)| (*x as f64, id(*x))).collect();
        let line = |target: &Target| Line { label: target.name().to_owned(), target: *target, points: points.clone() };
        Growth { name, title, axis, loads, lines: targets.iter().map(line).collect() }
    };
    vec![
        plain(
            "connections",
            "Connections, in pairs of a publisher and its subscriber, QoS 0, window 10",
            "connections",
            &BESIDE,
            connections.iter().map(|pairs| (2 * pairs, format!("pairs -n {pairs} -w 10"))).collect(),
        ),
        plain(
            "filters",
            "Filters: half exact, a quarter with +, a quarter with #, on 20 connections (the first point: one filter on one)",
            "filters",
            &[Candor, Mosquitto],
            filters
                .iter()
                .map(|filters| (*filters, format!("subs -n {} --filters {filters}", if *filters < 80 { 1 } else { 20 })))
                .collect(),
        ),
        plain(
            "subscribers",
            "Subscribers of one topic, QoS 0, window 10; a message delivered to each counts once for each",
            "subscribers",
            &BESIDE,
            subscribers.iter().map(|subscribers| (*subscribers, format!("fan-out -n {subscribers} -w 10"))).collect(),
        ),
        plain(
            "payload",
            "Payload, 10 pairs, QoS 0; window 100, for 64 KiB 16, for 1 MiB 2",
            "bytes of payload",
            &BESIDE,
            payloads.iter().map(|(bytes, window)| (*bytes, format!("pairs -n 10 --payload {bytes} -w {window}"))).collect(),
        ),
        entries_of_a_dictionary(entries, time),
    ]
}

/// Bytes of an entry: a name of three letters and a text of seven, each with its head.
const ENTRY_LEN: usize = 12;

/// Dictionaries beside plain messages with as many more bytes of payload.
fn entries_of_a_dictionary(entries: &[usize], time: f64) -> Growth {
    let (mut loads, mut extended, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    for &count in entries {
        let bytes = count * ENTRY_LEN;
        let dictionary = if count == 0 { String::new() } else { format!("--dictionary {bytes} --entries {count}") };
        let (with, without) = (format!("dictionary-{count}"), format!("dictionary-plain-{count}"));
        loads.push(load(&with, &format!("pairs -n 10 -V extended {dictionary} --time {time}"), &[Candor]));
        loads.push(load(&without, &format!("pairs -n 10 --payload {} --time {time}", 64 + bytes), &[Candor]));
        extended.push((count as f64, with));
        plain.push((count as f64, without));
    }
    Growth {
        name: "dictionary",
        title: "Entries of the dictionary of a message, 12 bytes each, 10 pairs, QoS 0",
        axis: "entries",
        loads,
        lines: vec![
            Line { label: "candor, extended".to_owned(), target: Candor, points: extended },
            Line { label: "candor, 3.1.1 with the same bytes as payload".to_owned(), target: Candor, points: plain },
        ],
    }
}

/// Messages that wait for an absent session, and come to it.
fn durable(scale: Scale) -> Vec<Load> {
    let targets = [CandorDisk, Candor, MosquittoSaving];
    let messages = scale.of(50_000);
    let row = |qos: u8, publishers: usize| {
        let line = format!("durable -q {qos} --payload 256 --messages {messages} --publishers {publishers}");
        load(&format!("durable-q{qos}-{publishers}"), &line, &targets)
    };
    let alone = format!("durable -q 1 --payload 256 --messages {} -w 1", scale.of(2000));
    vec![row(1, 1), row(1, 100), row(2, 1), row(2, 100), load("durable-alone", &alone, &targets)]
}

/// What takes a million messages.
fn large(scale: Scale) -> Vec<Load> {
    let million = scale.of(1_000_000);
    let (sessions, few) = (scale.of(10_000), scale.of(1000));
    vec![
        load("drain", &format!("durable -q 1 --payload 256 --messages {million}"), &[CandorDisk, Candor, MosquittoSaving]),
        load("restart", &format!("restart --messages {million} --sessions {sessions}"), &[CandorDisk, MosquittoSaving]),
        load("offline", &format!("offline --payload 256 --sessions {sessions} --messages 100"), &[CandorDisk, MosquittoSaving]),
        load("shared", &format!("offline --payload 4096 --shared --sessions {few} --messages 100"), &[CandorDisk, Candor, MosquittoSaving]),
    ]
}

/// Clients that publish what they may not.
const HOSTILE: usize = 60;
/// Messages a second of the pairs that others are not to be felt by.
pub(super) const PAIRS_PER_S: usize = 10_000;
/// Subscribers of a crowd that read, where the other half does not.
pub(super) const READERS: usize = 5000;
/// Messages a second that each of a crowd gets: half of what the broker can do when all ten thousand read.
pub(super) const CROWD_PER_S: usize = 10;

/// What some do to others.
fn bad(scale: Scale) -> Vec<Load> {
    let targets = [CandorBounded, Mosquitto];
    let pairs = format!("latency -n 10 -q 1 --rate {PAIRS_PER_S} --time {}", scale.time_s(3.0));
    let readers = scale.of(READERS);
    let rate = if scale == Scale::Full { 100_000 } else { 6_000 };
    let crowd = |readers: usize| format!("fan-out -n {readers} --payload 1024 --rate {CROWD_PER_S} -w 1000 --time {}", scale.time_s(6.0));
    vec![
        load("calm", &pairs, &[CandorBounded, CandorStore, Mosquitto]),
        load("slow", &format!("{pairs} --deaf 10 --receive-buffer 4096"), &targets),
        load("full", &format!("{pairs} --full-queue"), &targets),
        // Of the others, none tells anybody what it refuses.
        load(
            "hostile",
            &format!("{pairs} --hostile {HOSTILE} --hostile-rate {rate} --hostile-login {}:{}", HOSTILE_LOGIN.0, HOSTILE_LOGIN.1),
            &[CandorBounded],
        ),
        load("crowd", &crowd(readers), &targets),
        load("whole-crowd", &crowd(2 * readers), &targets),
        load("half-crowd", &format!("{} --deaf {readers} --receive-buffer 4096", crowd(readers)), &targets),
        // A retained store that is asked for as a whole while others go on.
        load("flood", &format!("{pairs} --retained-beside {}", scale.of(1_000_000)), &[CandorStore, Mosquitto]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_load_has_a_name_of_its_own_at_both_scales() {
        for scale in [Scale::Full, Scale::Quick] {
            let groups = groups(scale).unwrap();
            let ids: Vec<&String> = groups.iter().flat_map(|group| &group.loads).map(|load| &load.id).collect();
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        }
    }

    #[test]
    fn every_point_of_a_plot_is_measured() {
        for growth in growths(Scale::Full).iter().chain(&growths(Scale::Quick)) {
            for line in &growth.lines {
                let measured = |id: &String| growth.loads.iter().any(|load| load.id == *id && load.targets.contains(&line.target));
                assert!(line.points.len() > 1 && line.points.iter().all(|(_, id)| measured(id)), "{}", growth.name);
            }
        }
    }
}
