//! The matrix as text, Markdown or JSON: counts for each pair, then what is not as promised and why.

use crate::run::{Record, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Text,
    Markdown,
    Json,
}

/// The counts of one pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub known_gaps: usize,
    pub closed_gaps: usize,
    pub unsupported: usize,
    pub missing: usize,
}

impl Counts {
    fn add(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::KnownGap { .. } => &mut self.known_gaps,
            Verdict::ClosedGap { .. } => &mut self.closed_gaps,
            Verdict::Unsupported(_) => &mut self.unsupported,
            Verdict::Missing(_) => &mut self.missing,
        } += 1;
    }

    fn total(&self) -> usize {
        self.passed + self.failed + self.known_gaps + self.closed_gaps + self.unsupported + self.missing
    }

    /// `46/48 2u`: passed of all; then what else there is.
    fn cell(&self) -> String {
        if self.missing == self.total() {
            return "not installed".into();
        }
        let mut text = format!("{}/{}", self.passed, self.total());
        let others = [(self.failed, 'F'), (self.closed_gaps, 'C'), (self.known_gaps, 'g'), (self.unsupported, 'u'), (self.missing, 'm')];
        for (count, letter) in others.into_iter().filter(|(count, _)| *count > 0) {
            let _ = write!(text, " {count}{letter}");
        }
        text
    }
}

const LEGEND: &str = "passed/all; F failed, C closed gap (passes although peers.toml says it fails), g known gap, u unsupported, m missing";

/// Writes the report.
pub fn write(records: &[Record], format: Format) -> String {
    match format {
        Format::Text => table(records, &Text) + &details(records, &Text),
        Format::Markdown => table(records, &Markdown) + &details(records, &Markdown),
        Format::Json => json_report(records),
    }
}

/// Brokers and clients in the order of the records.
fn names(records: &[Record], of: impl Fn(&Record) -> &'static str) -> Vec<&'static str> {
    let mut names = vec![];
    for name in records.iter().map(of) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn counts(records: &[Record]) -> BTreeMap<(&'static str, &'static str), Counts> {
    let mut counts: BTreeMap<_, Counts> = BTreeMap::new();
    for record in records {
        counts.entry((record.trial.broker, record.trial.client)).or_default().add(&record.verdict);
    }
    counts
}

/// What differs between text and Markdown.
trait Style {
    fn heading(&self, text: &str) -> String;
    fn rows(&self, rows: &[Vec<String>]) -> String;
    fn item(&self, title: &str, body: &str) -> String;
}

struct Text;

impl Style for Text {
    fn heading(&self, text: &str) -> String {
        format!("\n{text}\n\n")
    }

    fn rows(&self, rows: &[Vec<String>]) -> String {
        let columns = rows.first().map_or(0, Vec::len);
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
            cells.trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }

    fn item(&self, title: &str, body: &str) -> String {
        format!("{title}\n  {}\n", body.replace('\n', "\n  "))
    }
}

struct Markdown;

impl Style for Markdown {
    fn heading(&self, text: &str) -> String {
        format!("\n## {text}\n\n")
    }

    fn rows(&self, rows: &[Vec<String>]) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let mut lines = rows.iter().map(line);
        let head = lines.next().unwrap_or_default();
        let rule = "| --- ".repeat(rows.first().map_or(0, Vec::len)) + "|\n";
        head + &rule + &lines.collect::<String>()
    }

    fn item(&self, title: &str, body: &str) -> String {
        match body.split_once('\n') {
            None => format!("- {title}: {body}\n"),
            Some((first, rest)) => format!("- {title}: {first}\n\n  ```text\n  {}\n  ```\n", rest.replace('\n', "\n  ")),
        }
    }
}

fn table(records: &[Record], style: &dyn Style) -> String {
    let counts = counts(records);
    let clients = names(records, |record| record.trial.client);
    let mut rows = vec![["broker"].iter().chain(&clients).map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    for broker in names(records, |record| record.trial.broker) {
        let cells = clients.iter().map(|client| counts.get(&(broker, *client)).map_or_else(|| "-".into(), Counts::cell));
        rows.push([broker.to_owned()].into_iter().chain(cells).collect());
    }
    style.rows(&rows) + "\n" + LEGEND + "\n"
}

/// Failures one by one; gaps and what is unsupported by their reason.
fn details(records: &[Record], style: &dyn Style) -> String {
    let mut out = String::new();
    let bad: Vec<&Record> = records.iter().filter(|record| record.verdict.is_bad()).collect();
    if !bad.is_empty() {
        out += &style.heading("To be looked at");
    }
    for record in bad {
        let title =
            format!("{} on {}: {} ({})", record.trial.client, record.trial.broker, record.trial.subject.name(), record.verdict.word());
        out += &style.item(&title, record.verdict.why());
    }
    for (word, heading) in [("known gap", "Known gaps"), ("unsupported", "Unsupported"), ("missing", "Missing")] {
        let reasons = by_reason(records, word);
        if !reasons.is_empty() {
            out += &style.heading(heading);
        }
        for ((pair, reason), cases) in reasons {
            out += &style.item(&pair, &format!("{reason} ({})", cases.join(", ")));
        }
    }
    out
}

/// Cases with this verdict, by pair and reason.
fn by_reason(records: &[Record], word: &str) -> BTreeMap<(String, String), Vec<&'static str>> {
    let mut reasons: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.verdict.word() == word) {
        let pair = format!("{} on {}", record.trial.client, record.trial.broker);
        reasons.entry((pair, record.verdict.why().to_owned())).or_default().push(record.trial.subject.name());
    }
    reasons
}

fn json_report(records: &[Record]) -> String {
    let cell = |((broker, client), counts): (&(&str, &str), &Counts)| {
        json!({
            "broker": broker, "client": client, "passed": counts.passed, "failed": counts.failed, "known_gaps": counts.known_gaps,
            "closed_gaps": counts.closed_gaps, "unsupported": counts.unsupported, "missing": counts.missing,
        })
    };
    let record = |record: &Record| {
        json!({
            "broker": record.trial.broker, "client": record.trial.client, "case": record.trial.subject.name(),
            "verdict": record.verdict.word(), "why": record.verdict.why(), "took_ms": record.took_ms,
        })
    };
    let pairs: Vec<Value> = counts(records).iter().map(cell).collect();
    let report = json!({ "pairs": pairs, "records": records.iter().map(record).collect::<Vec<_>>() });
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::trials;

    fn records() -> Vec<Record> {
        let trials = trials().unwrap();
        let verdicts = [Verdict::Passed, Verdict::Failed("first line\nsecond".into()), Verdict::Unsupported("cannot".into())];
        let with = |verdict| Record { trial: trials[0], verdict, took_ms: 1 };
        verdicts.into_iter().map(with).collect()
    }

    #[test]
    fn a_cell_counts_what_passed_and_what_did_not() {
        let text = write(&records(), Format::Text);
        assert!(text.contains("1/3 1F 1u"), "{text}");
        assert!(text.contains("first line\n  second"), "{text}");
    }

    #[test]
    fn markdown_has_a_table_and_json_has_every_record() {
        let markdown = write(&records(), Format::Markdown);
        assert!(markdown.starts_with("| broker | ") && markdown.contains("\n| --- | --- |\n"), "{markdown}");
        let json: Value = serde_json::from_str(&write(&records(), Format::Json)).unwrap();
        assert_eq!((json["records"].as_array().unwrap().len(), &json["pairs"][0]["failed"]), (3, &json!(1)));
    }
}
