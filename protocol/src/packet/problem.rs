//! A problem: why something was refused, in the shape of RFC 9290 (concise problem details), with the keys that a
//! program can act on.

use super::property::{Key, KeyValue};
use super::reason::Reason;
use crate::codec::dictionary::{Dictionary, MapBuilder, head_len, write_head, write_number, write_text};
use crate::shown::Shown;
use std::sync::Arc;

/// Whether the same thing can succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Not in this form, however often it is tried.
    Never,
    /// Unchanged, after `after_ms` and a random part of up to `jitter_ms` more.
    After { after_ms: u64, jitter_ms: u64 },
    /// After something else has changed: a right, a limit, the time of day.
    Changed,
}

/// The most bytes of problems in a packet that answers many things: what does not fit is answered with its reason alone.
pub const PROBLEMS_LEN_MAX: usize = 8 * 1024;

/// Why something was refused. Every part may be missing: how much is disclosed is the listener's policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Problem {
    /// One short sentence, for people.
    pub title: Option<String>,
    /// What is particular to this occurrence, for people.
    pub detail: Option<String>,
    /// The rule or limit that decided, by name.
    pub rule: Option<String>,
    /// The limit's value, where a limit decided; the unit is the limit's.
    pub limit: Option<u64>,
    /// The value that was seen, in the same unit.
    pub seen: Option<u64>,
    /// The field, key or clause that offends.
    pub field: Option<String>,
    pub retry: Option<Retry>,
    /// The scope or right that is missing.
    pub missing_scope: Option<String>,
    /// An identifier that is found again in the receiver's log.
    pub trace_id: Option<String>,
}

/// One row of the table of problem keys.
#[derive(Debug, Clone, Copy)]
pub struct ProblemKey {
    pub number: i64,
    pub name: &'static str,
    pub meaning: &'static str,
}

const TITLE: Key<String> = Key::new("title", -1);
const DETAIL: Key<String> = Key::new("detail", -2);
const RULE: Key<String> = Key::new("rule", 0);
const LIMIT: Key<u64> = Key::new("limit", 1);
const SEEN: Key<u64> = Key::new("seen", 2);
const FIELD: Key<String> = Key::new("field", 3);
const RETRY: Key<u64> = Key::new("retry", 4);
const RETRY_AFTER: Key<u64> = Key::new("retry-after", 5);
const RETRY_JITTER: Key<u64> = Key::new("retry-jitter", 6);
const MISSING_SCOPE: Key<String> = Key::new("missing-scope", 7);
const TRACE_ID: Key<String> = Key::new("trace-id", 8);

/// The keys of a problem: negative ones are RFC 9290's, the others are ours. The critical bit has no meaning here.
pub const PROBLEM_KEYS: &[ProblemKey] = &[
    ProblemKey { number: TITLE.number, name: TITLE.name, meaning: "Text (RFC 9290): one short sentence for people." },
    ProblemKey { number: DETAIL.number, name: DETAIL.name, meaning: "Text (RFC 9290): what is particular to this occurrence, for people." },
    ProblemKey { number: RULE.number, name: RULE.name, meaning: "Text: the rule or limit that decided." },
    ProblemKey { number: LIMIT.number, name: LIMIT.name, meaning: "Unsigned integer: the limit's value." },
    ProblemKey { number: SEEN.number, name: SEEN.name, meaning: "Unsigned integer: the value that was seen." },
    ProblemKey { number: FIELD.number, name: FIELD.name, meaning: "Text: the field, key or clause that offends." },
    ProblemKey {
        number: RETRY.number,
        name: RETRY.name,
        meaning: "Unsigned integer: 0 never in this form, 1 unchanged after a time, 2 after something else has changed.",
    },
    ProblemKey { number: RETRY_AFTER.number, name: RETRY_AFTER.name, meaning: "Unsigned integer: milliseconds to wait." },
    ProblemKey {
        number: RETRY_JITTER.number,
        name: RETRY_JITTER.name,
        meaning: "Unsigned integer: milliseconds of which a random part is added to the wait.",
    },
    ProblemKey { number: MISSING_SCOPE.number, name: MISSING_SCOPE.name, meaning: "Text: the scope or right that is missing." },
    ProblemKey { number: TRACE_ID.number, name: TRACE_ID.name, meaning: "Text: an identifier found again in the receiver's log." },
];

impl Problem {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn titled(title: impl Into<String>) -> Self {
        Self { title: Some(title.into()), ..Self::default() }
    }

    pub fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub fn limit(mut self, limit: u64, seen: u64) -> Self {
        (self.limit, self.seen) = (Some(limit), Some(seen));
        self
    }

    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    pub fn missing_scope(mut self, scope: impl Into<String>) -> Self {
        self.missing_scope = Some(scope.into());
        self
    }

    pub fn to_dictionary(&self) -> Dictionary {
        if self.is_empty() {
            return Dictionary::EMPTY;
        }
        let mut out = Vec::new();
        self.write(&mut out);
        Dictionary::of_checked(out)
    }

    /// Writes each entry that there is, in the ascending order of the encoded keys: those from 0 on, then -1, -2.
    fn write_entries(&self, out: &mut impl Entries) {
        out.text(RULE.number, self.rule.as_ref());
        out.number(LIMIT.number, self.limit);
        out.number(SEEN.number, self.seen);
        out.text(FIELD.number, self.field.as_ref());
        let (retry, after) = match self.retry {
            None => (None, None),
            Some(Retry::Never) => (Some(0), None),
            Some(Retry::After { after_ms, jitter_ms }) => (Some(1), Some((after_ms, jitter_ms))),
            Some(Retry::Changed) => (Some(2), None),
        };
        out.number(RETRY.number, retry);
        out.number(RETRY_AFTER.number, after.map(|(after_ms, _)| after_ms));
        out.number(RETRY_JITTER.number, after.map(|(_, jitter_ms)| jitter_ms));
        out.text(MISSING_SCOPE.number, self.missing_scope.as_ref());
        out.text(TRACE_ID.number, self.trace_id.as_ref());
        out.text(TITLE.number, self.title.as_ref());
        out.text(DETAIL.number, self.detail.as_ref());
    }

    /// Reads what it knows; keys it does not know and values of another type are passed over, since a problem is
    /// advice about a refusal that stands without it.
    pub fn of_dictionary(map: &Dictionary) -> Self {
        Self {
            title: map.value(TITLE),
            detail: map.value(DETAIL),
            rule: map.value(RULE),
            limit: map.value(LIMIT),
            seen: map.value(SEEN),
            field: map.value(FIELD),
            retry: match map.value(RETRY) {
                Some(0) => Some(Retry::Never),
                Some(1) => {
                    Some(Retry::After { after_ms: map.value(RETRY_AFTER).unwrap_or(0), jitter_ms: map.value(RETRY_JITTER).unwrap_or(0) })
                }
                Some(2) => Some(Retry::Changed),
                _ => None,
            },
            missing_scope: map.value(MISSING_SCOPE),
            trace_id: map.value(TRACE_ID),
        }
    }
}

impl KeyValue for Problem {
    const TYPE: super::property::ValueType = super::property::ValueType::Map;
    fn read(item: crate::codec::dictionary::Item<'_>) -> Option<Self> {
        Dictionary::read(item).map(|map| Problem::of_dictionary(&map))
    }
    fn write(&self, out: &mut Vec<u8>) {
        let mut size = Size::default();
        self.write_entries(&mut size);
        out.reserve_exact(1 + size.bytes);
        write_head(out, 5, size.entries);
        self.write_entries(out);
    }
}

/// Where the entries of a problem go.
trait Entries {
    fn text(&mut self, key: i64, value: Option<&String>);
    fn number(&mut self, key: i64, value: Option<u64>);
}

impl Entries for Vec<u8> {
    fn text(&mut self, key: i64, value: Option<&String>) {
        if let Some(value) = value {
            write_number(self, key);
            write_text(self, value);
        }
    }

    fn number(&mut self, key: i64, value: Option<u64>) {
        if let Some(value) = value {
            write_number(self, key);
            write_head(self, 0, value);
        }
    }
}

/// How many there are, and how many bytes they take; each key takes one.
#[derive(Debug, Default)]
struct Size {
    entries: u64,
    bytes: usize,
}

impl Entries for Size {
    fn text(&mut self, _: i64, value: Option<&String>) {
        if let Some(value) = value {
            self.entries += 1;
            self.bytes += 1 + head_len(value.len() as u64) + value.len();
        }
    }

    fn number(&mut self, _: i64, value: Option<u64>) {
        if let Some(value) = value {
            self.entries += 1;
            self.bytes += 1 + head_len(value);
        }
    }
}

impl MapBuilder {
    /// Sets the problem of a packet, where there is one.
    pub fn set_problem(&mut self, problem: &Problem) -> &mut Self {
        if !problem.is_empty() {
            self.put(super::property::PROBLEM.number, |out| problem.write(out));
        }
        self
    }
}

/// A refusal: the reason for programs and, where it is disclosed, the problem. Every refusal anywhere in Candor is
/// one of these before it becomes bytes, a log line or a metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Refusal {
    pub reason: Reason,
    /// Behind a pointer: refusals are rare, and everything that may hold one stays small. It is shared, as one refusal goes to many:
    /// the answer, the log, the ledger.
    pub problem: Arc<Problem>,
}

impl Refusal {
    pub fn new(reason: Reason, problem: Problem) -> Self {
        Self { reason, problem: Arc::new(problem) }
    }

    /// The problem, to say more of it; whoever shares it keeps it as it was.
    pub fn problem_mut(&mut self) -> &mut Problem {
        Arc::make_mut(&mut self.problem)
    }

    /// A refusal without a problem.
    pub fn bare(reason: Reason) -> Self {
        Self::new(reason, Problem::default())
    }
}

/// The texts may be a peer's: each is shown as [`Shown`] does.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.reason)?;
        let problem = &self.problem;
        if let Some(title) = &problem.title {
            write!(f, ": {}", Shown::new(title))?;
        }
        if let Some(detail) = &problem.detail {
            write!(f, " ({})", Shown::new(detail))?;
        }
        if let Some(rule) = &problem.rule {
            write!(f, "; rule: {}", Shown::new(rule))?;
        }
        if let (Some(limit), Some(seen)) = (problem.limit, problem.seen) {
            write!(f, "; limit {limit}, seen {seen}")?;
        }
        if let Some(field) = &problem.field {
            write!(f, "; field: {}", Shown::new(field))?;
        }
        match problem.retry {
            None => {}
            Some(Retry::Never) => write!(f, "; a retry cannot help")?,
            Some(Retry::After { after_ms, jitter_ms }) => write!(f, "; try again after {after_ms} ms plus up to {jitter_ms} ms")?,
            Some(Retry::Changed) => write!(f, "; a retry can help once something else has changed")?,
        }
        if let Some(scope) = &problem.missing_scope {
            write!(f, "; missing: {}", Shown::new(scope))?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::dictionary::Limits;

    #[test]
    fn a_problem_survives_the_wire() {
        let problem = Problem {
            title: Some("no rule allows it".into()),
            detail: Some("publish to a/b".into()),
            rule: Some("rules.toml:12".into()),
            limit: Some(10),
            seen: Some(11),
            field: Some("topic".into()),
            retry: Some(Retry::After { after_ms: 1000, jitter_ms: 500 }),
            missing_scope: Some("publish:a/b".into()),
            trace_id: Some("4f2a".into()),
        };
        assert_eq!(Problem::of_dictionary(&problem.to_dictionary()), problem);
        assert!(Problem::default().to_dictionary().is_empty());
        let bytes = problem.to_dictionary().as_bytes().clone();
        assert_eq!(Dictionary::parse(bytes, Limits::default()).as_ref(), Ok(&problem.to_dictionary()), "in the order that is demanded");
        let mut map = MapBuilder::new();
        map.set_problem(&problem).set_problem(&Problem::default());
        assert_eq!(map.finish().value(super::super::property::PROBLEM), Some(problem.to_dictionary()));
    }
}
