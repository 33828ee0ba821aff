//! What is said on standard error: a refusal readable at a glance, and events that matter.

use super::exit::Failure;
use super::json::{self, Object};
use crate::error::{Error, NotAvailable};
use crate::event::{Because, Event};
use crate::report::Reported;
use candor_protocol::packet::{Profile, Refusal, Retry};
use candor_protocol::shown::Shown;
use std::io::{self, Write};

/// Says why a command failed; as JSON on standard output where that was asked for.
pub(super) fn failure(failure: &Failure, json: bool) {
    if matches!(failure, Failure::Said(_)) {
        return;
    }
    if json {
        let mut object = Object::new();
        object.set("error", failure.exit().name()).set("exit", failure.exit() as u8).set("message", failure.to_string());
        if let Some(refusal) = failure.refusal() {
            object.extend(json::refusal(refusal));
        }
        if let Some(nearest) = nearest(failure) {
            object.set("nearest", json::profile(nearest));
        }
        object.print();
        return;
    }
    line(&format!("candor: {}", failure.headline()));
    for (name, value) in failure.refusal().map(refusal_lines).unwrap_or_default() {
        line(&format!("  {name:<8} {value}"));
    }
    if let Some(nearest) = nearest(failure) {
        line(&format!("  {:<8} durability {}, session durability {}", "nearest", nearest.durability, nearest.session_durability));
    }
}

fn nearest(failure: &Failure) -> Option<&Profile> {
    match failure {
        Failure::Connect(Error::NotAvailable(NotAvailable::Profile(refused))) => refused.nearest.as_ref(),
        _ => None,
    }
}

/// A refusal part by part, each on its line.
pub(super) fn refusal_lines(refusal: &Refusal) -> Vec<(&'static str, String)> {
    let problem = &refusal.problem;
    let limit = problem.limit.map(|limit| match problem.seen {
        Some(seen) => format!("{limit}, seen {seen}"),
        None => limit.to_string(),
    });
    let parts = [
        ("reason", Some(refusal.reason.to_string())),
        ("title", problem.title.clone()),
        ("detail", problem.detail.clone()),
        ("rule", problem.rule.clone()),
        ("limit", limit),
        ("field", problem.field.clone()),
        ("retry", problem.retry.map(retry_text)),
        ("missing", problem.missing_scope.clone()),
        ("trace", problem.trace_id.clone()),
    ];
    parts.into_iter().filter_map(|(name, value)| value.map(|value| (name, Shown::new(&value).to_string()))).collect()
}

fn retry_text(retry: Retry) -> String {
    match retry {
        Retry::Never => "cannot help".to_owned(),
        Retry::After { after_ms, jitter_ms: 0 } => format!("after {after_ms} ms"),
        Retry::After { after_ms, jitter_ms } => format!("after {after_ms} ms and a random part of {jitter_ms} ms"),
        Retry::Changed => "can help once something else has changed".to_owned(),
    }
}

/// Says what happened: everything with `all`, else what somebody has to know.
pub(super) fn event(event: &Event, all: bool, json: bool) {
    let ordinary = matches!(
        event,
        Event::Connected(_)
            | Event::Downgraded { because: Because::Declined | Because::OfferKilledConnectionBefore, .. }
            | Event::Notice(_)
    ) || matches!(event, Event::Disconnected { error: Error::Left, .. });
    if ordinary && !all {
        return;
    }
    if json && all {
        return json::event(event).print_error();
    }
    line(&format!("candor: {event}"));
}

/// Writes a line to standard error; when that is closed there is nobody to tell.
pub(super) fn line(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What became of a message behind the server, in words.
pub(super) fn reported(reported: &Reported, out: &mut impl Write) -> io::Result<()> {
    let report = match reported {
        Reported::NotMade(why) => return writeln!(out, "no report: {why}"),
        Reported::Told(report) => report,
    };
    writeln!(out, "matched      {}", report.matched)?;
    writeln!(out, "accepted     {}", report.accepted)?;
    for (reason, count) in &report.rejected {
        writeln!(out, "rejected     {count}: {}", reason.name())?;
    }
    let rare = [("expired", report.expired), ("dropped", report.dropped), ("unconfirmed", report.unconfirmed), ("pending", report.pending)];
    for (name, count) in rare.into_iter().filter(|(_, count)| *count > 0) {
        writeln!(out, "{name:<12} {count}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::packet::{Problem, Reason};

    const ACTS: &str = "no\ncandor: all is well\u{1b}[2J\u{9b}\u{202e}";

    #[test]
    fn the_words_of_a_peer_stay_on_their_line_and_do_nothing_to_the_terminal() {
        let problem =
            Problem { trace_id: Some(ACTS.into()), ..Problem::titled(ACTS).detail(ACTS).rule(ACTS).field(ACTS).missing_scope(ACTS) };
        let refusal = Refusal::new(Reason::NOT_AUTHORIZED, problem);
        let name = format!("{ACTS}{}", "x".repeat(60_000));
        let topic = Some(name.clone());
        let said = [
            refusal_lines(&refusal).into_iter().map(|(_, line)| line).collect(),
            vec![refusal.to_string(), Failure::Filter { filter: "a".into(), refusal: refusal.clone() }.to_string()],
            vec![
                Event::Gap { count: 1, topic: topic.clone(), refusal: refusal.clone() }.to_string(),
                Event::Refused { count: 1, topic, refusal: refusal.clone() }.to_string(),
                Event::NobodyListens { topic: name.clone() }.to_string(),
                Event::NotUnderstood { topic: name, refusal }.to_string(),
            ],
        ]
        .concat();
        assert_eq!(said.iter().filter(|line| line.contains(r"no\ncandor: all is well\u{1b}[2J\u{9b}\u{202e}")).count(), 12);
        for line in said {
            assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}') && line.len() < 2000, "{line:?}");
        }
    }
}
