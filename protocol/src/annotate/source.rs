//! Where a field or a rule is defined.

use std::fmt;

/// Where a field or a rule is defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A section of MQTT 3.1, for the little that 3.1.1 took away.
    Mqtt31(&'static str),
    /// A section of MQTT 3.1.1.
    Mqtt(&'static str),
    /// A statement of MQTT 3.1.1, without its brackets.
    Statement(&'static str),
    /// A section of this draft.
    Draft(Section),
    /// A section of an RFC.
    Rfc(u16, &'static str),
}

/// A section of this draft that defines fields or rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    Negotiation,
    Subscriptions,
    Reasons,
    Dictionary,
    PacketKeys,
    MessageKeys,
    Problem,
    Profile,
    Notice,
    Sessions,
}

impl Section {
    pub const ALL: [Section; 10] = [
        Section::Negotiation,
        Section::Subscriptions,
        Section::Reasons,
        Section::Dictionary,
        Section::PacketKeys,
        Section::MessageKeys,
        Section::Problem,
        Section::Profile,
        Section::Notice,
        Section::Sessions,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Section::Negotiation => "negotiation",
            Section::Subscriptions => "subscriptions",
            Section::Reasons => "reasons",
            Section::Dictionary => "dictionary",
            Section::PacketKeys => "packet keys",
            Section::MessageKeys => "message keys",
            Section::Problem => "problem",
            Section::Profile => "profile",
            Section::Notice => "notice",
            Section::Sessions => "sessions",
        }
    }
}

impl Source {
    /// The source in at most 20 characters, for a column: `MQTT §3.3.1`, `[MQTT-3.8.3-3]`, `draft, dictionary`.
    pub fn short(self) -> String {
        match self {
            Source::Mqtt31(section) => format!("MQTT 3.1 §{section}"),
            Source::Mqtt(section) => format!("MQTT §{section}"),
            Source::Statement(statement) => format!("[{statement}]"),
            Source::Draft(section) => format!("draft, {}", section.name()),
            Source::Rfc(number, section) => format!("RFC {number} §{section}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Mqtt31(section) => write!(f, "MQTT 3.1, section {section}"),
            Source::Mqtt(section) => write!(f, "MQTT 3.1.1, section {section}"),
            Source::Statement(statement) => write!(f, "MQTT 3.1.1, [{statement}]"),
            Source::Draft(section) => write!(f, "this draft, section {}", section.name()),
            Source::Rfc(number, section) => write!(f, "RFC {number}, section {section}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_said_in_full_and_in_short() {
        let said = |source: Source| (source.to_string(), source.short());
        assert_eq!(said(Source::Mqtt("3.3.1")), ("MQTT 3.1.1, section 3.3.1".into(), "MQTT §3.3.1".into()));
        assert_eq!(said(Source::Statement("MQTT-3.8.3-3")), ("MQTT 3.1.1, [MQTT-3.8.3-3]".into(), "[MQTT-3.8.3-3]".into()));
        for section in Section::ALL {
            let source = Source::Draft(section);
            assert_eq!(source.to_string(), format!("this draft, section {}", section.name()));
            assert!(source.short().len() <= 20, "{}", source.short());
        }
    }
}
