//! What all runs came to: rows of medians, what must not have happened, and the forms in which it is told.

mod html;
mod stats;
mod table;

use super::outcome::{Cost, Latency, Outcome};
use super::plan::Plan;
use serde::Serialize;
use stats::Spread;
use std::collections::BTreeSet;

/// One of the figures of a latency.
type Quantile = fn(&Latency) -> f64;

/// All runs of one load against one target.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub scenario: String,
    pub target: String,
    pub qos: u8,
    /// Whether the protocol orders all messages of a stream here.
    pub is_ordered: bool,
    /// Whether its target was named first, so that the others are compared with it.
    pub is_base: bool,
    /// What matches all topics of the load.
    pub topics: String,
    pub outcomes: Vec<Outcome>,
    /// What went wrong with a run, most often so that it came to nothing.
    pub failures: Vec<String>,
    /// Why the target has no part in this load.
    pub not_measured: Option<String>,
}

/// All rows, scenario by scenario, the targets of each in the order in which they were named.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub rows: Vec<Row>,
}

impl Row {
    pub(super) fn new(plan: &Plan, target: &str, is_base: bool) -> Self {
        Self {
            scenario: plan.name.clone(),
            target: target.to_owned(),
            qos: plan.qos,
            is_ordered: plan.is_ordered(),
            is_base,
            topics: format!("{}/#", plan.prefix.as_deref().unwrap_or("bench")),
            outcomes: Vec::new(),
            failures: Vec::new(),
            not_measured: None,
        }
    }

    /// All that went wrong.
    fn faults(&self) -> Vec<String> {
        let mut faults = [self.failures.clone(), self.violations()].concat();
        let refused = self.refused();
        if refused > 0 {
            faults.push(format!("{refused} messages refused by the server"));
        }
        if let Some(outcome) = self.outcomes.iter().find(|outcome| outcome.is_unanswered()) {
            let (sent, topics) = (outcome.sent, &self.topics);
            faults.push(format!("nothing came back of {sent} messages: is publishing and subscribing to `{topics}` allowed?"));
        }
        faults
    }

    /// Messages that the server refused.
    fn refused(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.refused).sum()
    }

    /// What the protocol forbids and yet was seen; empty when nothing was. At QoS 0 a message may be lost (section 4.3.1), at QoS 1
    /// it may come twice; order holds at every QoS ([MQTT-4.6.0-6]). What was refused is not lost.
    pub fn violations(&self) -> Vec<String> {
        let sum = |of: fn(&Outcome) -> u64| self.outcomes.iter().map(of).sum::<u64>();
        let rules = [
            ("lost", self.qos > 0, sum(Outcome::lost)),
            ("duplicated", self.qos != 1, sum(|outcome| outcome.count.duplicated)),
            ("out of order", self.is_ordered, sum(|outcome| outcome.count.reordered)),
            ("delivered to the wrong subscriber", true, sum(|outcome| outcome.count.strangers)),
        ];
        let broken = rules.into_iter().filter(|(_, is_forbidden, count)| *is_forbidden && *count > 0);
        broken.map(|(what, _, count)| format!("{count} messages {what}")).collect()
    }

    fn cpu(&self) -> Option<Spread> {
        Spread::of(self.outcomes.iter().filter_map(Outcome::cpu_per_million))
    }

    fn own_cpu(&self) -> Option<Spread> {
        Spread::of(self.outcomes.iter().filter_map(Outcome::own_cpu_per_million))
    }

    /// The middle of each further figure, by name.
    fn facts(&self) -> Vec<(&'static str, Spread)> {
        let names: BTreeSet<&'static str> = self.outcomes.iter().flat_map(|outcome| outcome.facts.keys().copied()).collect();
        let spread = |name| Some((name, Spread::of(self.outcomes.iter().filter_map(|outcome| outcome.facts.get(name).copied()))?));
        names.into_iter().filter_map(spread).collect()
    }

    /// The middle of a latency, in microseconds.
    fn latency(&self, of: Quantile) -> Option<Spread> {
        Spread::of(self.outcomes.iter().filter_map(|outcome| outcome.latency.as_ref().map(of)))
    }

    fn rate(&self) -> Option<Spread> {
        Spread::of(self.outcomes.iter().map(Outcome::per_second))
    }
}

impl Report {
    /// All that went wrong: failures, what the protocol forbids, what was refused.
    pub fn faults(&self) -> Vec<String> {
        let of = |row: &Row| row.faults().into_iter().map(|text| format!("{} {}: {text}", row.scenario, row.target)).collect::<Vec<_>>();
        self.rows.iter().flat_map(of).collect()
    }

    /// Which targets have no part in which loads, and why.
    pub fn notes(&self) -> Vec<String> {
        let of = |row: &Row| Some(format!("{} {}: not measured: {}", row.scenario, row.target, row.not_measured.as_ref()?));
        self.rows.iter().filter_map(of).collect()
    }

    /// Whether no target has a part in any load.
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.not_measured.is_some())
    }

    /// For people.
    pub fn to_text(&self) -> String {
        table::text(self)
    }

    /// A page of its own, with plots.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// For programs: one object for each row.
    pub fn to_json_lines(&self) -> Vec<serde_json::Value> {
        self.rows.iter().map(|row| self.row_json(row)).collect()
    }

    /// How many times the CPU of the target that was named first, round by round: a machine whose clock goes up and down does so for
    /// all of a round. `None` where no round has a figure of both, and of that one more than 0.
    fn ratio(&self, row: &Row) -> Option<Spread> {
        let base = self.rows.iter().find(|other| other.scenario == row.scenario && other.is_base)?;
        let ratio = |own: &Outcome| {
            let base = base.outcomes.iter().find(|outcome| outcome.round == own.round)?.cpu_per_million()?;
            (base > 0.0).then_some(own.cpu_per_million()? / base)
        };
        Spread::of(row.outcomes.iter().filter_map(ratio))
    }

    fn row_json(&self, row: &Row) -> serde_json::Value {
        serde_json::json!({
            "scenario": row.scenario,
            "target": row.target,
            "qos": row.qos,
            "server_cpu_s_per_million": row.cpu(),
            "ratio_to_first": self.ratio(row),
            "own_cpu_s_per_million": row.own_cpu(),
            "messages_per_s": row.rate(),
            "facts": row.facts().into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "violations": row.violations(),
            "failures": row.failures,
            "refused": row.refused(),
            "faults": row.faults(),
            "not_measured": row.not_measured,
            "runs": row.outcomes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::Count;

    /// A row of one run, in which a million messages cost the server so many seconds.
    pub(super) fn row(target: &str, is_base: bool, server_cpu_s: Option<f64>) -> Row {
        let count = Count { delivered: 1_000_000, ..Count::default() };
        let cost = Cost { server_cpu_s, ..Cost::default() };
        let outcome = Outcome { count, sent: 1_000_000, seconds: 200_000.0, cost, ..Outcome::default() };
        Row { outcomes: vec![outcome], ..Row::new(&Plan::default(), target, is_base) }
    }

    #[test]
    fn a_ratio_is_of_what_was_measured_in_the_same_round() {
        let rows = |name, is_base, cpu: &[(usize, f64)]| {
            let outcome = |(round, cpu): &(usize, f64)| Outcome { round: *round, ..row(name, is_base, Some(*cpu)).outcomes[0].clone() };
            Row { outcomes: cpu.iter().map(outcome).collect(), ..row(name, is_base, None) }
        };
        // The machine was three times as slow in the second round, and the third of the first target failed.
        let first = rows("a", true, &[(0, 1.0), (1, 3.0), (3, 2.0)]);
        let second = rows("b", false, &[(0, 1.5), (1, 6.0), (2, 9.0), (3, 5.0)]);
        let report = Report { rows: vec![first, second] };
        assert_eq!(report.ratio(&report.rows[1]), Some(Spread { median: 2.0, min: 1.5, max: 2.5 }));
        assert!(report.to_text().contains("2.00 x (1.50-2.50)"), "{}", report.to_text());
    }

    #[test]
    fn nothing_is_compared_with_another_than_the_first() {
        let ratios = |cpu: [Option<f64>; 2]| {
            let report = Report { rows: vec![row("a", true, cpu[0]), row("b", false, cpu[1])] };
            let text = report.to_text() + &report.to_html();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
            [0, 1].map(|at| report.ratio(&report.rows[at]).map(|ratio| ratio.median))
        };
        assert_eq!(ratios([Some(2.0), Some(3.0)]), [Some(1.0), Some(1.5)]);
        assert_eq!(ratios([Some(2.0), Some(0.0)]), [Some(1.0), Some(0.0)]);
        assert_eq!(ratios([Some(2.0), None]), [Some(1.0), None]);
        assert_eq!(ratios([None, Some(3.0)]), [None, None]);
        assert_eq!(ratios([Some(0.0), Some(3.0)]), [None, None]);
    }

    #[test]
    fn a_table_of_loads_has_a_dash_where_the_first_has_no_figure() {
        let other = |row: Row| Row { scenario: "other".to_owned(), ..row };
        let mut rows = vec![row("a", true, Some(2.0)), row("b", false, Some(4.0)), row("a", true, None), row("b", false, Some(3.0))];
        let last = rows.split_off(2).into_iter().map(other);
        rows.extend(last);
        let text = Report { rows }.to_text();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(lines.contains(&vec!["pairs", "2.00", "1.00x", "4.00", "2.00x"]), "{text}");
        assert!(lines.contains(&vec!["other", "-", "3.00", "-"]), "{text}");
    }

    #[test]
    fn few_messages_a_second_have_digits_behind_the_point() {
        assert!(Report { rows: vec![row("a", true, None)] }.to_text().contains("  5.00  "));
        assert_eq!([table::rate_text(9.99), table::rate_text(10.4)], ["9.99", "10"]);
    }

    #[test]
    fn what_was_refused_is_missed_by_everybody_and_lost_by_nobody() {
        let count = Count { delivered: 250, lost: 50, ..Count::default() };
        let outcome = |refused| Outcome { count, sent: 100, refused, ..Outcome::default() };
        assert_eq!([outcome(0).lost(), outcome(10).lost(), outcome(20).lost()], [50, 20, 0]);
    }
}
