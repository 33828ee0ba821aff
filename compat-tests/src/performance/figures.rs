//! What was measured, as it is kept beside the page.

use super::catalogue::{Line, Scale};
use super::machine::Machine;
use super::profile::Profiles;
use super::target::Target;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything the page is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    pub scale: Scale,
    pub machine: Machine,
    /// By load, then by the key of the target.
    pub loads: BTreeMap<String, BTreeMap<String, Row>>,
    #[serde(default)]
    pub profiles: Profiles,
}

/// One load against one target.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    pub runs: Vec<Run>,
    /// What went wrong, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

/// One run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// The round in which it was measured: runs of one round of one group stand close together in time.
    pub round: usize,
    /// CPU microseconds of the broker a delivered message.
    pub cpu_us: Option<f64>,
    pub per_second: f64,
    pub delivered: u64,
    pub lost: u64,
    pub rss_bytes: Option<u64>,
    /// The most that it was since the broker began.
    #[serde(default)]
    pub rss_peak_bytes: Option<u64>,
    /// The kernel's buffers of TCP, of both sides, in its steps of up to a mebibyte.
    pub socket_growth_bytes: i64,
    /// Microseconds.
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, f64>,
}

/// The middle of some values, and their range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max, half) = (*values.first()?, *values.last()?, values.len() / 2);
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { median, min, max })
    }

    /// `MEDIAN (MIN–MAX)`, or the one value.
    pub fn text(&self) -> String {
        short(self.median) + &self.range()
    }

    /// ` (MIN–MAX)`, or nothing where that is one value.
    pub fn range(&self) -> String {
        let [min, max] = [self.min, self.max].map(short);
        if min == max { String::new() } else { format!(" ({min}–{max})") }
    }
}

/// Three digits that count, thousands apart.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if digits > 0 {
        return text;
    }
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) && digit.is_ascii_digit() && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl Figures {
    pub fn row(&self, load: &str, target: Target) -> Option<&Row> {
        self.loads.get(load)?.get(target.key())
    }

    /// What `of` gives with a load and target.
    pub(super) fn spread(&self, load: &str, target: Target, of: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.row(load, target)?.runs.iter().filter_map(of))
    }

    /// What `of` gives with one load and target in each round, divided by the mean of what it gives with others in the same, if there
    /// are any: the clock of a machine goes up and down between rounds, and falls out of it so.
    pub fn multiples(&self, own: (&str, Target), bases: &[(&str, Target)], of: impl Fn(&Run) -> Option<f64>) -> Vec<f64> {
        let at = |(load, target): (&str, Target), round| self.row(load, target)?.runs.iter().find(|run| run.round == round).and_then(&of);
        let rounds = self.row(own.0, own.1).into_iter().flat_map(|row| &row.runs).map(|run| run.round);
        let multiple = |round| {
            let base: Vec<f64> = bases.iter().map(|base| at(*base, round)).collect::<Option<_>>()?;
            let base = if base.is_empty() { 1.0 } else { base.iter().sum::<f64>() / base.len() as f64 };
            Some(at(own, round)? / base)
        };
        rounds.filter_map(multiple).filter(|multiple| multiple.is_finite()).collect()
    }

    /// The middle of these, and their range.
    pub fn multiple(&self, own: (&str, Target), bases: &[(&str, Target)], of: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.multiples(own, bases, of).into_iter())
    }

    /// CPU microseconds of the broker a delivered message.
    pub fn cpu(&self, load: &str, target: Target) -> Option<Spread> {
        self.spread(load, target, |run| run.cpu_us)
    }

    /// The points of a line that were measured: where it stands, and CPU microseconds a message.
    pub fn points(&self, line: &Line) -> Vec<(f64, f64)> {
        line.points.iter().filter_map(|(x, load)| Some((*x, self.cpu(load, line.target)?.median))).collect()
    }

    pub fn per_second(&self, load: &str, target: Target) -> Option<Spread> {
        self.spread(load, target, |run| Some(run.per_second))
    }

    pub fn p99(&self, load: &str, target: Target) -> Option<Spread> {
        self.spread(load, target, |run| run.p99_us)
    }

    pub fn fact(&self, load: &str, target: Target, name: &str) -> Option<Spread> {
        self.spread(load, target, |run| run.facts.get(name).copied())
    }

    /// The broker's memory when the load was over, in MiB: the most of all runs.
    pub fn rss_mib(&self, load: &str, target: Target) -> Option<f64> {
        self.spread(load, target, |run| run.rss_bytes.map(mib)).map(|spread| spread.max)
    }

    /// The most that the broker's memory ever came to, in MiB.
    pub fn peak_mib(&self, load: &str, target: Target) -> Option<f64> {
        self.spread(load, target, |run| run.rss_peak_bytes.map(mib)).map(|spread| spread.max)
    }

    /// Of its rate, what a load was delivered at in the middle run; `None` where it has none.
    pub fn kept_up(&self, load: &str, target: Target, per_second: f64) -> Option<f64> {
        Some(self.per_second(load, target)?.median / per_second)
    }

    /// The most that the kernel's buffers of TCP grew by, in MiB.
    pub fn sockets_mib(&self, load: &str, target: Target) -> Option<f64> {
        self.spread(load, target, |run| Some(run.socket_growth_bytes as f64 / f64::from(1 << 20))).map(|spread| spread.max)
    }

    pub fn lost(&self, load: &str, target: Target) -> Option<u64> {
        Some(self.row(load, target)?.runs.iter().map(|run| run.lost).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count_and_their_thousands_apart() {
        let texts = [0.1234, 1.0, 12.34, 999.6, 1234.0, 1_234_567.0, -1234.0, -123.0].map(short);
        assert_eq!(texts, ["0.12", "1.00", "12.3", "1,000", "1,234", "1,234,567", "-1,234", "-123"]);
    }

    #[test]
    fn a_multiple_is_of_what_was_measured_in_the_same_round() {
        let run = |round, cpu_us| Run { round, cpu_us, ..Run::default() };
        let row = |runs| BTreeMap::from([(Target::Candor.key().to_owned(), Row { runs, ..Row::default() })]);
        let loads = [
            ("own", row(vec![run(0, Some(3.0)), run(1, Some(60.0)), run(2, Some(8.0)), run(3, None), run(4, Some(1.0))])),
            ("one", row(vec![run(0, Some(1.0)), run(1, Some(10.0)), run(2, Some(2.0)), run(3, Some(1.0))])),
            // The second round of it failed.
            ("two", row(vec![run(0, Some(1.0)), run(2, Some(2.0)), run(3, Some(1.0))])),
        ];
        let loads = loads.into_iter().map(|(name, rows)| (name.to_owned(), rows)).collect();
        let figures = Figures { scale: Scale::Full, machine: Machine::default(), loads, profiles: BTreeMap::new() };
        let multiple = |bases: &[&str]| {
            let bases: Vec<(&str, Target)> = bases.iter().map(|load| (*load, Target::Candor)).collect();
            figures.multiple(("own", Target::Candor), &bases, |run| run.cpu_us).map(|spread| spread.text())
        };
        assert_eq!(multiple(&["one"]).as_deref(), Some("4.00 (3.00–6.00)"));
        assert_eq!(multiple(&["one", "two"]).as_deref(), Some("3.50 (3.00–4.00)"));
        assert_eq!(multiple(&["none"]), None);
    }

    #[test]
    fn a_spread_says_its_range_where_there_is_one() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()).map(|spread| spread.text()).as_deref(), Some("2.00 (1.00–3.00)"));
        assert_eq!(Spread::of([1.0].into_iter()).map(|spread| spread.text()).as_deref(), Some("1.00"));
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}
