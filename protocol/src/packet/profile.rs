//! What a server declares that it keeps, and what a client requires, in words that a program can act on.

use super::property::Key;
use crate::codec::dictionary::{Dictionary, MapBuilder};
use std::fmt;
use std::str::FromStr;

/// What an acknowledged message, or the state of a session, survives. Ordered: each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Durability {
    /// Nothing: it is lost with the connection.
    #[default]
    None = 0,
    /// The connection; not the server's process.
    Memory = 1,
    /// The process and the power: it was fsynced.
    Disk = 2,
    /// The loss of a node.
    Quorum = 3,
}

impl Durability {
    pub const ALL: [Durability; 4] = [Durability::None, Durability::Memory, Durability::Disk, Durability::Quorum];

    pub const fn name(self) -> &'static str {
        match self {
            Durability::None => "none",
            Durability::Memory => "memory",
            Durability::Disk => "disk",
            Durability::Quorum => "quorum",
        }
    }

    pub fn of_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// What is left of it while a server's store keeps nothing: what needs no store stays.
    #[must_use]
    pub fn without_guarantee(self) -> Self {
        if self.outlives_process() { Durability::None } else { self }
    }

    /// Whether it needs more than the memory of a process.
    pub const fn outlives_process(self) -> bool {
        matches!(self, Durability::Disk | Durability::Quorum)
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Durability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|durability| durability.name() == text)
            .ok_or_else(|| format!("`{text}` is not a durability; allowed: none, memory, disk, quorum"))
    }
}

/// What happens to a message at a full queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Overflow {
    /// The oldest message of the queue is dropped, and the subscriber is told of the gap.
    #[default]
    DropOldest = 0,
    /// The new message is dropped for this subscriber, who is told of the gap.
    DropNewest = 1,
    /// The publisher is refused.
    RefusePublisher = 2,
    /// The acknowledgement waits until there is room.
    HoldBack = 3,
}

impl Overflow {
    pub const ALL: [Overflow; 4] = [Overflow::DropOldest, Overflow::DropNewest, Overflow::RefusePublisher, Overflow::HoldBack];

    pub const fn name(self) -> &'static str {
        match self {
            Overflow::DropOldest => "drop-oldest",
            Overflow::DropNewest => "drop-newest",
            Overflow::RefusePublisher => "refuse-publisher",
            Overflow::HoldBack => "hold-back",
        }
    }

    /// Whether a full queue is the publisher's to learn of, not its subscriber's.
    pub const fn tells_publishers(self) -> bool {
        matches!(self, Overflow::RefusePublisher | Overflow::HoldBack)
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a server declares. The default is a server that keeps nothing and serves everything else of 3.1.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    /// What an acknowledged message above QoS 0 survives.
    pub durability: Durability,
    /// What the state of a session survives.
    pub session_durability: Durability,
    pub qos_max: u8,
    pub retain: bool,
    pub will: bool,
    pub shared_subscriptions: bool,
    /// The longest time, in seconds, that a session is kept after its connection; 0: sessions end with it.
    pub session_expiry_s_max: u32,
    /// The longest time, in seconds, that a message is kept for an absent session.
    pub message_expiry_s_max: u32,
    /// The most messages that wait for one session.
    pub queue_len_max: u32,
    /// The most bytes that wait for one session.
    pub queue_bytes_max: u64,
    pub overflow: Overflow,
    /// Whether a will is published after a close that the server decided.
    pub will_on_server_close: bool,
    /// For how many milliseconds an acknowledgement can precede the guarantee; 0: never.
    pub loss_window_ms: u32,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            durability: Durability::None,
            session_durability: Durability::None,
            qos_max: 2,
            retain: true,
            will: true,
            shared_subscriptions: true,
            session_expiry_s_max: u32::MAX,
            message_expiry_s_max: u32::MAX,
            queue_len_max: 0,
            queue_bytes_max: 0,
            overflow: Overflow::DropOldest,
            will_on_server_close: true,
            loss_window_ms: 0,
        }
    }
}

/// One row of the table of profile clauses.
#[derive(Debug, Clone, Copy)]
pub struct ClauseInfo {
    pub number: i64,
    pub name: &'static str,
    pub meaning: &'static str,
    /// Whether a client may require it.
    pub requirable: bool,
}

const DURABILITY: Key<u64> = Key::new("durability", 0);
const SESSION_DURABILITY: Key<u64> = Key::new("session-durability", 2);
const QOS: Key<u64> = Key::new("maximum-qos", 4);
const RETAIN: Key<bool> = Key::new("retain", 6);
const WILL: Key<bool> = Key::new("will", 8);
const SHARED: Key<bool> = Key::new("shared-subscriptions", 10);
const SESSION_EXPIRY: Key<u64> = Key::new("session-expiry", 12);
const MESSAGE_EXPIRY: Key<u64> = Key::new("message-expiry", 14);
const QUEUE_LEN: Key<u64> = Key::new("queue-length", 16);
const QUEUE_BYTES: Key<u64> = Key::new("queue-bytes", 18);
const OVERFLOW: Key<u64> = Key::new("overflow", 20);
const WILL_ON_CLOSE: Key<bool> = Key::new("will-on-server-close", 22);
const LOSS_WINDOW: Key<u64> = Key::new("loss-window", 24);

macro_rules! clause {
    ($key:ident, $requirable:literal, $meaning:literal) => {
        ClauseInfo { number: $key.number, name: $key.name, meaning: $meaning, requirable: $requirable }
    };
}

/// The clauses of a profile, and of what a client requires.
pub const PROFILE_CLAUSES: &[ClauseInfo] = &[
    clause!(
        DURABILITY,
        true,
        "Unsigned integer: what an acknowledged message above QoS 0 survives; 0 nothing, 1 the connection (memory), 2 the process and the power (disk), 3 the loss of a node (quorum)."
    ),
    clause!(SESSION_DURABILITY, true, "Unsigned integer: what the state of a session survives, in the same numbers."),
    clause!(QOS, true, "Unsigned integer: the highest QoS that is served; 2 when absent."),
    clause!(RETAIN, true, "Boolean: whether retained messages are kept; true when absent."),
    clause!(WILL, true, "Boolean: whether wills are published; true when absent."),
    clause!(SHARED, true, "Boolean: whether $share/GROUP/FILTER is served; true when absent."),
    clause!(
        SESSION_EXPIRY,
        true,
        "Unsigned integer: the longest time in seconds that a session outlives its connection; unlimited when absent."
    ),
    clause!(
        MESSAGE_EXPIRY,
        true,
        "Unsigned integer: the longest time in seconds that a message is kept for an absent session; unlimited when absent."
    ),
    clause!(QUEUE_LEN, true, "Unsigned integer: the most messages that wait for one session."),
    clause!(QUEUE_BYTES, true, "Unsigned integer: the most bytes that wait for one session."),
    clause!(
        OVERFLOW,
        false,
        "Unsigned integer: what happens at a full queue; 0 the oldest message is dropped, 1 the newest, 2 the publisher is refused, 3 the acknowledgement waits."
    ),
    clause!(WILL_ON_CLOSE, false, "Boolean: whether a will is published after a close that the server decided; true when absent."),
    clause!(LOSS_WINDOW, false, "Unsigned integer: milliseconds by which an acknowledgement can precede the guarantee; 0 when absent."),
];

impl Profile {
    /// What is left of it while the server's store keeps nothing.
    #[must_use]
    pub fn without_guarantee(self) -> Self {
        Self { durability: self.durability.without_guarantee(), session_durability: self.session_durability.without_guarantee(), ..self }
    }

    /// As a subscription sees it: what is owed to a session survives what the session does.
    #[must_use]
    pub fn of_subscriptions(&self) -> Self {
        Self { durability: self.session_durability, ..self.clone() }
    }

    /// With clauses on sessions that fulfil whatever is required.
    #[must_use]
    pub fn with_any_session(self) -> Self {
        Self { session_durability: Durability::Quorum, session_expiry_s_max: u32::MAX, ..self }
    }

    pub fn to_dictionary(&self) -> Dictionary {
        let mut map = MapBuilder::new();
        map.set(DURABILITY, &(self.durability as u64)).set(SESSION_DURABILITY, &(self.session_durability as u64));
        // What has its default is left out; the meanings above say the defaults.
        if self.qos_max != 2 {
            map.set(QOS, &u64::from(self.qos_max));
        }
        for (key, value) in
            [(RETAIN, self.retain), (WILL, self.will), (SHARED, self.shared_subscriptions), (WILL_ON_CLOSE, self.will_on_server_close)]
        {
            if !value {
                map.set(key, &false);
            }
        }
        for (key, value) in [(SESSION_EXPIRY, self.session_expiry_s_max), (MESSAGE_EXPIRY, self.message_expiry_s_max)] {
            if value != u32::MAX {
                map.set(key, &u64::from(value));
            }
        }
        map.set(QUEUE_LEN, &u64::from(self.queue_len_max)).set(QUEUE_BYTES, &self.queue_bytes_max);
        map.set(OVERFLOW, &(self.overflow as u64));
        if self.loss_window_ms != 0 {
            map.set(LOSS_WINDOW, &u64::from(self.loss_window_ms));
        }
        map.finish()
    }

    pub fn of_dictionary(map: &Dictionary) -> Self {
        let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let durability = |key| map.value(key).and_then(Durability::of_number).unwrap_or_default();
        Self {
            durability: durability(DURABILITY),
            session_durability: durability(SESSION_DURABILITY),
            qos_max: map.value(QOS).map_or(2, |n: u64| n.min(2) as u8),
            retain: map.value(RETAIN).unwrap_or(true),
            will: map.value(WILL).unwrap_or(true),
            shared_subscriptions: map.value(SHARED).unwrap_or(true),
            session_expiry_s_max: map.value(SESSION_EXPIRY).map_or(u32::MAX, clamp),
            message_expiry_s_max: map.value(MESSAGE_EXPIRY).map_or(u32::MAX, clamp),
            queue_len_max: map.value(QUEUE_LEN).map_or(0, clamp),
            queue_bytes_max: map.value(QUEUE_BYTES).unwrap_or(0),
            overflow: map.value(OVERFLOW).and_then(|n| Overflow::ALL.get(n as usize).copied()).unwrap_or_default(),
            will_on_server_close: map.value(WILL_ON_CLOSE).unwrap_or(true),
            loss_window_ms: map.value(LOSS_WINDOW).map_or(0, clamp),
        }
    }
}

/// The least profile that a client accepts; what is `None` does not matter to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub durability: Option<Durability>,
    pub session_durability: Option<Durability>,
    pub qos_max: Option<u8>,
    pub retain: Option<bool>,
    pub will: Option<bool>,
    pub shared_subscriptions: Option<bool>,
    pub session_expiry_s: Option<u32>,
    pub message_expiry_s: Option<u32>,
    pub queue_len: Option<u32>,
    pub queue_bytes: Option<u64>,
}

/// A clause that a profile does not fulfil.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FailedClause {
    pub name: &'static str,
    pub required: String,
    pub available: String,
}

impl Requirement {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub fn to_dictionary(&self) -> Dictionary {
        let mut map = MapBuilder::new();
        map.set_some(DURABILITY, self.durability.map(|d| d as u64).as_ref());
        map.set_some(SESSION_DURABILITY, self.session_durability.map(|d| d as u64).as_ref());
        map.set_some(QOS, self.qos_max.map(u64::from).as_ref());
        map.set_some(RETAIN, self.retain.as_ref()).set_some(WILL, self.will.as_ref());
        map.set_some(SHARED, self.shared_subscriptions.as_ref());
        map.set_some(SESSION_EXPIRY, self.session_expiry_s.map(u64::from).as_ref());
        map.set_some(MESSAGE_EXPIRY, self.message_expiry_s.map(u64::from).as_ref());
        map.set_some(QUEUE_LEN, self.queue_len.map(u64::from).as_ref()).set_some(QUEUE_BYTES, self.queue_bytes.as_ref());
        map.finish()
    }

    /// Reads a requirement.
    ///
    /// # Errors
    /// The number of a clause that is not known, not requirable, or has a value of the wrong type: what is not
    /// understood cannot be promised.
    pub fn of_dictionary(map: &Dictionary) -> Result<Self, String> {
        let mut requirement = Self::default();
        for (key, value) in map.entries() {
            use crate::codec::dictionary::{Item, KeyRef};
            let KeyRef::Number(number) = key else { return Err(format!("{key:?}")) };
            let name =
                || PROFILE_CLAUSES.iter().find(|row| row.number == number).map_or_else(|| number.to_string(), |row| row.name.to_owned());
            let unsigned = || if let Item::Unsigned(n) = value { Ok(n) } else { Err(name()) };
            let boolean = || if let Item::Bool(b) = value { Ok(b) } else { Err(name()) };
            let short = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            let durability = |n| Durability::of_number(n).ok_or_else(name);
            match number {
                n if n == DURABILITY.number => requirement.durability = Some(durability(unsigned()?)?),
                n if n == SESSION_DURABILITY.number => requirement.session_durability = Some(durability(unsigned()?)?),
                n if n == QOS.number => requirement.qos_max = Some(u8::try_from(unsigned()?).unwrap_or(u8::MAX)),
                n if n == RETAIN.number => requirement.retain = Some(boolean()?),
                n if n == WILL.number => requirement.will = Some(boolean()?),
                n if n == SHARED.number => requirement.shared_subscriptions = Some(boolean()?),
                n if n == SESSION_EXPIRY.number => requirement.session_expiry_s = Some(short(unsigned()?)),
                n if n == MESSAGE_EXPIRY.number => requirement.message_expiry_s = Some(short(unsigned()?)),
                n if n == QUEUE_LEN.number => requirement.queue_len = Some(short(unsigned()?)),
                n if n == QUEUE_BYTES.number => requirement.queue_bytes = Some(unsigned()?),
                _ => return Err(name()),
            }
        }
        Ok(requirement)
    }

    /// Sets the clause `name` from text, as in `durability=disk`.
    ///
    /// # Errors
    /// A sentence that names the clauses, or the values, that are allowed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        fn number<T: FromStr>(name: &str, value: &str) -> Result<Option<T>, String> {
            value.parse().map(Some).map_err(|_| format!("`{name}` takes a whole number, not `{value}`"))
        }
        fn boolean(name: &str, value: &str) -> Result<Option<bool>, String> {
            value.parse().map(Some).map_err(|_| format!("`{name}` takes true or false, not `{value}`"))
        }
        match name {
            "durability" => self.durability = Some(value.parse()?),
            "session-durability" => self.session_durability = Some(value.parse()?),
            "maximum-qos" => self.qos_max = number(name, value)?,
            "retain" => self.retain = boolean(name, value)?,
            "will" => self.will = boolean(name, value)?,
            "shared-subscriptions" => self.shared_subscriptions = boolean(name, value)?,
            "session-expiry" => self.session_expiry_s = number(name, value)?,
            "message-expiry" => self.message_expiry_s = number(name, value)?,
            "queue-length" => self.queue_len = number(name, value)?,
            "queue-bytes" => self.queue_bytes = number(name, value)?,
            _ => {
                let names: Vec<_> = PROFILE_CLAUSES.iter().filter(|row| row.requirable).map(|row| row.name).collect();
                return Err(format!("`{name}` is not a clause that can be required; allowed: {}", names.join(", ")));
            }
        }
        Ok(())
    }

    /// The first clause that `profile` does not fulfil.
    pub fn failing(&self, profile: &Profile) -> Option<FailedClause> {
        fn check<T: PartialOrd + ToString>(name: &'static str, required: Option<T>, available: T) -> Option<FailedClause> {
            let required = required?;
            (required > available).then(|| FailedClause { name, required: required.to_string(), available: available.to_string() })
        }
        check(DURABILITY.name, self.durability, profile.durability)
            .or_else(|| check(SESSION_DURABILITY.name, self.session_durability, profile.session_durability))
            .or_else(|| check(QOS.name, self.qos_max, profile.qos_max))
            .or_else(|| check(RETAIN.name, self.retain, profile.retain))
            .or_else(|| check(WILL.name, self.will, profile.will))
            .or_else(|| check(SHARED.name, self.shared_subscriptions, profile.shared_subscriptions))
            .or_else(|| check(SESSION_EXPIRY.name, self.session_expiry_s, profile.session_expiry_s_max))
            .or_else(|| check(MESSAGE_EXPIRY.name, self.message_expiry_s, profile.message_expiry_s_max))
            .or_else(|| check(QUEUE_LEN.name, self.queue_len, profile.queue_len_max))
            .or_else(|| check(QUEUE_BYTES.name, self.queue_bytes, profile.queue_bytes_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_and_a_requirement_survive_the_wire() {
        let profile = Profile {
            durability: Durability::Memory,
            qos_max: 1,
            retain: false,
            queue_len_max: 1000,
            overflow: Overflow::RefusePublisher,
            session_expiry_s_max: 3600,
            ..Profile::default()
        };
        assert_eq!(Profile::of_dictionary(&profile.to_dictionary()), profile);
        let requirement =
            Requirement { durability: Some(Durability::Disk), will: Some(true), queue_len: Some(7), ..Requirement::default() };
        assert_eq!(Requirement::of_dictionary(&requirement.to_dictionary()), Ok(requirement));
    }

    #[test]
    fn the_failing_clause_is_named_with_both_values() {
        let profile = Profile { durability: Durability::Memory, ..Profile::default() };
        let mut requirement = Requirement::default();
        assert_eq!(requirement.failing(&profile), None);
        requirement.set("durability", "disk").unwrap();
        let failed = requirement.failing(&profile).unwrap();
        assert_eq!((failed.name, &*failed.required, &*failed.available), ("durability", "disk", "memory"));
        assert!(requirement.set("speed", "9").unwrap_err().contains("durability"));
        assert!(requirement.set("durability", "steel").unwrap_err().contains("none, memory, disk, quorum"));
    }

    #[test]
    fn what_is_not_understood_is_not_promised() {
        let mut map = MapBuilder::new();
        map.set(Key::<u64>::new("future clause", 99), &1);
        assert_eq!(Requirement::of_dictionary(&map.finish()), Err("99".to_owned()));
    }
}
