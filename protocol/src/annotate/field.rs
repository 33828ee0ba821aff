//! The fields of the packets, written once: the standard's term and where it is defined.

use super::source::{Section, Source};
use crate::packet::kind::Kind;

/// A field of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The standard's term.
    pub name: &'static str,
    pub source: Source,
    /// The statement of MQTT 3.1.1 that text which is not well-formed breaks here; empty: the general one.
    pub text_rule: &'static str,
}

impl Field {
    /// The field under the number that `items` and the other packet of the exchange know it by.
    pub(super) fn numbered(&self, index: usize) -> String {
        format!("{} {index}", self.name)
    }
}

macro_rules! fields {
    ($($name:ident $text:literal $source:ident($section:expr) $($rule:literal)?;)*) => {
        $(pub(super) const $name: Field =
            Field { name: $text, source: Source::$source($section), text_rule: concat!($($rule)?) };)*
        /// Every field of every packet.
        pub const FIELDS: &[Field] = &[$($name),*];
    };
}

fields! {
    PACKET_TYPE "MQTT Control Packet type" Mqtt("2.2.1");
    RESERVED "Reserved" Mqtt("2.2.2");
    DUP_31 "DUP flag" Mqtt31("2.1");
    REMAINING_LENGTH "Remaining Length" Mqtt("2.2.3");

    PROTOCOL_NAME "Protocol Name" Mqtt("3.1.2.1");
    PROTOCOL_LEVEL "Protocol Level" Mqtt("3.1.2.2");
    CONNECT_FLAGS "Connect Flags" Mqtt("3.1.2.3");
    USER_NAME_FLAG "User Name Flag" Mqtt("3.1.2.8");
    PASSWORD_FLAG "Password Flag" Mqtt("3.1.2.9");
    WILL_RETAIN "Will Retain" Mqtt("3.1.2.7");
    WILL_QOS "Will QoS" Mqtt("3.1.2.6");
    WILL_FLAG "Will Flag" Mqtt("3.1.2.5");
    CLEAN_SESSION "Clean Session" Mqtt("3.1.2.4");
    KEEP_ALIVE "Keep Alive" Mqtt("3.1.2.10");
    CLIENT_IDENTIFIER "Client Identifier" Mqtt("3.1.3.1") "MQTT-3.1.3-4";
    WILL_TOPIC "Will Topic" Mqtt("3.1.3.2") "MQTT-3.1.3-10";
    WILL_MESSAGE "Will Message" Mqtt("3.1.3.3");
    USER_NAME "User Name" Mqtt("3.1.3.4") "MQTT-3.1.3-11";
    PASSWORD "Password" Mqtt("3.1.3.5");

    CONNACK_FLAGS "Connect Acknowledge Flags" Mqtt("3.2.2.1");
    SESSION_PRESENT "Session Present" Mqtt("3.2.2.2");
    CONNECT_RETURN_CODE "Connect Return code" Mqtt("3.2.2.3");

    DUP "DUP flag" Mqtt("3.3.1.1");
    QOS_LEVEL "QoS level" Mqtt("3.3.1.2");
    RETAIN "RETAIN" Mqtt("3.3.1.3");
    TOPIC_NAME "Topic Name" Mqtt("3.3.2.1") "MQTT-3.3.2-1";
    PAYLOAD "Payload" Mqtt("3.3.3");

    SUBSCRIBE_FILTER "Topic Filter" Mqtt("3.8.3") "MQTT-3.8.3-1";
    REQUESTED_QOS "Requested QoS" Mqtt("3.8.3");
    RETURN_CODE "Return Code" Mqtt("3.9.3");
    UNSUBSCRIBE_FILTER "Topic Filter" Mqtt("3.10.3") "MQTT-3.10.3-1";

    REASON "Reason" Draft(Section::Reasons);
    DICTIONARY_LENGTH "Dictionary Length" Draft(Section::Dictionary);
    DICTIONARY "Dictionary" Draft(Section::Dictionary);
    MESSAGE_MAP "Message Map" Draft(Section::MessageKeys);
    OFFER "Offer" Draft(Section::Negotiation);
    NONCE "Nonce" Draft(Section::Negotiation);
    CLIENT_HASH "Hash of the Client Identifier" Draft(Section::Negotiation);
    OFFERED "Offered Dictionary" Draft(Section::Negotiation);
    ACCEPT "Accept" Draft(Section::Negotiation);
    TRANSCRIPT_HASH "Hash of CONNECT and offer" Draft(Section::Negotiation);
    ACCEPT_FLAGS "Accept Flags" Draft(Section::Negotiation);
}

/// Where the packet type's own first byte is defined, and its packet identifier, if it has one.
pub(super) const fn sections(kind: Kind) -> (Source, Source) {
    use Source::Mqtt;
    match kind {
        Kind::Connect => (Mqtt("3.1.1"), Mqtt("2.3.1")),
        Kind::ConnAck => (Mqtt("3.2.1"), Mqtt("2.3.1")),
        Kind::Publish => (Mqtt("3.3.1"), Mqtt("3.3.2.2")),
        Kind::PubAck => (Mqtt("3.4.1"), Mqtt("3.4.2")),
        Kind::PubRec => (Mqtt("3.5.1"), Mqtt("3.5.2")),
        Kind::PubRel => (Mqtt("3.6.1"), Mqtt("3.6.2")),
        Kind::PubComp => (Mqtt("3.7.1"), Mqtt("3.7.2")),
        Kind::Subscribe => (Mqtt("3.8.1"), Mqtt("3.8.2")),
        Kind::SubAck => (Mqtt("3.9.1"), Mqtt("3.9.2")),
        Kind::Unsubscribe => (Mqtt("3.10.1"), Mqtt("3.10.2")),
        Kind::UnsubAck => (Mqtt("3.11.1"), Mqtt("3.11.2")),
        Kind::PingReq => (Mqtt("3.12.1"), Mqtt("2.3.1")),
        Kind::PingResp => (Mqtt("3.13.1"), Mqtt("2.3.1")),
        Kind::Disconnect => (Mqtt("3.14.1"), Mqtt("2.3.1")),
        Kind::Notice => (Source::Draft(Section::Notice), Mqtt("2.3.1")),
    }
}

/// The return codes of a 3.1.1 CONNACK, by number (table 3.1).
pub(super) const CONNECT_RETURN_CODES: [&str; 6] = [
    "Connection Accepted",
    "Connection Refused, unacceptable protocol version",
    "Connection Refused, identifier rejected",
    "Connection Refused, Server unavailable",
    "Connection Refused, bad user name or password",
    "Connection Refused, not authorized",
];

/// The return codes of a 3.1.1 SUBACK (section 3.9.3).
pub(super) const SUBACK_RETURN_CODES: [(u8, &str); 4] =
    [(0x00, "Success: maximum QoS 0"), (0x01, "Success: maximum QoS 1"), (0x02, "Success: maximum QoS 2"), (0x80, "Failure")];

/// What each QoS promises (section 4.3).
pub(super) const QOS_WORDS: [&str; 3] = ["at most once", "at least once", "exactly once"];
