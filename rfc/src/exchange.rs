//! A recorded exchange: the bytes that two ends really sent each other in a test, as a JSON file that any tool can read.
//! The format is described in `exchanges/README.md`; tests write them with a [`Recorder`](crate::recorder::Recorder).

use candor_protocol::dialect::Dialect;
use candor_protocol::packet::legality::Role;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// What two ends sent each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// The caption of the figure, without a full stop.
    pub title: String,
    /// The test that recorded it, as `module_path!()` and the function's name give it.
    pub test: String,
    pub steps: Vec<Step>,
}

/// One write of one end, or its closing of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub from: Side,
    /// How the bytes are to be read.
    pub dialect: Dialects,
    /// The bytes of one or several whole packets, two digits each; may be empty where the step closes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hex: String,
    /// Whether the end closes the connection, after the bytes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closes: bool,
    /// Milliseconds since the exchange began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// What the reader of the figure is told beside the packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The line above the arrow; made from the bytes where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What the bytes mean, in ascending order and without overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
}

/// What some bytes of a step mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Annotation {
    /// From the start of the step's bytes.
    pub offset: usize,
    /// At least 1.
    pub len: usize,
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Where the field is defined, as in `MQTT 3.1.1, section 3.3.1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Client,
    Server,
}

impl From<Role> for Side {
    fn from(role: Role) -> Self {
        match role {
            Role::Client => Side::Client,
            Role::Server => Side::Server,
        }
    }
}

impl Side {
    pub const fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }

    pub const fn role(self) -> Role {
        match self {
            Side::Client => Role::Client,
            Side::Server => Role::Server,
        }
    }

    pub const fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// A dialect by its name: `3.1`, `3.1.1` or `extended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects(pub Dialect);

impl Serialize for Dialects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for Dialects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let names = || Dialect::ALL.map(Dialect::name).join(", ");
        let found = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
        found.map(Dialects).ok_or_else(|| serde::de::Error::custom(format!("`{name}` is not a dialect; allowed: {}", names())))
    }
}

/// Why a file is not an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadExchange {
    /// It is not JSON of this form.
    Json(String),
    /// The title is empty or more than one line.
    Title,
    /// There is no step.
    NoSteps,
    /// A step, from 1, with what is wrong with it.
    Step { number: usize, what: BadStep },
}

/// Why a step is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadStep {
    /// The bytes are not an even number of hexadecimal digits.
    Hex,
    /// It neither holds bytes nor closes.
    Empty,
    /// It is earlier than the step before it.
    Earlier,
    /// An annotation, from 1, is empty, starts before the end of the one before it, or ends behind the bytes.
    Annotation(usize),
}

impl fmt::Display for BadExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "it is not an exchange: {error}"),
            Self::Title => f.write_str("its title is empty or more than one line"),
            Self::NoSteps => f.write_str("it has no steps"),
            Self::Step { number, what } => match what {
                BadStep::Hex => write!(f, "step {number}: `hex` is not an even number of hexadecimal digits"),
                BadStep::Empty => write!(f, "step {number}: it has no bytes and does not close"),
                BadStep::Earlier => write!(f, "step {number}: its `at_ms` is before that of an earlier step"),
                BadStep::Annotation(at) => {
                    write!(
                        f,
                        "step {number}: annotation {at} is empty, starts before the end of the one before it, or ends behind the bytes"
                    )
                }
            },
        }
    }
}

impl std::error::Error for BadExchange {}

impl Exchange {
    /// Reads an exchange and checks it.
    ///
    /// # Errors
    /// The first rule of the format that is broken.
    pub fn parse(json: &str) -> Result<Self, BadExchange> {
        let exchange: Exchange = serde_json::from_str(json).map_err(|error| BadExchange::Json(error.to_string()))?;
        exchange.check()?;
        Ok(exchange)
    }

    fn check(&self) -> Result<(), BadExchange> {
        if self.title.trim().is_empty() || self.title.contains('\n') {
            return Err(BadExchange::Title);
        }
        if self.steps.is_empty() {
            return Err(BadExchange::NoSteps);
        }
        let mut latest_ms = 0;
        for (at, step) in self.steps.iter().enumerate() {
            let bad = |what| BadExchange::Step { number: at + 1, what };
            step.check().map_err(bad)?;
            if step.at_ms.is_some_and(|at_ms| at_ms < latest_ms) {
                return Err(bad(BadStep::Earlier));
            }
            latest_ms = step.at_ms.unwrap_or(latest_ms);
        }
        Ok(())
    }

    /// The file's text.
    ///
    /// # Errors
    /// As [`Exchange::parse`].
    pub fn to_json(&self) -> Result<String, BadExchange> {
        self.check()?;
        serde_json::to_string_pretty(self).map(|json| json + "\n").map_err(|error| BadExchange::Json(error.to_string()))
    }
}

impl Step {
    /// The bytes; none where `hex` is not valid, which a checked exchange does not have.
    pub fn bytes(&self) -> Vec<u8> {
        of_hex(&self.hex).unwrap_or_default()
    }

    fn check(&self) -> Result<(), BadStep> {
        let len = of_hex(&self.hex).ok_or(BadStep::Hex)?.len();
        if len == 0 && !self.closes {
            return Err(BadStep::Empty);
        }
        let mut from = 0;
        for (at, one) in self.annotations.iter().enumerate() {
            let end = one.offset.checked_add(one.len).filter(|end| *end <= len);
            match end {
                Some(end) if one.len > 0 && one.offset >= from => from = end,
                _ => return Err(BadStep::Annotation(at + 1)),
            }
        }
        Ok(())
    }
}

fn of_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| if let [high, low] = pair { Some(digit(*high)? << 4 | digit(*low)?) } else { None }).collect()
}

impl Step {
    /// A step without bytes.
    pub fn new(from: Side, dialect: Dialect) -> Self {
        Self {
            from,
            dialect: Dialects(dialect),
            hex: String::new(),
            closes: false,
            at_ms: None,
            note: None,
            summary: None,
            annotations: Vec::new(),
        }
    }

    pub fn note(&mut self, note: &str) -> &mut Self {
        self.note = Some(note.to_owned());
        self
    }

    pub fn at_ms(&mut self, at_ms: u64) -> &mut Self {
        self.at_ms = Some(at_ms);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        Exchange::parse(json).unwrap_err().to_string()
    }

    fn with_steps(steps: &str) -> String {
        format!(r#"{{"title": "t", "test": "a::b", "steps": [{steps}]}}"#)
    }

    #[test]
    fn every_fault_of_an_exchange_has_its_own_message() {
        assert!(error("{").starts_with("it is not an exchange: EOF"));
        assert!(error(r#"{"title": "t", "test": "", "steps": [], "more": 1}"#).contains("unknown field `more`"));
        assert_eq!(error(r#"{"title": " ", "test": "", "steps": []}"#), "its title is empty or more than one line");
        assert_eq!(error(&with_steps("")), "it has no steps");
        let step = |rest: &str| error(&with_steps(&format!(r#"{{"from": "client", "dialect": "extended"{rest}}}"#)));
        assert_eq!(step(r#", "hex": "c0 00""#), "step 1: `hex` is not an even number of hexadecimal digits");
        assert_eq!(step(r#", "hex": "c00""#), "step 1: `hex` is not an even number of hexadecimal digits");
        assert_eq!(step(""), "step 1: it has no bytes and does not close");
        assert!(step(r#", "from": "nobody""#).contains("duplicate field `from`"));
        for bad in ["\"offset\": 1, \"len\": 2", "\"offset\": 0, \"len\": 0"] {
            let told = step(&format!(r#", "hex": "c000", "annotations": [{{{bad}, "name": "n"}}]"#));
            assert!(told.starts_with("step 1: annotation 1 is empty, starts before"), "{told}");
        }
        assert!(
            error(&with_steps(r#"{"from": "client", "dialect": "4", "closes": true}"#))
                .contains("`4` is not a dialect; allowed: 3.1, 3.1.1, extended")
        );
        let late = r#"{"from": "client", "dialect": "3.1.1", "closes": true, "at_ms": 5}, {"from": "client", "dialect": "3.1.1", "closes": true, "at_ms": 4}"#;
        assert_eq!(error(&with_steps(late)), "step 2: its `at_ms` is before that of an earlier step");
    }
}
