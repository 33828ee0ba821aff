//! The committed table: which counts are accepted, and what they were counted with.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A change by more than this part of the accepted count has to be accepted on purpose.
pub const TOLERANCE: f64 = 0.05;

/// What the first of two counts may be as a multiple of the second, whatever was accepted: what the extended dialect costs where it says
/// nothing more than the plain one.
const BOUNDS: [(&str, &str, f64); 3] = [
    ("hundred_messages.qos_0_extended", "hundred_messages.qos_0_plain", 1.05),
    ("hundred_messages.qos_1_extended", "hundred_messages.qos_1_plain", 1.05),
    ("hundred_messages.qos_2_extended", "hundred_messages.qos_2_plain", 1.05),
];

/// What decides about a count besides the code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    pub rustc: String,
    pub valgrind: String,
}

/// Instructions by `function.case`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub tools: Tools,
    pub counts: BTreeMap<String, u64>,
}

impl Table {
    /// Every bound that its counts do not keep, in a line each.
    pub fn broken_bounds(&self) -> Vec<String> {
        let broken = |(name, base, bound): &(&str, &str, f64)| {
            let (Some(own), Some(other)) = (self.counts.get(*name), self.counts.get(*base)) else {
                return Some(format!("{name} has to be held against {base}, and one of them was not counted"));
            };
            let multiple = *own as f64 / (*other).max(1) as f64;
            (multiple > *bound).then(|| format!("{name} is {multiple:.3} times {base}, and may be {bound}"))
        };
        BOUNDS.iter().filter_map(broken).collect()
    }
}

/// How one count stands against the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Within,
    More,
    Less,
    /// It is not in the table.
    New,
    /// It is in the table and was not counted.
    Gone,
}

/// One row of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub name: String,
    pub accepted: Option<u64>,
    pub counted: Option<u64>,
    pub change: Change,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Every count is within the tolerance.
    Accepted,
    /// Counted with other tools than the table: nothing can be said, and the table has to be renewed.
    OtherTools,
    /// So many rows differ.
    Differs(usize),
}

/// A run held against the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub rows: Vec<Row>,
    pub judgement: Judgement,
}

impl Comparison {
    pub fn of(accepted: &Table, counted: &Table) -> Self {
        let mut names: Vec<&String> = accepted.counts.keys().chain(counted.counts.keys()).collect();
        names.sort();
        names.dedup();
        let rows: Vec<Row> = names.into_iter().map(|name| row(name, accepted.counts.get(name), counted.counts.get(name))).collect();
        let differing = rows.iter().filter(|row| row.change != Change::Within).count();
        let judgement = match (accepted.tools == counted.tools, differing) {
            (false, _) => Judgement::OtherTools,
            (true, 0) => Judgement::Accepted,
            (true, count) => Judgement::Differs(count),
        };
        Self { rows, judgement }
    }
}

fn row(name: &str, accepted: Option<&u64>, counted: Option<&u64>) -> Row {
    let change = match (accepted, counted) {
        (Some(old), Some(new)) => {
            let ratio = *new as f64 / (*old).max(1) as f64;
            match () {
                () if ratio > 1.0 + TOLERANCE => Change::More,
                () if ratio < 1.0 - TOLERANCE => Change::Less,
                () => Change::Within,
            }
        }
        (None, _) => Change::New,
        (Some(_), None) => Change::Gone,
    };
    Row { name: name.to_owned(), accepted: accepted.copied(), counted: counted.copied(), change }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44} {:>10} {:>10} {:>8}", "instructions", "accepted", "counted", "change")?;
        for row in &self.rows {
            let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let percent = match (row.accepted, row.counted) {
                (Some(old), Some(new)) => format!("{:+.1} %", 100.0 * (new as f64 / old.max(1) as f64 - 1.0)),
                _ => String::new(),
            };
            let word = match row.change {
                Change::Within => "",
                Change::More => "  MORE",
                Change::Less => "  LESS",
                Change::New => "  NEW",
                Change::Gone => "  GONE",
            };
            writeln!(f, "{:<44} {:>10} {:>10} {percent:>8}{word}", row.name, number(row.accepted), number(row.counted))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rustc: &str, counts: &[(&str, u64)]) -> Table {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Table { tools: Tools { rustc: rustc.into(), valgrind: "3".into() }, counts }
    }

    #[test]
    fn a_change_over_the_tolerance_differs_in_either_direction() {
        let accepted = table("1", &[("a", 1000), ("b", 1000), ("c", 1000), ("d", 1000)]);
        let counted = table("1", &[("a", 1050), ("b", 1051), ("c", 949), ("e", 1)]);
        let comparison = Comparison::of(&accepted, &counted);
        let changes: Vec<_> = comparison.rows.iter().map(|row| row.change).collect();
        assert_eq!(changes, [Change::Within, Change::More, Change::Less, Change::Gone, Change::New]);
        assert_eq!(comparison.judgement, Judgement::Differs(4));
        assert_eq!(Comparison::of(&accepted, &accepted).judgement, Judgement::Accepted);
    }

    #[test]
    fn a_bound_is_kept_whatever_was_accepted() {
        let counts = |extended| BOUNDS.iter().flat_map(move |(name, base, _)| [(*name, extended), (*base, 1000)]).collect::<Vec<_>>();
        assert!(table("1", &counts(1050)).broken_bounds().is_empty());
        let broken = table("1", &counts(1051)).broken_bounds();
        assert_eq!(broken.len(), BOUNDS.len());
        assert_eq!(broken[0], "hundred_messages.qos_0_extended is 1.051 times hundred_messages.qos_0_plain, and may be 1.05");
        assert_eq!(table("1", &[]).broken_bounds().len(), BOUNDS.len(), "not counted");
    }

    #[test]
    fn counts_of_other_tools_are_not_judged() {
        assert_eq!(Comparison::of(&table("1", &[("a", 1)]), &table("2", &[("a", 9)])).judgement, Judgement::OtherTools);
    }
}
