//! The report as a page of its own: plots as inline SVG, nothing fetched from anywhere.

use super::stats::{Spread, short};
use super::{Report, Row};
use std::fmt::Write;

const BAR_H: f64 = 22.0;
const NAME_W: f64 = 150.0;
const PLOT_W: f64 = 460.0;
const TEXT_W: f64 = 220.0;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
    h2{margin:2rem 0 .3rem;font-size:1.1rem}svg{max-width:100%;height:auto}svg text{font:13px system-ui,sans-serif;fill:currentColor}\
    .bar{fill:#3b6ea8}.first{fill:#8a929c}.range{stroke:currentColor;stroke-width:1.5}.fault{color:#b3261e}\
    table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:right}td:first-child,th:first-child{text-align:left}\
    @media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181b}.bar{fill:#6fa3dd}}";

pub(super) fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>candor bench</title><style>{STYLE}</style><h1>candor bench</h1>\
         <p>CPU seconds of the server for each million delivered messages: the median as a bar, lowest to highest as a line. \
         Shorter is better.</p>\n"
    );
    let mut scenarios: Vec<&str> = report.rows.iter().map(|row| row.scenario.as_str()).collect();
    scenarios.dedup();
    for scenario in scenarios {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.scenario == scenario).collect();
        let _ = writeln!(out, "<h2>{}</h2>\n{}{}", escaped(scenario), bars(report, &rows), figures(&rows));
    }
    let faults = report.faults();
    if !faults.is_empty() {
        let items: String = faults.iter().map(|fault| format!("<li>{}</li>", escaped(fault))).collect();
        let _ = writeln!(out, "<h2>What went wrong</h2><ul class=\"fault\">{items}</ul>");
    }
    out.push_str("</html>\n");
    out
}

/// One bar a target, all to one scale.
fn bars(report: &Report, rows: &[&Row]) -> String {
    let bars: Vec<(&Row, Spread)> = rows.iter().filter_map(|row| Some((*row, row.cpu()?))).collect();
    let scale = bars.iter().map(|(_, cpu)| cpu.max).fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = (NAME_W + PLOT_W + TEXT_W, BAR_H * bars.len() as f64);
    let mut out = format!("<svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">");
    for (at, (row, cpu)) in bars.iter().enumerate() {
        let x = |value: f64| NAME_W + value / scale * PLOT_W;
        let (top, middle) = (at as f64 * BAR_H, (at as f64 + 0.5) * BAR_H);
        let class = if at == 0 { "first" } else { "bar" };
        let ratio = report.ratio(row).map_or(String::new(), |ratio| format!(", {} x", short(ratio)));
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{NAME_W}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <line class=\"range\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}{ratio}</text>",
            NAME_W - 8.0,
            middle + 4.5,
            escaped(&row.target),
            top + 3.0,
            x(cpu.median) - NAME_W,
            BAR_H - 6.0,
            x(cpu.min),
            x(cpu.max),
            x(cpu.max) + 8.0,
            middle + 4.5,
            cpu.text(),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// The other figures, as a table.
fn figures(rows: &[&Row]) -> String {
    let mut names: Vec<&str> = rows.iter().flat_map(|row| row.facts()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let has_latency = rows.iter().any(|row| row.latency(|latency| latency.p50).is_some());
    let mut heads = vec!["target", "messages/s", "load CPU s/M", "lost", "doubled", "reordered"];
    if has_latency {
        heads.extend(["p50 us", "p99 us", "p99.9 us"]);
    }
    heads.extend(&names);
    let mut out = String::from("<table><tr>");
    out.extend(heads.iter().map(|head| format!("<th>{}</th>", escaped(head))));
    for row in rows.iter().filter(|row| !row.outcomes.is_empty()) {
        let sum = |of: fn(&super::Outcome) -> u64| row.outcomes.iter().map(of).sum::<u64>().to_string();
        let middle = |spread: Option<Spread>| spread.map_or("-".to_owned(), |spread| short(spread.median));
        let mut cells = vec![
            escaped(&row.target),
            middle(row.rate()),
            middle(row.own_cpu()),
            sum(|outcome| outcome.count.lost),
            sum(|outcome| outcome.count.duplicated),
            sum(|outcome| outcome.count.reordered),
        ];
        if has_latency {
            cells.extend([middle(row.latency(|l| l.p50)), middle(row.latency(|l| l.p99)), middle(row.latency(|l| l.p999))]);
        }
        let facts = row.facts();
        cells.extend(names.iter().map(|name| middle(facts.iter().find(|(fact, _)| fact == name).map(|(_, spread)| *spread))));
        out.push_str("<tr>");
        out.extend(cells.iter().map(|cell| format!("<td>{cell}</td>")));
    }
    out.push_str("</table>");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
