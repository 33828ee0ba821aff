//! The independent book of a crash run: what was acknowledged to publishers, and what arrived. It knows nothing of the broker, and is
//! the same for real processes and for the simulation.
//!
//! Every payload is `PUBLISHER NUMBER`, and a publisher counts all its messages, so that each is one of a kind.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;

/// A message: its publisher and number.
pub type Name = (String, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody knows: it may arrive.
    Open,
    /// It has to arrive.
    Acknowledged,
    /// The publisher was told that it was not taken.
    Refused,
}

#[derive(Debug, Clone)]
struct Sent {
    topic: String,
    qos: u8,
    is_retained: bool,
    fate: Fate,
}

/// A subscriber that is owed messages.
#[derive(Debug, Default)]
struct Reader {
    filters: Vec<String>,
    arrived: HashMap<Name, u32>,
    /// By publisher and topic, the last that came for the first time.
    newest: HashMap<(String, String), u64>,
}

/// What a run came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub kills: u64,
    /// Kills while a publisher had had PUBREC for a message and not PUBCOMP.
    pub kills_in_exchange: u64,
    /// Faults of the disk that were told to clients and mended without a restart.
    pub faults_mended: u64,
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub arrived: u64,
    pub repeated_qos1: u64,
    pub wills: u64,
    pub retained_seen: u64,
    pub sessions_resumed: u64,
    pub lost: u64,
    pub doubled: u64,
    pub disordered: u64,
    pub retained_wrong: u64,
    pub sessions_missing: u64,
    /// What nobody sent, or what was refused and came all the same.
    pub strange: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        let Self { kills, kills_in_exchange, sent, acknowledged, refused, arrived, repeated_qos1, wills, .. } = other;
        self.kills += kills;
        self.kills_in_exchange += kills_in_exchange;
        self.sent += sent;
        self.acknowledged += acknowledged;
        self.refused += refused;
        self.arrived += arrived;
        self.repeated_qos1 += repeated_qos1;
        self.wills += wills;
        self.faults_mended += other.faults_mended;
        self.retained_seen += other.retained_seen;
        self.sessions_resumed += other.sessions_resumed;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.retained_wrong += other.retained_wrong;
        self.sessions_missing += other.sessions_missing;
        self.strange += other.strange;
    }

    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.disordered + self.retained_wrong + self.sessions_missing + self.strange == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kills {}, of them between PUBREC and PUBCOMP {}", self.kills, self.kills_in_exchange)?;
        if self.faults_mended > 0 {
            writeln!(f, "faults of the disk, told and mended without a restart {}", self.faults_mended)?;
        }
        writeln!(f, "sent {}, acknowledged {}, refused {}, wills owed {}", self.sent, self.acknowledged, self.refused, self.wills)?;
        writeln!(f, "arrived {}, of them QoS 1 again {}", self.arrived, self.repeated_qos1)?;
        writeln!(f, "sessions resumed {}, retained messages looked at {}", self.sessions_resumed, self.retained_seen)?;
        write!(
            f,
            "lost {}, doubled {}, disordered {}, retained wrong {}, sessions missing {}, strange {}",
            self.lost, self.doubled, self.disordered, self.retained_wrong, self.sessions_missing, self.strange
        )
    }
}

#[derive(Debug, Default)]
pub struct Ledger {
    sent: BTreeMap<Name, Sent>,
    /// Publishers that may be refused one message and not the next, and say it again when the refusal did not reach them.
    reordering: BTreeSet<String>,
    /// The disk fails: what was refused because it could not be synced may be there after the power was lost.
    pub is_disk_failing: bool,
    readers: BTreeMap<String, Reader>,
    pub counts: Counts,
    /// What is wrong, in words; the first ones.
    pub complaints: Vec<String>,
    /// Everything that happens is printed.
    pub is_loud: bool,
    /// What happened last, each with the life of the broker that it happened in; empty unless `keeps_history`.
    history: VecDeque<(u64, String)>,
    pub keeps_history: bool,
    /// Readers and messages that something is wrong with.
    wronged: BTreeSet<(String, Name)>,
}

const COMPLAINTS_MAX: usize = 20;
const HISTORY_MAX: usize = 200_000;

impl Ledger {
    /// Prints what happened, if anybody wants to read it, and keeps it for [`Ledger::story`].
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if !self.is_loud && !self.keeps_history {
            return;
        }
        let what = what();
        if self.is_loud {
            println!("{what}");
        }
        if self.keeps_history {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back((self.counts.kills, what));
        }
    }

    /// What is known of each message that something is wrong with: when it was sent and acknowledged, under which identifiers it, and
    /// others under the same, came to the reader that it went wrong with, and between which connections and kills.
    pub fn story(&self) -> String {
        let mut story = String::new();
        for (reader, (publisher, n)) in &self.wronged {
            let at = format!("{reader} at ");
            let is_message = |line: &str| {
                let mut words = line.split_whitespace();
                words.any(|word| word == publisher) && words.next().and_then(|word| word.parse().ok()) == Some(*n)
            };
            let of_reader: Vec<&str> = self.history.iter().filter_map(|(_, line)| line.strip_prefix(&at)).collect();
            let ids: BTreeSet<&str> = of_reader.iter().filter(|line| is_message(line)).filter_map(|line| line.split(' ').next()).collect();
            story.push_str(&format!("\n{reader}, \"{publisher} {n}\":"));
            let is_told = |line: &str| {
                let is_same_id = line.strip_prefix(&at).is_some_and(|rest| rest.split(' ').next().is_some_and(|id| ids.contains(id)));
                let is_state = line.starts_with("the broker")
                    || [" is open", " is closed", " loses"]
                        .iter()
                        .any(|what| line.strip_prefix(reader.as_str()).is_some_and(|rest| rest.starts_with(what)));
                is_state || is_same_id || (is_message(line) && (line.starts_with(publisher.as_str()) || line.starts_with(&at)))
            };
            for (life, line) in self.history.iter().filter(|(_, line)| is_told(line)) {
                story.push_str(&format!("\n  life {life}: {line}"));
            }
        }
        story
    }

    fn complain(&mut self, what: String) {
        self.note(|| format!("WRONG {what}"));
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what);
        }
    }

    /// A subscription that the broker has acknowledged, before anything was published.
    pub fn reads(&mut self, reader: &str, filters: &[&str]) {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        self.readers.insert(reader.to_owned(), Reader { filters, ..Reader::default() });
    }

    pub fn sent(&mut self, publisher: &str, n: u64, topic: &str, qos: u8, is_retained: bool) {
        self.counts.sent += 1;
        self.note(|| format!("{publisher} {n} sent to {topic}"));
        let sent = Sent { topic: topic.to_owned(), qos, is_retained, fate: Fate::Open };
        self.sent.insert((publisher.to_owned(), n), sent);
    }

    pub fn acknowledged(&mut self, publisher: &str, n: u64) {
        self.counts.acknowledged += 1;
        self.settle(publisher, n, Fate::Acknowledged);
    }

    pub fn refused(&mut self, publisher: &str, n: u64) {
        self.counts.refused += 1;
        self.settle(publisher, n, Fate::Refused);
    }

    /// A client with this will was connected when the broker died.
    pub fn will_owed(&mut self, publisher: &str, n: u64) {
        self.counts.wills += 1;
        self.settle(publisher, n, Fate::Acknowledged);
    }

    fn settle(&mut self, publisher: &str, n: u64, fate: Fate) {
        self.note(|| format!("{publisher} {n} {fate:?}"));
        if let Some(sent) = self.sent.get_mut(&(publisher.to_owned(), n)) {
            sent.fate = fate;
        }
    }

    /// A publisher whose messages may be refused one by one, so that their order says nothing.
    pub fn may_reorder(&mut self, publisher: &str) {
        self.reordering.insert(publisher.to_owned());
    }

    /// A message came to a reader.
    pub fn arrived(&mut self, reader: &str, topic: &str, payload: &str) {
        self.counts.arrived += 1;
        self.note(|| format!("{reader} got {topic} {payload}"));
        let Some((name, sent)) = self.known(topic, payload) else {
            self.counts.strange += 1;
            return self.complain(format!("{reader}: {topic} {payload:?} came, and nobody sent it"));
        };
        let shown = format!("{reader}: {topic} \"{} {}\"", name.0, name.1);
        let wronged = (reader.to_owned(), name.clone());
        let Some(book) = self.readers.get_mut(reader) else { return };
        let times = book.arrived.entry(name.clone()).or_default();
        *times += 1;
        if *times > 1 {
            if sent.qos < 2 {
                self.counts.repeated_qos1 += 1;
                return;
            }
            self.counts.doubled += 1;
            self.wronged.insert(wronged);
            return self.complain(format!("{shown} came again at QoS 2"));
        }
        let is_reordering = self.reordering.contains(&name.0);
        let newest = book.newest.entry((name.0, topic.to_owned())).or_default();
        let (before, n) = (*newest, name.1);
        *newest = before.max(n);
        if n < before && !is_reordering {
            self.counts.disordered += 1;
            self.wronged.insert(wronged);
            self.complain(format!("{shown} came behind {before}"));
        }
    }

    fn known(&self, topic: &str, payload: &str) -> Option<(Name, Sent)> {
        let (publisher, n) = payload.split_once(' ')?;
        let name = (publisher.to_owned(), n.parse().ok()?);
        let sent = self.sent.get(&name).filter(|sent| sent.topic == topic)?;
        Some((name, sent.clone()))
    }

    /// What a session's CONNACK said, for one that the broker has told of itself before.
    pub fn session(&mut self, client: &str, is_present: bool) {
        self.counts.sessions_resumed += 1;
        if !is_present {
            self.counts.sessions_missing += 1;
            self.complain(format!("{client}: its session is gone"));
        }
    }

    /// The retained messages as a new subscriber got them, by topic. A topic has one publisher, so that the last acknowledged is known:
    /// what is retained is that one, or one that was sent later and of which nobody knows.
    pub fn retained(&mut self, seen: &BTreeMap<String, String>) {
        let topics: BTreeSet<&String> = self.sent.values().filter(|sent| sent.is_retained).map(|sent| &sent.topic).collect();
        let mut wrong = Vec::new();
        for topic in topics {
            let of_topic = self.sent.iter().filter(|(_, sent)| sent.is_retained && sent.topic == *topic);
            let least = of_topic.clone().filter(|(_, sent)| sent.fate == Fate::Acknowledged).map(|(name, _)| name.1).max();
            let shown = seen.get(topic).and_then(|payload| self.known(topic, payload));
            self.counts.retained_seen += 1;
            let is_right = match (&shown, least) {
                (None, least) => least.is_none() && !seen.contains_key(topic),
                (Some((_, Sent { fate: Fate::Refused, .. })), _) if !self.is_disk_failing => false,
                (Some((name, sent)), least) => Some(name.1) >= least || self.reordering.contains(&name.0) || sent.fate == Fate::Refused,
            };
            if !is_right {
                wrong.push(format!("{topic}: retained is {:?}, the last acknowledged is {least:?}", seen.get(topic)));
            }
        }
        for what in wrong {
            self.counts.retained_wrong += 1;
            self.complain(what);
        }
    }

    /// Topics that have to be retained now.
    pub fn must_be_retained(&self) -> BTreeSet<String> {
        let retained = self.sent.values().filter(|sent| sent.is_retained && sent.fate == Fate::Acknowledged);
        retained.map(|sent| sent.topic.clone()).collect()
    }

    /// How many messages a reader is still owed, at least.
    pub fn backlog(&self, reader: &str) -> u64 {
        let arrived = self.readers.get(reader).map_or(0, |book| book.arrived.len() as u64);
        self.counts.acknowledged.saturating_sub(arrived)
    }

    /// What was acknowledged and has not arrived.
    pub fn missing(&self) -> Vec<String> {
        self.missing_messages().into_iter().map(|(_, what)| what).collect()
    }

    fn missing_messages(&self) -> Vec<((String, Name), String)> {
        let mut missing = Vec::new();
        for (reader, book) in &self.readers {
            let owed = self.sent.iter().filter(|(_, sent)| sent.fate == Fate::Acknowledged && book.wants(&sent.topic));
            for (name, sent) in owed.filter(|(name, _)| !book.arrived.contains_key(*name)) {
                let what =
                    format!("{reader}: {} \"{} {}\" (QoS {}) was acknowledged and did not come", sent.topic, name.0, name.1, sent.qos);
                missing.push(((reader.clone(), name.clone()), what));
            }
        }
        missing
    }

    /// Closes the book: what is missing now is lost.
    pub fn close(&mut self) {
        for (wronged, what) in self.missing_messages() {
            self.counts.lost += 1;
            self.wronged.insert(wronged);
            self.complain(what);
        }
    }
}

impl Reader {
    fn wants(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| match filter.strip_suffix('#') {
            Some(prefix) => topic.starts_with(prefix),
            None => topic == filter,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.reads("r", &["owed/#"]);
        for n in 1..=3 {
            ledger.sent("p", n, "owed/2", 2, n == 3);
        }
        ledger
    }

    #[test]
    fn what_is_right_is_clean() {
        let mut ledger = book();
        ["p 1", "p 3"].iter().for_each(|payload| ledger.arrived("r", "owed/2", payload));
        [1, 3].iter().for_each(|n| ledger.acknowledged("p", *n));
        ledger.retained(&[("owed/2".to_owned(), "p 3".to_owned())].into());
        ledger.session("r", true);
        ledger.close();
        assert!(ledger.counts.is_clean(), "{:?}", ledger.complaints);
    }

    #[test]
    fn each_kind_of_wrong_is_seen() {
        let seen = |act: &dyn Fn(&mut Ledger), count: &dyn Fn(&Counts) -> u64| {
            let mut ledger = book();
            act(&mut ledger);
            ledger.close();
            assert_eq!((count(&ledger.counts), ledger.complaints.len()), (1, 1), "{:?}", ledger.complaints);
        };
        seen(&|ledger| ledger.acknowledged("p", 2), &|counts| counts.lost);
        seen(&|ledger| (0..2).for_each(|_| ledger.arrived("r", "owed/2", "p 1")), &|counts| counts.doubled);
        seen(&|ledger| ["p 2", "p 1"].iter().for_each(|payload| ledger.arrived("r", "owed/2", payload)), &|counts| counts.disordered);
        seen(&|ledger| ledger.arrived("r", "owed/2", "p 9"), &|counts| counts.strange);
        seen(&|ledger| ledger.session("r", false), &|counts| counts.sessions_missing);
        let act = |ledger: &mut Ledger| {
            ledger.acknowledged("p", 3);
            ledger.arrived("r", "owed/2", "p 3");
            ledger.retained(&BTreeMap::new());
        };
        seen(&act, &|counts| counts.retained_wrong);
    }
}
