//! The report as a page of its own: plots as inline SVG, nothing fetched from anywhere.

use super::stats::{Spread, short};
use super::{Cost, Outcome, Quantile, Report, Row};
use std::fmt::Write;

const BAR_H: f64 = 22.0;
const NAME_W: f64 = 150.0;
const PLOT_W: f64 = 460.0;
const TEXT_W: f64 = 220.0;
/// Letters of a name that have room beside a bar; the whole of it is shown on pointing at it.
const NAME_LEN_MAX: usize = 20;
const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
    h2{margin:2rem 0 .3rem;font-size:1.1rem}svg{max-width:100%;height:auto}svg text{font:13px system-ui,sans-serif;fill:currentColor}\
    .bar{fill:#3b6ea8}.first{fill:#8a929c}.range{stroke:currentColor;stroke-width:1.5}.fault{color:#b3261e}\
    table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:right}td:first-child,th:first-child{text-align:left}\
    td:first-child{overflow-wrap:anywhere}.wide{overflow-x:auto}\
    @media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181b}.bar{fill:#6fa3dd}}";

pub(super) fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>candor bench</title><style>{STYLE}</style><h1>candor bench</h1>\
         <p>The median as a bar, lowest to highest as a line. Shorter is better.</p>\n"
    );
    let mut scenarios: Vec<&str> = report.rows.iter().map(|row| row.scenario.as_str()).collect();
    scenarios.dedup();
    for scenario in scenarios {
        let rows: Vec<&Row> = report.rows.iter().filter(|row| row.scenario == scenario).collect();
        let cpu = plot("CPU seconds of the server for each million delivered messages", &cpu_bars(report, &rows));
        let latency = plot("Latency, in microseconds", &latency_bars(&rows));
        let _ = writeln!(out, "<h2>{}</h2>\n{cpu}{latency}{}", escaped(scenario), figures(&rows));
    }
    let notes: String = report.notes().iter().map(|note| format!("<p>{}</p>\n", escaped(note))).collect();
    out.push_str(&notes);
    let faults = report.faults();
    if !faults.is_empty() {
        let items: String = faults.iter().map(|fault| format!("<li>{}</li>", escaped(fault))).collect();
        let _ = writeln!(out, "<h2>What went wrong</h2><ul class=\"fault\">{items}</ul>");
    }
    out.push_str("</html>\n");
    out
}

/// A bar of a plot.
struct Bar<'a> {
    target: &'a str,
    /// What of the target it shows, where there is more than one thing.
    part: &'static str,
    spread: Spread,
    /// What stands behind its figures.
    behind: String,
    class: &'static str,
}

fn cpu_bars<'a>(report: &Report, rows: &[&'a Row]) -> Vec<Bar<'a>> {
    let bar = |row: &&'a Row| {
        let behind = report.ratio(row).map_or(String::new(), |ratio| format!(", {}", ratio.times()));
        let class = if row.is_base { "first" } else { "bar" };
        Some(Bar { target: &row.target, part: "", spread: row.cpu()?, behind, class })
    };
    rows.iter().filter_map(bar).collect()
}

fn latency_bars<'a>(rows: &[&'a Row]) -> Vec<Bar<'a>> {
    let quantiles: [(&'static str, Quantile); 2] = [(" p50", |l| l.p50), (" p99", |l| l.p99)];
    let bar = |row: &'a Row, (part, of): (&'static str, Quantile)| {
        let class = if row.is_base { "first" } else { "bar" };
        Some(Bar { target: &row.target, part, spread: row.latency(of)?, behind: " us".to_owned(), class })
    };
    rows.iter().flat_map(|row| quantiles.into_iter().filter_map(move |quantile| bar(row, quantile))).collect()
}

/// Bars below each other, all to one scale; nothing of none.
fn plot(what: &str, bars: &[Bar<'_>]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let scale = bars.iter().map(|bar| bar.spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let (width, height) = (NAME_W + PLOT_W + TEXT_W, BAR_H * bars.len() as f64);
    let mut out = format!("<p>{what}</p><svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">");
    for (at, Bar { target, part, spread, behind, class }) in bars.iter().enumerate() {
        let x = |value: f64| NAME_W + value / scale * PLOT_W;
        let (top, middle) = (at as f64 * BAR_H, (at as f64 + 0.5) * BAR_H);
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\"><title>{}</title>{}{part}</text>\
             <rect class=\"{class}\" x=\"{NAME_W}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <line class=\"range\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}{behind}</text>",
            NAME_W - 8.0,
            middle + 4.5,
            escaped(target),
            escaped(&shortened(target, NAME_LEN_MAX - part.len())),
            top + 3.0,
            x(spread.median) - NAME_W,
            BAR_H - 6.0,
            x(spread.min),
            x(spread.max),
            x(spread.max) + 8.0,
            middle + 4.5,
            spread.text(),
        );
    }
    out.push_str("</svg>\n");
    out
}

/// At most `len_max` letters. An ellipsis takes the middle: names often differ in their end, as those of hosts do in the port.
fn shortened(name: &str, len_max: usize) -> String {
    if name.chars().count() <= len_max {
        return name.to_owned();
    }
    let letters: Vec<char> = name.chars().collect();
    let head = (len_max - 1) / 2;
    let tail = letters.len() - (len_max - 1 - head);
    letters[..head].iter().chain(&['\u{2026}']).chain(&letters[tail..]).collect()
}

const LATENCIES: [(&str, Quantile); 5] =
    [("p50 us", |l| l.p50), ("p90 us", |l| l.p90), ("p99 us", |l| l.p99), ("p99.9 us", |l| l.p999), ("max us", |l| l.max)];

/// The other figures, as a table.
fn figures(rows: &[&Row]) -> String {
    let mut names: Vec<&str> = rows.iter().flat_map(|row| row.facts()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    let latencies = if rows.iter().any(|row| row.latency(|latency| latency.p50).is_some()) { &LATENCIES[..] } else { &[] };
    let mut heads = vec!["target", "messages/s", "load CPU s/M", "lost", "doubled", "reordered", "refused"];
    heads.extend(["RSS MiB", "RSS peak MiB", "sockets KiB"]);
    heads.extend(latencies.iter().map(|(head, _)| head));
    heads.extend(&names);
    let measured: Vec<&&Row> = rows.iter().filter(|row| !row.outcomes.is_empty()).collect();
    if measured.is_empty() {
        return String::new();
    }
    let mut out = String::from("<div class=\"wide\"><table><tr>");
    out.extend(heads.iter().map(|head| format!("<th>{}</th>", escaped(head))));
    for row in measured {
        let sum = |of: fn(&Outcome) -> u64| row.outcomes.iter().map(of).sum::<u64>().to_string();
        let middle = |spread: Option<Spread>| spread.map_or("-".to_owned(), |spread| short(spread.median));
        let most = |of: fn(&Cost) -> Option<f64>, unit: f64| {
            let values = row.outcomes.iter().filter_map(|outcome| of(&outcome.cost));
            values.reduce(f64::max).map_or("-".to_owned(), |most| short(most / unit))
        };
        let mut cells = vec![
            escaped(&row.target),
            middle(row.rate()),
            middle(row.own_cpu()),
            sum(Outcome::lost),
            sum(|outcome| outcome.count.duplicated),
            sum(|outcome| outcome.count.reordered),
            row.refused().to_string(),
            most(|cost| cost.rss_bytes.map(|bytes| bytes as f64), MIB),
            most(|cost| cost.rss_peak_bytes.map(|bytes| bytes as f64), MIB),
            most(|cost| Some(cost.socket_growth_bytes as f64), KIB),
        ];
        cells.extend(latencies.iter().map(|(_, of)| middle(row.latency(*of))));
        let facts = row.facts();
        cells.extend(names.iter().map(|name| middle(facts.iter().find(|(fact, _)| fact == name).map(|(_, spread)| *spread))));
        out.push_str("<tr>");
        out.extend(cells.iter().map(|cell| format!("<td>{cell}</td>")));
    }
    out.push_str("</table></div>");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::Latency;
    use super::super::tests::row;
    use super::*;

    #[test]
    fn a_page_shows_what_there_is_and_no_empty_plots() {
        let long = "mqtt://a-host-with-a-long-name.example:1883";
        let mut rows = [row("a", true, Some(2.0)), row(long, false, Some(3.0)), row("c", false, None)];
        rows[1].outcomes[0].latency = Some(Latency { p50: 11.0, p90: 12.0, p99: 13.0, p999: 14.0, max: 15.0 });
        rows[1].outcomes[0].refused = 77;
        let whole = page(&Report { rows: rows.to_vec() });
        assert_eq!(whole.matches("<svg").count(), 2);
        assert!(whole.contains(&format!("<title>{long}</title>mqtt://a-\u{2026}ample:1883<")), "{whole}");
        for part in ["p90 us", "max us", "RSS MiB", "sockets KiB", "<td>15.0<", "<td>77<", "3.00 (3.00-3.00), 1.50 x"] {
            assert!(whole.contains(part), "{part}: {whole}");
        }
        rows.iter_mut().for_each(|row| row.outcomes.clear());
        let empty = page(&Report { rows: rows.to_vec() });
        assert!(!empty.contains("<svg") && !empty.contains("<table>"), "{empty}");
    }
}
