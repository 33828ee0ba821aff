//! What the router costs: `cargo bench -p candor-broker --bench router`, or with a name for one part
//! (`match`, `fanout`, `shared`, `retained`). Half the filters are exact, a quarter has a `+`, a quarter ends with `#`.
//!
//! Time is the best of several rounds over topics in no order, so at a million filters most of it is waiting for memory.
//! Memory is what the resident set of the process grows by, which is why each size is measured in a fresh process.

use candor_broker::router::{Picks, Retained, SharedGroups, Subscriber, Subscription, SubscriptionTree, Targets, Topical};
use candor_protocol::packet::topic::InvalidTopic;
use candor_protocol::packet::{Message, TopicFilter};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::process::Command;
use std::time::Instant;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const CASES: &[(&str, usize)] = &[
    ("match", 10),
    ("match", 10_000),
    ("match", 1_000_000),
    ("exact", 1_000_000),
    ("fanout", 10_000),
    ("shared", 10_000),
    ("groups", 100_000),
    ("hostile", 1_000),
    ("retained", 10_000),
    ("retained", 1_000_000),
];

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [case, size] => run(case, size.parse()?),
        wanted => {
            for (case, size) in CASES.iter().filter(|(case, _)| wanted.is_empty() || wanted.iter().any(|name| name == case)) {
                let status = Command::new(std::env::current_exe()?).args([*case, &size.to_string()]).status()?;
                if !status.success() {
                    return Err(format!("{case} {size} ended with {status}").into());
                }
            }
            Ok(())
        }
    }
}

fn run(case: &str, size: usize) -> Outcome {
    match case {
        "match" => matching(size, filter_text),
        "exact" => matching(size, topic_text),
        "fanout" => fanout(size),
        "shared" => shared(size),
        "groups" => groups(size),
        "hostile" => ["/a/a", "/a/+"].iter().try_for_each(|middle| hostile(size, middle)),
        "retained" => retained(size),
        other => Err(format!("there is no case {other}; there are {CASES:?}").into()),
    }
}

fn topic_text(i: usize) -> String {
    format!("site/{}/device/{i}/temperature", i % 97)
}

/// Filters that match `topic_text(i)`.
fn filter_text(i: usize) -> String {
    match i % 4 {
        0 | 1 => topic_text(i),
        2 => format!("site/+/device/{i}/temperature"),
        _ => format!("site/{}/device/{i}/#", i % 97),
    }
}

fn somebody(i: usize) -> Subscriber {
    Subscriber { shard: (i % 4) as u16, slot: i as u32 }
}

/// 0 to `len` in no order, each once.
fn shuffled(len: usize) -> impl Iterator<Item = usize> {
    let stride = [1_000_003, 7_919, 7].into_iter().find(|&stride| stride < len && !len.is_multiple_of(stride)).unwrap_or(1);
    (0..len).map(move |i| i * stride % len)
}

/// Nanoseconds for each of `count`.
fn time(count: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / count as f64
}

fn best_of(rounds: usize, count: usize, mut work: impl FnMut()) -> f64 {
    (0..rounds).map(|_| time(count, &mut work)).fold(f64::INFINITY, f64::min)
}

/// Times each of many calls, at about 30 ns a lap of its own.
struct Watch {
    last: Option<Instant>,
    laps: Vec<u32>,
}

impl Watch {
    /// Its own memory is in use from the start, so that it does not count as what is measured.
    fn with_room(laps: usize) -> Self {
        let mut all = vec![1; laps];
        black_box(&mut all).clear();
        Self { last: None, laps: all }
    }

    fn start(&mut self) {
        self.last = Some(Instant::now());
    }

    fn lap(&mut self) {
        let now = Instant::now();
        let ns = self.last.replace(now).map_or(0, |last| (now - last).as_nanos());
        self.laps.push(u32::try_from(ns).unwrap_or(u32::MAX));
    }

    /// Nanoseconds.
    fn mean(&self) -> f64 {
        self.laps.iter().map(|&ns| f64::from(ns)).sum::<f64>() / self.laps.len() as f64
    }

    /// Microseconds that 1 in 1,000 exceeds. (The very slowest is the system's doing: another process had its turn.)
    fn slow_us(&mut self) -> f64 {
        self.laps.sort_unstable();
        self.laps.get(self.laps.len() * 999 / 1_000).map_or(0.0, |&ns| f64::from(ns) / 1e3)
    }
}

/// Bytes of memory in use; 0 where the system does not say.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok().and_then(|line| line.split(' ').nth(1)?.parse::<usize>().ok());
    pages.unwrap_or_default() * 4_096
}

fn matching(size: usize, text: impl Fn(usize) -> String) -> Outcome {
    let mut watch = Watch::with_room(size);
    let before = resident();
    let mut tree = SubscriptionTree::new();
    // A filter's text belongs to the session: it is made outside what is timed and counted.
    for chunk in shuffled(size).collect::<Vec<_>>().chunks(1_000) {
        let filters = chunk.iter().map(|&i| Ok((i, TopicFilter::new(text(i))?))).collect::<Result<Vec<_>, InvalidTopic>>()?;
        watch.start();
        for (i, filter) in &filters {
            tree.subscribe(filter, somebody(*i), Subscription::default());
            watch.lap();
        }
    }
    let grown = resident().saturating_sub(before);

    let topics: Vec<String> = shuffled(size).take(100_000).map(topic_text).collect();
    let mut targets = Targets::new();
    let (mut found, mut visited) = (0, 0);
    let rounds = (2_000_000 / topics.len()).clamp(5, 1_000);
    let ns = best_of(rounds, topics.len(), || {
        (found, visited) = (0, 0);
        for topic in &topics {
            tree.matching(topic.as_bytes(), &mut targets);
            found += black_box(targets.len());
            visited += targets.visited();
        }
    });
    let missing: Vec<String> = topics.iter().map(|topic| topic.replace("device", "gadget")).collect();
    let none = best_of(rounds, topics.len(), || missing.iter().for_each(|topic| tree.matching(black_box(topic.as_bytes()), &mut targets)));
    let counted = tree.heap_bytes();
    let filters = shuffled(size).map(|i| TopicFilter::new(text(i))).collect::<Result<Vec<_>, _>>()?;
    let leaving = time(size, || shuffled(size).zip(&filters).for_each(|(i, filter)| assert!(tree.unsubscribe(filter, somebody(i)))));

    println!(
        "{size:>9} filters: {ns:6.0} ns a match ({:.2} targets, {:.1} nodes), {none:4.0} ns without a match, {:5.0} ns a subscribe (p99.9 {:.1} us), \
         {leaving:5.0} ns an unsubscribe, {} bytes resident and {} counted a subscription, {} bytes when empty again",
        found as f64 / topics.len() as f64,
        visited as f64 / topics.len() as f64,
        watch.mean(),
        watch.slow_us(),
        grown / size,
        counted / size,
        tree.heap_bytes(),
    );
    Ok(())
}

fn fanout(size: usize) -> Outcome {
    let mut tree = SubscriptionTree::new();
    let news = TopicFilter::new("news/today")?;
    let joining = time(size, || shuffled(size).for_each(|i| _ = tree.subscribe(&news, somebody(i), Subscription::default())));
    let mut targets = Targets::new();
    let alone = best_of(200, size, || tree.matching(black_box(b"news/today"), &mut targets));
    // Some who watch everything as well: two lists to merge.
    let all = TopicFilter::new("#")?;
    (0..size / 10).for_each(|i| _ = tree.subscribe(&all, somebody(i * 7), Subscription::default()));
    let merged = best_of(200, size, || tree.matching(black_box(b"news/today"), &mut targets));
    println!(
        "{size:>9} subscribers of one filter: {alone:.1} ns a target, {merged:.1} ns with a second filter of {} to merge, {joining:.0} ns a subscribe",
        size / 10
    );
    Ok(())
}

fn shared(size: usize) -> Outcome {
    let mut groups = SharedGroups::new();
    let filter = TopicFilter::new("$share/workers/jobs/+")?;
    let joining = time(size, || shuffled(size).for_each(|i| _ = groups.subscribe(&filter, somebody(i), Subscription::default())));
    let mut picks = Picks::new();
    let all = best_of(20, 100_000, || (0..100_000).for_each(|_| groups.matching(black_box(b"jobs/1"), &mut picks)));
    shuffled(size).skip(1).for_each(|i| _ = groups.set_available(&filter, somebody(i), false));
    let one = best_of(5, 100_000, || (0..100_000).for_each(|_| groups.matching(black_box(b"jobs/1"), &mut picks)));
    println!("{size:>9} members of one group: {all:.0} ns a pick, {one:.0} ns with one available, {joining:.0} ns a subscribe");
    Ok(())
}

/// The longest topic there is, and filters that differ in their first levels and agree with it up to the last.
fn hostile(size: usize, middle: &str) -> Outcome {
    let mut tree = SubscriptionTree::new();
    let levels = 32_767;
    for i in 0..size {
        let first: Vec<_> = (0..10).map(|at| if i >> at & 1 == 1 { "+" } else { "a" }).collect();
        let text = first.join("/") + &middle.repeat(levels / 2 - 6) + "/x";
        tree.subscribe(&TopicFilter::new(text)?, somebody(i), Subscription::default());
    }
    let topic = "a/".repeat(levels - 1) + "a";
    let mut targets = Targets::new();
    let ns = best_of(5, 1, || tree.matching(black_box(topic.as_bytes()), &mut targets));
    println!("{size:>9} filters of {levels} levels ({middle}...) that nearly match: {:.0} us a match", ns / 1e3);
    Ok(())
}

/// As many groups as members, each on a filter of its own.
fn groups(size: usize) -> Outcome {
    let before = resident();
    let mut groups = SharedGroups::new();
    for i in shuffled(size) {
        groups.subscribe(&TopicFilter::new(format!("$share/workers/{}", filter_text(i)))?, somebody(i), Subscription::default());
    }
    let grown = resident().saturating_sub(before);
    println!("{size:>9} groups of one member: {} bytes resident and {} counted a group", grown / size, groups.heap_bytes() / size);
    Ok(())
}

struct Kept(Message);

impl Topical for Kept {
    fn topic(&self) -> &[u8] {
        self.0.topic()
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

fn retained(size: usize) -> Outcome {
    let mut watch = Watch::with_room(size);
    let before = resident();
    let mut retained = Retained::new();
    for chunk in shuffled(size).collect::<Vec<_>>().chunks(1_000) {
        let messages =
            chunk.iter().map(|&i| Ok(Kept(Message::publish(topic_text(i), [7; 64])?))).collect::<Result<Vec<_>, InvalidTopic>>()?;
        watch.start();
        for message in messages {
            retained.set(message);
            watch.lap();
        }
    }
    let grown = resident().saturating_sub(before);
    let topics: Vec<String> = shuffled(size).take(100_000).map(topic_text).collect();
    let getting =
        best_of(5, topics.len(), || topics.iter().for_each(|topic| _ = black_box(retained.get(topic.as_bytes()).map(|kept| kept.0.len()))));
    println!(
        "{size:>9} retained messages of 64 bytes: {setting_each:.0} ns to set (p99.9 {slow:.1} us), {getting:.0} ns to get, {} bytes resident and {} counted each",
        grown / size,
        retained.bytes() / size,
        setting_each = watch.mean(),
        slow = watch.slow_us()
    );
    for pattern in ["#", "site/17/#", "site/17/device/+/temperature", "site/+/device/4711/temperature", "+/17/+/+/+", "+/+/+/4711/#"] {
        walk(&retained, pattern);
    }
    Ok(())
}

/// Walks in slices of 100.
fn walk(retained: &Retained<Kept>, pattern: &str) {
    let (mut shown, mut slices, mut slowest) = (0u64, 0u64, 0.0f64);
    let mut after = None::<Vec<u8>>;
    let total = time(1, || {
        loop {
            let mut next = None;
            let ns = time(1, || {
                next = retained.matching(pattern.as_bytes(), after.as_deref(), 100, |message| {
                    shown += u64::from(!black_box(message.0.clone()).is_empty());
                    ControlFlow::Continue(())
                });
            });
            (slices, slowest) = (slices + 1, slowest.max(ns));
            match next {
                None => break,
                Some(next) => after = Some(next.to_owned()),
            }
        }
    });
    let each = if shown > 0 { format!("{:8.1} us for 1,000", total / shown as f64) } else { String::new() };
    println!(
        "          {pattern:<32} {shown:>9} messages {each}, {:.1} us in all, {slices} slices, slowest {:.0} us",
        total / 1e3,
        slowest / 1e3
    );
}
