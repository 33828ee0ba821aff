//! What a data directory holds, for people and programs: read, never written; also while a broker runs on it.

use super::embedded::Image;
use super::files::{Directory, Files};
use super::log::{self, Recovery};
use super::record::Record;
use super::state::{Fact, KeptSession, Progress};
use super::{MessageNumber, StoreError};
use candor_protocol::annotate::instant;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// How often it is read again when a running broker takes a segment away meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order of their client identifiers.
    pub sessions: Vec<SessionReport>,
    pub messages: u64,
    pub retained: u64,
    pub wills: u64,
    /// Clients that have not been told why their session is gone.
    pub ended: u64,
    pub segments: u64,
    pub bytes: u64,
    /// Bytes of what is owed.
    pub owed_bytes: u64,
    /// Bytes at the end that nobody was told were kept.
    pub torn_bytes: u64,
    pub damages: Vec<String>,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReport {
    pub client_id: String,
    pub principal: String,
    /// A connection held it when the last record was written.
    pub is_attached: bool,
    /// When it ends, in milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
    pub subscriptions: u64,
    pub owed: u64,
    /// Of those, sent and not acknowledged.
    pub in_flight: u64,
    /// When the oldest message was received, in milliseconds since 1970, if that is known.
    pub oldest_ms: Option<u64>,
    pub dropped: u64,
}

/// Reads a directory.
///
/// # Errors
/// It cannot be read, or is of a format that is not known. Damage is no error here, but told in the report.
pub fn inspect(directory: impl AsRef<Path>) -> Result<Report, StoreError> {
    let path = directory.as_ref();
    let files = Directory::existing(path);
    let mut files = files.map_err(|error| StoreError::Failed { file: path.display().to_string(), what: error.to_string() })?;
    Report::of(&mut files)
}

impl Report {
    /// As [`inspect`], from any files.
    ///
    /// # Errors
    /// As [`inspect`].
    pub fn of(files: &mut impl Files) -> Result<Self, StoreError> {
        let mut attempts = 1;
        loop {
            let mut reading = Reading { image: Image::replaying(), received: HashMap::new() };
            match log::recover(files, &mut reading) {
                Ok(recovery) => return Ok(reading.report(recovery)),
                Err(error) if attempts == ATTEMPTS_MAX => return Err(error),
                Err(_) => attempts += 1,
            }
        }
    }

    pub fn to_json(&self) -> Value {
        let sessions: Vec<Value> = self.sessions.iter().map(SessionReport::to_json).collect();
        json!({
            "sessions": sessions, "messages": self.messages, "retained": self.retained, "wills": self.wills, "ended": self.ended,
            "segments": self.segments, "bytes": self.bytes, "owed_bytes": self.owed_bytes, "torn_bytes": self.torn_bytes,
            "damages": self.damages,
        })
    }
}

impl SessionReport {
    fn to_json(&self) -> Value {
        json!({
            "client_id": self.client_id, "principal": self.principal, "attached": self.is_attached, "expires_at_ms": self.expires_at_ms,
            "subscriptions": self.subscriptions, "owed": self.owed, "in_flight": self.in_flight, "oldest_ms": self.oldest_ms,
            "dropped": self.dropped,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "segments  {:>12}   bytes   {:>14}   owed bytes {:>14}", self.segments, self.bytes, self.owed_bytes)?;
        writeln!(f, "messages  {:>12}   retained {:>13}   wills      {:>14}", self.messages, self.retained, self.wills)?;
        if self.torn_bytes > 0 {
            writeln!(
                f,
                "{} bytes at the end were being written when the broker ended; nobody was told that they are kept",
                self.torn_bytes
            )?;
        }
        self.damages.iter().try_for_each(|damage| writeln!(f, "DAMAGED   {damage}"))?;
        if self.sessions.is_empty() {
            return writeln!(f, "no sessions");
        }
        let wide = self.sessions.iter().map(|session| session.client_id.chars().count()).max().unwrap_or(0).clamp(6, 40);
        writeln!(f, "\n{:wide$}  {:>8}  {:>9}  {:>7}  {:>24}  {:>6}  state", "client", "owed", "in flight", "dropped", "oldest", "subs")?;
        for session in &self.sessions {
            let oldest = session.oldest_ms.map_or("-".to_owned(), instant);
            let state = match (session.is_attached, session.expires_at_ms) {
                (true, _) => "attached".to_owned(),
                (false, None) => "parked".to_owned(),
                (false, Some(at)) => format!("parked until {}", instant(at)),
            };
            let SessionReport { client_id, owed, in_flight, dropped, subscriptions, .. } = session;
            // A name is somebody else's text.
            let client_id: String = client_id.chars().map(|c| if c.is_control() { '.' } else { c }).collect();
            writeln!(f, "{client_id:wide$}  {owed:>8}  {in_flight:>9}  {dropped:>7}  {oldest:>24}  {subscriptions:>6}  {state}")?;
        }
        Ok(())
    }
}

/// Reads a log, and notes when messages were received.
struct Reading {
    image: Image,
    received: HashMap<MessageNumber, u64>,
}

impl log::Found for Reading {
    fn frame(&mut self, segment: u64, offset: u64, payload: &[u8]) -> Result<(), (usize, &'static str)> {
        use super::codec::{Cursor, Entry, decode};
        let (mut cursor, mut time) = (Cursor::new(payload), None);
        while let Ok((entry, _)) = decode(&mut cursor) {
            match entry {
                Entry::Fact(Fact::Time(unix_ms)) => time = Some(unix_ms).filter(|unix_ms| *unix_ms > 0),
                Entry::Step(Record::Message { message, envelope, .. }) => {
                    let stamped = envelope.stamps.map(|stamps| stamps.received_at_ms);
                    if let Some(at_ms) = stamped.or(time) {
                        self.received.insert(message, at_ms);
                    }
                }
                _ => {}
            }
        }
        self.image.frame(segment, offset, payload)
    }
}

impl Reading {
    fn report(mut self, recovery: Recovery) -> Report {
        let missing = self.image.end_replay(recovery.numbers);
        let state = &self.image.state;
        let mut damages: Vec<String> = recovery.damages.iter().map(ToString::to_string).collect();
        if !missing.is_empty() {
            damages.push(format!("{} messages that are owed are missing", missing.len()));
        }
        let mut sessions: Vec<_> = state.sessions.values().map(|kept| self.session(kept)).collect();
        sessions.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        Report {
            sessions,
            messages: state.references.len() as u64,
            retained: state.retained.len() as u64,
            wills: state.wills.len() as u64,
            ended: state.ended.len() as u64,
            segments: recovery.segments.len() as u64,
            bytes: recovery.segments.iter().map(|segment| segment.len).sum(),
            owed_bytes: self.image.owed_bytes(),
            torn_bytes: recovery.torn_bytes,
            damages,
        }
    }

    fn session(&self, kept: &KeptSession) -> SessionReport {
        SessionReport {
            client_id: kept.client_id.to_string(),
            principal: kept.principal.to_string(),
            is_attached: kept.is_attached,
            expires_at_ms: kept.expires_at_ms,
            subscriptions: kept.subscriptions.len() as u64,
            owed: kept.owed.len() as u64,
            in_flight: kept.owed.iter().filter(|owed| owed.progress != Progress::Waiting).count() as u64,
            oldest_ms: kept.owed.iter().filter_map(|owed| self.received.get(&owed.body).copied()).min(),
            dropped: kept.gap.values().sum(),
        }
    }
}
