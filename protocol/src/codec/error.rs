//! What is wrong with bytes that are not a packet.

use super::dictionary::BadDictionary;
use crate::packet::reason::Reason;
use crate::packet::topic::InvalidTopic;
use std::fmt;

/// The most topic filters of one packet. A filter takes a hundred times as long to read as its bytes take to come, so that a bound on
/// bytes alone would let one packet occupy its receiver for long.
pub const FILTERS_MAX: usize = 65_535;

/// Why bytes are not a packet: each variant is one cause. The connection they came on is closed
/// ([MQTT-4.8.0-1]); [`Malformed::reason`] is what an extended peer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// The packet type 0, or one that this dialect does not have.
    PacketType(u8),
    /// The lower four bits of the first byte are not what the type demands ([MQTT-2.2.2-2]).
    Flags,
    /// Remaining Length has a fifth byte (section 2.2.3).
    RemainingLength,
    /// The packet is larger than the receiver takes.
    TooLarge { limit: u32, seen: u32 },
    /// A field ends behind the packet's end.
    Truncated,
    /// Bytes follow the last field.
    TrailingBytes,
    /// Text is not well-formed UTF-8 ([MQTT-1.5.3-1]).
    NotUtf8,
    /// Text holds U+0000 ([MQTT-1.5.3-2]).
    Nul,
    /// A packet identifier of 0 ([MQTT-2.3.1-1]).
    PacketIdentifierZero,
    /// QoS 3 ([MQTT-3.3.1-4], [MQTT-3-8.3-4]).
    QosThree,
    /// DUP on QoS 0 ([MQTT-3.3.1-2]).
    DupOnQosZero,
    /// A topic name or topic filter breaks section 4.7.
    Topic(InvalidTopic),
    /// SUBSCRIBE or UNSUBSCRIBE without a topic filter ([MQTT-3.8.3-3], [MQTT-3.10.3-2]).
    NoTopicFilter,
    /// SUBSCRIBE or UNSUBSCRIBE with more topic filters than [`FILTERS_MAX`].
    TooManyFilters,
    /// Reserved bits of a requested QoS are set ([MQTT-3-8.3-4]).
    RequestedQosBits,
    /// The reserved flag of CONNECT is set ([MQTT-3.1.2-3]).
    ConnectReservedFlag,
    /// Will QoS or will retain without a will, or will QoS 3 ([MQTT-3.1.2-13] to [MQTT-3.1.2-15]).
    WillFlags,
    /// A password flag without a user name flag ([MQTT-3.1.2-22]).
    PasswordWithoutUserName,
    /// Reserved bits of CONNACK's flags are set.
    ConnAckFlags,
    /// A return code that 3.1.1 does not have.
    ReturnCode(u8),
    /// The reason may not stand in this packet.
    ReasonNotAllowed(u8),
    /// The dictionary is not one.
    Dictionary(BadDictionary),
    /// The protocol name is none that this receiver knows ([MQTT-3.1.2-1]).
    ProtocolName,
}

impl Malformed {
    /// The statement of MQTT 3.1.1 that is broken; empty where the rule is our own.
    pub const fn statement(self) -> &'static str {
        match self {
            Self::PacketType(_) | Self::RemainingLength | Self::TooLarge { .. } | Self::ConnAckFlags => "",
            // In SUBACK it is MQTT-3.9.3-2; for CONNACK the standard has no statement.
            Self::ReturnCode(_) => "",
            Self::Flags => "MQTT-2.2.2-2",
            Self::Truncated | Self::TrailingBytes => "MQTT-4.8.0-1",
            Self::NotUtf8 => "MQTT-1.5.3-1",
            Self::Nul => "MQTT-1.5.3-2",
            Self::PacketIdentifierZero => "MQTT-2.3.1-1",
            Self::QosThree => "MQTT-3.3.1-4",
            Self::DupOnQosZero => "MQTT-3.3.1-2",
            Self::Topic(topic) => topic.statement(),
            Self::NoTopicFilter => "MQTT-3.8.3-3",
            Self::RequestedQosBits => "MQTT-3-8.3-4",
            Self::ConnectReservedFlag => "MQTT-3.1.2-3",
            Self::WillFlags => "MQTT-3.1.2-13",
            Self::PasswordWithoutUserName => "MQTT-3.1.2-22",
            Self::ProtocolName => "MQTT-3.1.2-1",
            Self::ReasonNotAllowed(_) | Self::Dictionary(_) | Self::TooManyFilters => "",
        }
    }

    /// The reason that an extended peer is told before the close.
    pub const fn reason(self) -> Reason {
        match self {
            Self::TooLarge { .. } | Self::TooManyFilters | Self::Dictionary(BadDictionary::TooLong) => Reason::PACKET_TOO_LARGE,
            Self::Topic(_) | Self::ReasonNotAllowed(_) => Reason::PROTOCOL_ERROR,
            _ => Reason::MALFORMED_PACKET,
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PacketType(n) => write!(f, "packet type {n} does not exist here"),
            Self::Flags => f.write_str("the flags in the first byte are not those of the packet type"),
            Self::RemainingLength => f.write_str("Remaining Length has more than four bytes"),
            Self::TooLarge { limit, seen } => write!(f, "the packet has {seen} bytes, more than the {limit} that are taken"),
            Self::Truncated => f.write_str("a field ends behind the end of the packet"),
            Self::TrailingBytes => f.write_str("bytes follow the last field of the packet"),
            Self::NotUtf8 => f.write_str("text is not well-formed UTF-8"),
            Self::Nul => f.write_str("text holds the character U+0000"),
            Self::PacketIdentifierZero => f.write_str("the packet identifier is 0"),
            Self::QosThree => f.write_str("the QoS is 3"),
            Self::DupOnQosZero => f.write_str("DUP is set on QoS 0"),
            Self::Topic(topic) => write!(f, "the topic is not valid: {topic}"),
            Self::NoTopicFilter => f.write_str("there is no topic filter"),
            Self::TooManyFilters => write!(f, "the packet has more than {FILTERS_MAX} topic filters"),
            Self::RequestedQosBits => f.write_str("reserved bits of a requested QoS are set, or it is 3"),
            Self::ConnectReservedFlag => f.write_str("the reserved CONNECT flag is set"),
            Self::WillFlags => f.write_str("the will flags of CONNECT contradict each other"),
            Self::PasswordWithoutUserName => f.write_str("CONNECT has a password and no user name"),
            Self::ConnAckFlags => f.write_str("reserved CONNACK flags are set"),
            Self::ReturnCode(code) => write!(f, "0x{code:02X} is not a return code of this packet"),
            Self::ReasonNotAllowed(code) => write!(f, "the reason 0x{code:02X} may not stand in this packet"),
            Self::Dictionary(error) => error.fmt(f),
            Self::ProtocolName => f.write_str("the protocol name is not known"),
        }?;
        match self.statement() {
            "" => Ok(()),
            statement => write!(f, " [{statement}]"),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<BadDictionary> for Malformed {
    fn from(error: BadDictionary) -> Self {
        Self::Dictionary(error)
    }
}

impl From<InvalidTopic> for Malformed {
    fn from(error: InvalidTopic) -> Self {
        match error {
            InvalidTopic::NotUtf8 => Self::NotUtf8,
            InvalidTopic::Nul => Self::Nul,
            other => Self::Topic(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_cited_only_where_it_is_the_one_that_is_broken() {
        assert_eq!(Malformed::QosThree.to_string(), "the QoS is 3 [MQTT-3.3.1-4]");
        // The same cause stands for a bad CONNACK, about which 3.9.3-2 says nothing.
        assert_eq!(Malformed::ReturnCode(6).to_string(), "0x06 is not a return code of this packet");
    }
}
