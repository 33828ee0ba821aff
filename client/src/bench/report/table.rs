//! The report as text.

use super::stats::short;
use super::{Report, Row};
use std::fmt::Write;

const HEAD: [&str; 8] = ["scenario", "target", "server CPU s/M", "ratio", "load CPU s/M", "messages/s", "RSS MiB", "lost/dup/reordered"];

/// A line a row, in columns, and the faults behind.
pub(super) fn text(report: &Report) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(report.rows.iter().map(|row| cells(report, row)));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate();
        let padded = cells.map(|(at, (cell, &width))| if at < 2 { format!("{cell:<width$}") } else { format!("{cell:>width$}") });
        let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    for fault in report.faults() {
        let _ = writeln!(out, "! {fault}");
    }
    out
}

fn cells(report: &Report, row: &Row) -> [String; 8] {
    let dash = || "-".to_owned();
    let first = report.rows.iter().find(|other| other.scenario == row.scenario).and_then(Row::cpu);
    let ratio = row.cpu().zip(first).map(|(cpu, first)| format!("{} x", short(cpu.median / first.median)));
    let rss = row.outcomes.iter().filter_map(|outcome| outcome.cost.rss_bytes).max();
    let sum = |of: fn(&super::Outcome) -> u64| row.outcomes.iter().map(of).sum::<u64>();
    let counts = [sum(|outcome| outcome.count.lost), sum(|outcome| outcome.count.duplicated), sum(|outcome| outcome.count.reordered)];
    [
        row.scenario.clone(),
        row.target.clone(),
        row.cpu().map_or_else(dash, |cpu| cpu.text()),
        ratio.unwrap_or_else(dash),
        row.own_cpu().map_or_else(dash, |cpu| short(cpu.median)),
        row.rate().map_or_else(dash, |rate| format!("{:.0}", rate.median)),
        rss.map_or_else(dash, |rss| short(rss as f64 / f64::from(1 << 20))),
        if row.outcomes.is_empty() { dash() } else { counts.map(|count| count.to_string()).join("/") },
    ]
}
