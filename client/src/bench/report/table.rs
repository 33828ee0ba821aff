//! The report as text.

use super::stats::short;
use super::{Quantile, Report, Row};
use std::fmt::Write;

const HEAD: [&str; 8] = ["scenario", "target", "server CPU s/M", "ratio", "load CPU s/M", "messages/s", "RSS MiB", "lost/dup/reordered"];

/// A line a row, in columns; latencies and further figures; ratios of all loads in one table; and the faults.
pub(super) fn text(report: &Report) -> String {
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    let rows = report.rows.iter().filter(|row| !row.outcomes.is_empty() || !row.failures.is_empty());
    lines.extend(rows.map(|row| cells(report, row).to_vec()));
    let mut out = columns(&lines);
    for row in &report.rows {
        further(row, &mut out);
    }
    for note in report.notes() {
        let _ = writeln!(out, "  {note}");
    }
    let mut scenarios: Vec<&str> = report.rows.iter().map(|row| row.scenario.as_str()).collect();
    scenarios.dedup();
    if scenarios.len() > 1 {
        let _ = write!(out, "\nserver CPU s/M, and how many times the first\n{}", columns(&matrix(report, &scenarios)));
    }
    for fault in report.faults() {
        let _ = writeln!(out, "! {fault}");
    }
    out
}

/// Pads cells to columns, text to the left and numbers to the right.
fn columns(lines: &[Vec<String>]) -> String {
    let count = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate();
        let padded = cells.map(|(at, (cell, &width))| if at < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

/// A line a load, a column a target.
fn matrix(report: &Report, scenarios: &[&str]) -> Vec<Vec<String>> {
    let mut targets: Vec<&str> = Vec::new();
    for row in &report.rows {
        if !targets.contains(&row.target.as_str()) {
            targets.push(&row.target);
        }
    }
    let mut lines = vec![std::iter::once("load").chain(targets.iter().copied()).map(str::to_owned).collect::<Vec<_>>()];
    for scenario in scenarios {
        let cell = |target: &&str| {
            let row = report.rows.iter().find(|row| row.scenario == *scenario && row.target == **target)?;
            let cpu = short(row.cpu()?.median);
            let ratio = report.ratio(row).map_or("-".to_owned(), |ratio| format!("{}x", short(ratio.median)));
            Some(format!("{cpu} {ratio}"))
        };
        let cells = targets.iter().map(|target| cell(target).unwrap_or_else(|| "-".to_owned()));
        lines.push(std::iter::once((*scenario).to_owned()).chain(cells).collect());
    }
    lines
}

/// Latencies and further figures of a row, on a line of their own.
fn further(row: &Row, out: &mut String) {
    let latencies: [(&str, Quantile); 5] =
        [("p50", |l| l.p50), ("p90", |l| l.p90), ("p99", |l| l.p99), ("p99.9", |l| l.p999), ("max", |l| l.max)];
    let latency = latencies.into_iter().filter_map(|(name, of)| Some(format!("{name} {} us", short(row.latency(of)?.median))));
    let facts = row.facts().into_iter().map(|(name, spread)| format!("{name} {}", spread.text()));
    let refused = Some(row.refused()).filter(|refused| *refused > 0).map(|refused| format!("refused {refused}"));
    let parts: Vec<String> = refused.into_iter().chain(latency).chain(facts).collect();
    if !parts.is_empty() {
        let _ = writeln!(out, "  {} {}: {}", row.scenario, row.target, parts.join(", "));
    }
}

/// Whole messages a second, unless there are so few that their parts count.
pub(super) fn rate_text(rate: f64) -> String {
    if rate < 10.0 { short(rate) } else { format!("{rate:.0}") }
}

fn cells(report: &Report, row: &Row) -> [String; 8] {
    let dash = || "-".to_owned();
    let ratio = report.ratio(row).map(|ratio| ratio.times());
    let rss = row.outcomes.iter().filter_map(|outcome| outcome.cost.rss_bytes).max();
    let sum = |of: fn(&super::Outcome) -> u64| row.outcomes.iter().map(of).sum::<u64>();
    let counts = [sum(super::Outcome::lost), sum(|outcome| outcome.count.duplicated), sum(|outcome| outcome.count.reordered)];
    [
        row.scenario.clone(),
        row.target.clone(),
        row.cpu().map_or_else(dash, |cpu| cpu.text()),
        ratio.unwrap_or_else(dash),
        row.own_cpu().map_or_else(dash, |cpu| short(cpu.median)),
        row.rate().map_or_else(dash, |rate| rate_text(rate.median)),
        rss.map_or_else(dash, |rss| short(rss as f64 / f64::from(1 << 20))),
        if row.outcomes.is_empty() { dash() } else { counts.map(|count| count.to_string()).join("/") },
    ]
}
