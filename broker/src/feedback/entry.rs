//! One line of a client's story: a verdict on it, or what became of its connections.

use super::Verdict;
use bytes::Bytes;
use candor_protocol::codec::dictionary::{Dictionary, Limits, MapBuilder};
use candor_protocol::packet::property::Key;
use candor_protocol::packet::{Problem, Reason};
use candor_protocol::session::{Cause, SessionState};
use serde_json::{Map, Value, json};

/// The longest text of a line, in bytes: what is longer is cut.
pub const TEXT_LEN_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it happened for the first time, if it stands for several, in milliseconds since 1970.
    pub since_ms: u64,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Verdict(Verdict),
    Connection(Connection),
    /// The session's time was over while its client was away.
    SessionExpired {
        unix_ms: u64,
        count: u64,
    },
}

/// Connections that came and ended alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// When the last one came.
    pub unix_ms: u64,
    /// In words: the dialect, and the address it came from.
    pub by: String,
    pub session: SessionState,
    /// `None`: it has not ended as far as is known.
    pub end: Option<End>,
    pub count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub unix_ms: u64,
    pub reason: Reason,
    /// How it came to that, in words.
    pub detail: String,
}

const SINCE: Key<u64> = Key::new("since", 6);
const COUNT: Key<u64> = Key::new("count", 5);
const EXPIRED_AT: Key<u64> = Key::new("expired-at", 7);
const CONNECTED_AT: Key<u64> = Key::new("connected-at", 8);
const BY: Key<String> = Key::new("by", 9);
const SESSION: Key<u64> = Key::new("session", 10);
const ENDED_AT: Key<u64> = Key::new("ended-at", 11);
const END_REASON: Key<u64> = Key::new("end-reason", 12);
const END_DETAIL: Key<String> = Key::new("end-detail", 13);

/// What was read back was checked by the store.
const LIMITS: Limits = Limits { len_max: u32::MAX, depth_max: u8::MAX };

impl From<Verdict> for Entry {
    fn from(mut verdict: Verdict) -> Self {
        cut(&mut verdict.topic);
        let is_long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > TEXT_LEN_MAX);
        let Problem { title, detail, rule, field, missing_scope, trace_id, .. } = &*verdict.refusal.problem;
        if [title, detail, rule, field, missing_scope, trace_id].into_iter().any(is_long) {
            let Problem { title, detail, rule, field, missing_scope, trace_id, .. } = verdict.refusal.problem_mut();
            [title, detail, rule, field, missing_scope, trace_id].into_iter().for_each(cut);
        }
        Self { since_ms: verdict.unix_ms, event: Event::Verdict(verdict) }
    }
}

/// What many clients make the server remember must not be long.
fn cut(text: &mut Option<String>) {
    if let Some(text) = text
        && text.len() > TEXT_LEN_MAX
    {
        let end = (0..=TEXT_LEN_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push_str("...");
    }
}

impl End {
    pub fn new(unix_ms: u64, cause: &Cause) -> Self {
        let (reason, detail) = match cause {
            Cause::PeerLeft { reason, .. } => (*reason, "the client left".to_owned()),
            Cause::Malformed(error) => (error.reason(), error.to_string()),
            Cause::Refused(refusal) => (refusal.reason, refusal.problem.title.clone().unwrap_or_else(|| "the server closed it".to_owned())),
            Cause::Silent => (Reason::KEEP_ALIVE_TIMEOUT, "nothing was heard from the client for too long".to_owned()),
            Cause::Lost => (Reason::UNSPECIFIED_ERROR, "the transport ended without a word".to_owned()),
            _ => (Reason::UNSPECIFIED_ERROR, "the server closed it".to_owned()),
        };
        let mut detail = Some(detail);
        cut(&mut detail);
        Self { unix_ms, reason, detail: detail.unwrap_or_default() }
    }
}

impl Entry {
    pub fn connected(unix_ms: u64, by: String, session: SessionState) -> Self {
        Self { since_ms: unix_ms, event: Event::Connection(Connection { unix_ms, by, session, end: None, count: 1 }) }
    }

    pub fn expired(unix_ms: u64) -> Self {
        Self { since_ms: unix_ms, event: Event::SessionExpired { unix_ms, count: 1 } }
    }

    /// When it happened last, in milliseconds since 1970.
    pub fn unix_ms(&self) -> u64 {
        match &self.event {
            Event::Verdict(verdict) => verdict.unix_ms,
            Event::Connection(Connection { end: Some(end), .. }) => end.unix_ms,
            Event::Connection(connection) => connection.unix_ms,
            Event::SessionExpired { unix_ms, .. } => *unix_ms,
        }
    }

    pub fn count(&self) -> u64 {
        match &self.event {
            Event::Verdict(Verdict { count, .. }) | Event::Connection(Connection { count, .. }) | Event::SessionExpired { count, .. } => {
                *count
            }
        }
    }

    /// Whether it is a connection that has not ended.
    pub fn is_open(&self) -> bool {
        matches!(&self.event, Event::Connection(Connection { end: None, .. }))
    }

    /// Whether both say the same, but for when and how often.
    pub fn is_like(&self, other: &Self) -> bool {
        match (&self.event, &other.event) {
            (Event::Verdict(one), Event::Verdict(two)) => one.repeats(two),
            (Event::Connection(one), Event::Connection(two)) => match (&one.end, &two.end) {
                (Some(first), Some(second)) => {
                    (&one.by, one.session, first.reason, &first.detail) == (&two.by, two.session, second.reason, &second.detail)
                }
                _ => false,
            },
            (Event::SessionExpired { .. }, Event::SessionExpired { .. }) => true,
            _ => false,
        }
    }

    /// Stands for an earlier one too, which it is like.
    pub fn absorb(&mut self, earlier: &Self) {
        self.since_ms = earlier.since_ms;
        match &mut self.event {
            Event::Verdict(Verdict { count, .. }) | Event::Connection(Connection { count, .. }) | Event::SessionExpired { count, .. } => {
                *count = count.saturating_add(earlier.count())
            }
        }
    }

    /// About how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        let texts = match &self.event {
            Event::Verdict(Verdict { topic, refusal, .. }) => {
                let Problem { title, detail, rule, field, missing_scope, trace_id, .. } = &*refusal.problem;
                let texts = [topic, title, detail, rule, field, missing_scope, trace_id];
                size_of::<Problem>() + texts.into_iter().flatten().map(String::len).sum::<usize>()
            }
            Event::Connection(connection) => connection.by.len() + connection.end.as_ref().map_or(0, |end| end.detail.len()),
            Event::SessionExpired { .. } => 0,
        };
        size_of::<Self>() + texts
    }

    /// The form in which a store keeps it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut map = MapBuilder::new();
        map.set(SINCE, &self.since_ms).set(COUNT, &self.count());
        match &self.event {
            Event::Verdict(verdict) => verdict.put(&mut map),
            Event::Connection(Connection { unix_ms, by, session, end, .. }) => {
                map.set(CONNECTED_AT, unix_ms).set(BY, by).set(SESSION, &(*session as u64));
                if let Some(End { unix_ms, reason, detail }) = end {
                    map.set(ENDED_AT, unix_ms).set(END_REASON, &u64::from(reason.0)).set(END_DETAIL, detail);
                }
            }
            Event::SessionExpired { unix_ms, .. } => drop(map.set(EXPIRED_AT, unix_ms)),
        }
        map.finish().as_bytes().to_vec()
    }

    /// `None`: the bytes are no line.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let map = Dictionary::parse(Bytes::copy_from_slice(bytes), LIMITS).ok()?;
        let count = map.value(COUNT)?;
        let event = match (map.value(CONNECTED_AT), map.value(EXPIRED_AT)) {
            (Some(unix_ms), _) => {
                let end = map.value(ENDED_AT).and_then(|unix_ms| {
                    let reason = Reason(u8::try_from(map.value(END_REASON)?).ok()?);
                    Some(End { unix_ms, reason, detail: map.value(END_DETAIL)? })
                });
                let session = SessionState::of_number(map.value(SESSION)?)?;
                Event::Connection(Connection { unix_ms, by: map.value(BY)?, session, end, count })
            }
            (None, Some(unix_ms)) => Event::SessionExpired { unix_ms, count },
            (None, None) => Event::Verdict(Verdict::of_map(&map)?),
        };
        Some(Self { since_ms: map.value(SINCE)?, event })
    }

    /// The line as operators read it: a verdict in the shape of RFC 9457, with `event` and the times beside it.
    pub fn to_json(&self) -> Value {
        let reason = |reason: Reason| json!({ "code": reason.0, "name": reason.name() });
        let (event, mut map) = match &self.event {
            Event::Verdict(verdict) => match verdict.to_json(&verdict.refusal) {
                Value::Object(map) => ("verdict", map),
                _ => ("verdict", Map::new()),
            },
            Event::Connection(Connection { unix_ms, by, session, end, .. }) => {
                let mut map = Map::new();
                map.insert("by".into(), by.as_str().into());
                map.insert("session".into(), session_name(*session).into());
                map.insert("connected_at_ms".into(), (*unix_ms).into());
                if let Some(end) = end {
                    map.insert("reason".into(), reason(end.reason));
                    map.insert("detail".into(), end.detail.as_str().into());
                }
                (if end.is_some() { "disconnected" } else { "connected" }, map)
            }
            Event::SessionExpired { .. } => ("session expired", Map::new()),
        };
        map.insert("event".into(), event.into());
        map.insert("at_ms".into(), self.unix_ms().into());
        map.insert("first_at_ms".into(), self.since_ms.into());
        map.insert("count".into(), self.count().into());
        Value::Object(map)
    }
}

fn session_name(state: SessionState) -> &'static str {
    match state {
        SessionState::Resumed => "resumed",
        SessionState::New => "new",
        SessionState::Expired => "new, the last one had expired",
        SessionState::Evicted => "new, the last one was evicted",
        SessionState::LostWithRestart => "new, the last one was lost with a restart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::packet::{Kind, Refusal};

    fn verdict(topic: &str) -> Entry {
        let problem = Problem::titled("no").rule("rules:1").detail("x".repeat(1000));
        Verdict::new(5, Kind::Publish, Refusal::new(Reason::NOT_AUTHORIZED, problem), Some(topic)).into()
    }

    fn ended(from_ms: u64, reason: Reason) -> Entry {
        let mut entry = Entry::connected(from_ms, "3.1.1 from 127.0.0.1".to_owned(), SessionState::Resumed);
        if let Event::Connection(connection) = &mut entry.event {
            connection.end = Some(End { unix_ms: from_ms + 1, reason, detail: "so".to_owned() });
        }
        entry
    }

    #[test]
    fn a_line_survives_the_store() {
        let open = Entry::connected(7, "extended from ::1".to_owned(), SessionState::Expired);
        for mut entry in [verdict("a/b"), open, ended(7, Reason::SUCCESS), Entry::expired(9)] {
            entry.absorb(&entry.clone());
            assert_eq!(Entry::of_bytes(&entry.to_bytes()).as_ref(), Some(&entry));
        }
        assert_eq!(Entry::of_bytes(b"nonsense"), None);
    }

    #[test]
    fn what_is_said_again_stands_for_both() {
        let (first, mut again) = (ended(1, Reason::SUCCESS), ended(8, Reason::SUCCESS));
        assert!(again.is_like(&first) && !again.is_like(&ended(1, Reason::SERVER_BUSY)));
        again.absorb(&first);
        assert_eq!((again.since_ms, again.unix_ms(), again.count()), (1, 9, 2));
        let open = Entry::connected(1, "x".to_owned(), SessionState::New);
        assert!(!open.is_like(&open.clone()), "two connections that are open are two");
    }

    #[test]
    fn long_texts_are_cut_where_a_character_ends() {
        let Entry { event: Event::Verdict(verdict), .. } = verdict(&"ö".repeat(1000)) else { panic!("no verdict") };
        assert_eq!(verdict.topic.as_deref(), Some(&*format!("{}...", "ö".repeat(128))));
        assert_eq!(verdict.refusal.problem.detail.as_ref().map(String::len), Some(TEXT_LEN_MAX + 3));
    }
}
