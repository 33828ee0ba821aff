//! What is wrong with a packet: the causes, the statement each breaks, and what would have been right.

use super::source::{Section, Source};
use crate::codec::dictionary::BadDictionary;
use crate::codec::error::Malformed;
use crate::packet::kind::Kind;
use crate::packet::reason::Reason;
use crate::packet::topic::InvalidTopic;

/// What is wrong with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not a packet; the receiver closes the connection.
    Malformed(Malformed),
    /// The protocol name is known, its level is not served: CONNACK 0x01, then close ([MQTT-3.1.2-2]).
    UnsupportedLevel(u8),
    /// The packet is well formed, and its receiver refuses it, or a part of it, with this reason; in the plain dialect
    /// by a close, or by the return code that stands for it.
    Refused(Reason),
    /// The bytes end before the packet does. `missing` is the number of bytes still to come, 1 at least; `None` where
    /// Remaining Length is itself incomplete.
    Incomplete { missing: Option<usize> },
}

impl Fault {
    /// The heading that output puts over it.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Malformed(_) => "malformed",
            Fault::UnsupportedLevel(_) => "unsupported",
            Fault::Refused(_) => "refused",
            Fault::Incomplete { .. } => "incomplete",
        }
    }

    /// Whether the bytes are not a packet that the dialect has.
    pub const fn is_malformed(self) -> bool {
        matches!(self, Fault::Malformed(_) | Fault::UnsupportedLevel(_))
    }
}

/// One sentence without the statement that [`Malformed`]'s own text ends in: the source says it.
pub(super) fn what(error: Malformed) -> String {
    let text = error.to_string();
    match text.rsplit_once(" [") {
        Some((what, _)) if !error.statement().is_empty() => what.to_owned(),
        _ => text,
    }
}

/// The rule that `error` breaks in a packet of this type: the most particular one there is.
pub(super) fn rule(kind: Option<Kind>, error: Malformed) -> Source {
    use Source::{Draft, Mqtt, Statement};
    match (error, kind) {
        (Malformed::PacketType(_), _) => Mqtt("2.2.1"),
        (Malformed::RemainingLength | Malformed::TooLarge { .. }, _) => Mqtt("2.2.3"),
        (Malformed::Flags, Some(Kind::PubRel)) => Statement("MQTT-3.6.1-1"),
        (Malformed::Flags, Some(Kind::Subscribe)) => Statement("MQTT-3.8.1-1"),
        (Malformed::Flags, Some(Kind::Unsubscribe)) => Statement("MQTT-3.10.1-1"),
        (Malformed::Flags, Some(Kind::Disconnect)) => Statement("MQTT-3.14.1-1"),
        (Malformed::NoTopicFilter, Some(Kind::Unsubscribe)) => Statement("MQTT-3.10.3-2"),
        (Malformed::Topic(InvalidTopic::WildcardInName), Some(Kind::Publish)) => Statement("MQTT-3.3.2-2"),
        (Malformed::ConnAckFlags, _) => Mqtt("3.2.2.1"),
        (Malformed::ReturnCode(_), Some(Kind::ConnAck)) => Mqtt("3.2.2.3"),
        (Malformed::ReturnCode(_), Some(Kind::SubAck)) => Statement("MQTT-3.9.3-2"),
        (Malformed::Topic(InvalidTopic::BadShare), _) => Draft(Section::Subscriptions),
        (Malformed::TooManyFilters, _) => Draft(Section::Subscriptions),
        (Malformed::ReasonNotAllowed(_), _) => Draft(Section::Reasons),
        (Malformed::Dictionary(error), _) => dictionary_rule(error),
        _ => Statement(error.statement()),
    }
}

fn dictionary_rule(error: BadDictionary) -> Source {
    match error {
        BadDictionary::NotShortest | BadDictionary::IndefiniteLength | BadDictionary::KeysNotAscending => Source::Rfc(8949, "4.2.1"),
        BadDictionary::DuplicateKey => Source::Rfc(8949, "5.6"),
        BadDictionary::NotUtf8 => Source::Rfc(8949, "5.3.1"),
        _ => Source::Draft(Section::Dictionary),
    }
}

/// What would have been right, where the place does not know it better.
pub(super) fn expected(error: Malformed) -> &'static str {
    match error {
        Malformed::PacketType(_) => "1 to 14, and 15 (NOTICE) in the extended dialect",
        Malformed::Flags => "the four bits that table 2.2 fixes for this packet type",
        Malformed::RemainingLength => "at most four bytes, the last of them below 0x80",
        Malformed::TooLarge { .. } => "a packet that is not larger than its receiver takes",
        Malformed::Truncated => "fields that end within Remaining Length",
        Malformed::TrailingBytes => "the end of the packet",
        Malformed::NotUtf8 => "well-formed UTF-8, without surrogates",
        Malformed::Nul => "text without the character U+0000",
        Malformed::PacketIdentifierZero => "1 to 65535",
        Malformed::QosThree => "0, 1 or 2",
        Malformed::DupOnQosZero => "DUP 0, since a message at QoS 0 is never sent again",
        Malformed::Topic(topic) => expected_topic(topic),
        Malformed::NoTopicFilter => "at least one topic filter",
        Malformed::TooManyFilters => "at most 65535 topic filters",
        Malformed::RequestedQosBits => "0x00, 0x01 or 0x02",
        Malformed::ConnectReservedFlag => "0",
        Malformed::WillFlags => "Will QoS 0 to 2; without the Will Flag, Will QoS 0 and Will Retain 0",
        Malformed::PasswordWithoutUserName => "a user name wherever there is a password",
        Malformed::ConnAckFlags => "0x00 or 0x01",
        Malformed::ReturnCode(_) => "a return code that the packet has",
        Malformed::ReasonNotAllowed(_) => "a reason that this packet may carry",
        Malformed::Dictionary(error) => expected_dictionary(error),
        Malformed::ProtocolName => "the protocol name of a dialect that is served",
    }
}

pub(super) fn expected_topic(error: InvalidTopic) -> &'static str {
    match error {
        InvalidTopic::Empty => "at least one character",
        InvalidTopic::TooLong => "at most 65535 bytes",
        InvalidTopic::Nul => "text without the character U+0000",
        InvalidTopic::NotUtf8 => "well-formed UTF-8, without surrogates",
        InvalidTopic::WildcardInName => "a topic name; `+` and `#` belong in topic filters",
        InvalidTopic::MisplacedHash => "`#` alone, or `/#` at the end",
        InvalidTopic::MisplacedPlus => "`+` between two `/`, or at an end",
        InvalidTopic::BadShare => "$share/GROUP/FILTER",
    }
}

fn expected_dictionary(error: BadDictionary) -> &'static str {
    match error {
        BadDictionary::Length => "a length of at most four bytes",
        BadDictionary::Truncated => "items that end within the dictionary's length",
        BadDictionary::TrailingBytes => "the end of the dictionary",
        BadDictionary::NotAMap => "a CBOR map: a first byte of 0xA1 to 0xBB",
        BadDictionary::EmptyMap => "length 0 and no map, or a map with an entry",
        BadDictionary::TooLong => "16384 bytes at most, unless more was agreed",
        BadDictionary::TooDeep => "8 maps and arrays inside each other at most, the dictionary counted, and none as a key",
        BadDictionary::IndefiniteLength => "a length in the item's head",
        BadDictionary::NotShortest => "the shortest form that keeps the value",
        BadDictionary::Tag => "the item without its tag",
        BadDictionary::BadSimple => "false, true, null or a float",
        BadDictionary::BadKey => "an integer of 64 bits with sign, or text",
        BadDictionary::DuplicateKey => "every key once",
        BadDictionary::KeysNotAscending => "keys in ascending order of their encoded bytes",
        BadDictionary::NotUtf8 => "well-formed UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_and_the_rule_are_told_apart() {
        assert_eq!(what(Malformed::QosThree), "the QoS is 3");
        assert_eq!(what(Malformed::PacketType(0)), "packet type 0 does not exist here");
        assert_eq!(rule(Some(Kind::PubRel), Malformed::Flags), Source::Statement("MQTT-3.6.1-1"));
        assert_eq!(rule(Some(Kind::PingReq), Malformed::Flags), Source::Statement("MQTT-2.2.2-2"));
        // A rule of our own has a section instead of a statement.
        assert_eq!(rule(None, Malformed::Dictionary(BadDictionary::Tag)), Source::Draft(Section::Dictionary));
    }
}
