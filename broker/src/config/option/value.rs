//! Values that a range does not describe.

use crate::config::diagnostic;
use candor_protocol::packet::TopicFilter;

/// Reads the filter of a namespace.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence about it.
pub fn namespace(text: &str) -> Result<TopicFilter, String> {
    let filter = TopicFilter::new(text).map_err(|error| error.to_string())?;
    match filter.group() {
        Some(_) => Err("is shared".into()),
        None if text.starts_with('$') => Err("begins with `$`, and topics of the server belong to no namespace".into()),
        None => Ok(filter),
    }
}

pub(super) fn check_node(text: &str) -> Result<(), String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match text.chars().find(|&c| !good(c)) {
        Some(bad) => Err(format!("holds the character {bad:?}")),
        None if text.is_empty() => Err("is empty".into()),
        None if text.len() > 64 => Err("is longer than 64 characters".into()),
        None => Ok(()),
    }
}

pub(super) fn check_experiment(text: &str) -> Result<(), String> {
    let good = !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if good { Ok(()) } else { Err("is not the name of an experiment".into()) }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// `tracing` takes any word for the name of a module, so that `inof` would switch the log off in silence; here a word alone is a level.
pub(super) fn check_log(text: &str) -> Result<(), String> {
    if text.contains(char::is_whitespace) {
        return Err("holds a space; its parts are separated by `,` alone".into());
    }
    for part in text.split(',') {
        let (target, level) = part.rsplit_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            let hint = diagnostic::nearest(level, LEVELS).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            let what = if level == text { "is not a level".to_owned() } else { format!("has `{level}` where a level stands") };
            return Err(what + &hint);
        }
        if target.is_some_and(str::is_empty) {
            return Err("has a `=` without a module before it".into());
        }
    }
    tracing_subscriber::EnvFilter::builder().parse(text).map(drop).map_err(|error| format!("is not a filter: {error}"))
}
