//! The reason table: every reason that a packet of ours can carry, written once.
//!
//! Numbers are those of MQTT 5 where the meaning is the same. 0x40 to 0x5F and 0xC0 to 0xD7 are this extension's own;
//! 0x60 to 0x6F and 0xD8 to 0xDF belong to experiments. A reason that a receiver does not know counts as 0x00 when it
//! is below 0x80, else as 0x80 ([`Reason::known_or_class`]).

use super::kind::{Kind, Kinds};
use std::fmt;

/// A reason code: an open number with a name where the table has one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(pub u8);

/// One row of the reason table.
#[derive(Debug, Clone, Copy)]
pub struct ReasonInfo {
    pub reason: Reason,
    /// The name in words, as the draft and all output print it.
    pub name: &'static str,
    /// The packets that may carry it.
    pub packets: Kinds,
    /// What it means, one sentence.
    pub meaning: &'static str,
    /// The return code of a 3.1.1 CONNACK that stands for it; `None`: none fits, the connection is closed without a
    /// CONNACK ([MQTT-3.2.2-6]). On other packets the lowering follows from the packet (see `dialect`).
    pub connack_v311: Option<u8>,
}

macro_rules! reasons {
    ($($name:ident = $code:literal $text:literal [$($kind:ident)*] connack $v311:expr; $meaning:literal)*) => {
        impl Reason {
            $(#[doc = $meaning] pub const $name: Reason = Reason($code);)*
        }
        /// Every reason, ascending by number.
        pub const REASONS: &[ReasonInfo] = &[
            $(ReasonInfo {
                reason: Reason($code), name: $text, packets: Kinds::of(&[$(Kind::$kind),*]),
                meaning: $meaning, connack_v311: $v311,
            }),*
        ];
    };
}

const CLOSE: Option<u8> = None;

reasons! {
    SUCCESS = 0x00 "success" [ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect] connack Some(0);
        "It was done; in SUBACK the subscription is granted at QoS 0, in DISCONNECT the will is dropped."
    GRANTED_QOS_1 = 0x01 "granted QoS 1" [SubAck] connack CLOSE;
        "The subscription is granted at QoS 1."
    GRANTED_QOS_2 = 0x02 "granted QoS 2" [SubAck] connack CLOSE;
        "The subscription is granted at QoS 2."
    DISCONNECT_WITH_WILL = 0x04 "disconnect with will message" [Disconnect] connack CLOSE;
        "The client leaves and wants its will to be published."
    NO_MATCHING_SUBSCRIBERS = 0x10 "no matching subscribers" [PubAck PubRec] connack CLOSE;
        "The message was accepted, and no subscription wanted it."
    NO_SUBSCRIPTION_EXISTED = 0x11 "no subscription existed" [UnsubAck] connack CLOSE;
        "There was no such subscription; nothing was changed."
    CONFIRM = 0x40 "confirm" [Notice] connack CLOSE;
        "The client read the accept; everything it sends from here on is extended."
    GAP = 0x41 "gap" [Notice] connack CLOSE;
        "Messages that were owed to this subscriber were dropped; the dictionary says how many and why."
    PROFILE_CHANGED = 0x42 "profile changed" [Notice] connack CLOSE;
        "What the server can keep has changed; the dictionary holds the profile now in force."
    DRAINING = 0x43 "draining" [Notice] connack CLOSE;
        "The server will end this connection soon; the problem says when to come back."
    TOKEN_EXPIRING = 0x44 "token expiring" [Notice] connack CLOSE;
        "The token that admitted this session ends soon."
    TOKEN_RENEWAL = 0x45 "token renewal" [Notice] connack CLOSE;
        "A new token for the same principal, or the answer to one."
    UNSPECIFIED_ERROR = 0x80 "unspecified error" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect Notice] connack CLOSE;
        "It failed, and the sender cannot or will not say why."
    MALFORMED_PACKET = 0x81 "malformed packet" [ConnAck Disconnect] connack CLOSE;
        "The bytes are not a packet."
    PROTOCOL_ERROR = 0x82 "protocol error" [ConnAck Disconnect] connack CLOSE;
        "A packet that is well formed was not allowed here."
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83 "implementation specific error" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect Notice] connack CLOSE;
        "It is valid, but this receiver does not take it."
    UNSUPPORTED_PROTOCOL_VERSION = 0x84 "unsupported protocol version" [ConnAck] connack Some(1);
        "The server does not serve this protocol name and level."
    CLIENT_IDENTIFIER_NOT_VALID = 0x85 "client identifier not valid" [ConnAck] connack Some(2);
        "The server does not take this client identifier."
    BAD_USER_NAME_OR_PASSWORD = 0x86 "bad user name or password" [ConnAck] connack Some(4);
        "The server does not know this user name with this password."
    NOT_AUTHORIZED = 0x87 "not authorized" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect Notice] connack Some(5);
        "A rule denies it; the problem names the rule."
    SERVER_UNAVAILABLE = 0x88 "server unavailable" [ConnAck] connack Some(3);
        "The server does not serve now."
    SERVER_BUSY = 0x89 "server busy" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect Notice] connack Some(3);
        "The server is at a limit; the problem says when to try again."
    BANNED = 0x8A "banned" [ConnAck Disconnect] connack Some(3);
        "This client is kept out for a time; the problem says for how long."
    SERVER_SHUTTING_DOWN = 0x8B "server shutting down" [ConnAck Disconnect] connack Some(3);
        "The server is ending."
    KEEP_ALIVE_TIMEOUT = 0x8D "keep alive timeout" [Disconnect] connack CLOSE;
        "Nothing was heard for one and a half times the keep alive interval."
    SESSION_TAKEN_OVER = 0x8E "session taken over" [Disconnect Notice] connack CLOSE;
        "Another connection of the same principal took this session; in NOTICE, this connection took it from another."
    TOPIC_FILTER_INVALID = 0x8F "topic filter invalid" [SubAck UnsubAck Disconnect] connack CLOSE;
        "The topic filter is well formed UTF-8 but not a filter that is taken here."
    TOPIC_NAME_INVALID = 0x90 "topic name invalid" [ConnAck PubAck PubRec Disconnect Notice] connack CLOSE;
        "The topic name is well formed UTF-8 but not a topic that is taken here."
    PACKET_IDENTIFIER_IN_USE = 0x91 "packet identifier in use" [PubAck PubRec SubAck UnsubAck] connack CLOSE;
        "The packet identifier is already in use."
    PACKET_IDENTIFIER_NOT_FOUND = 0x92 "packet identifier not found" [PubRel PubComp] connack CLOSE;
        "The receiver holds nothing under this packet identifier."
    RECEIVE_MAXIMUM_EXCEEDED = 0x93 "receive maximum exceeded" [Disconnect] connack CLOSE;
        "More messages above QoS 0 were sent at once than the receiver had agreed to."
    PACKET_TOO_LARGE = 0x95 "packet too large" [ConnAck PubAck PubRec Disconnect Notice] connack CLOSE;
        "The packet is larger than the receiver had agreed to."
    MESSAGE_RATE_TOO_HIGH = 0x96 "message rate too high" [PubAck PubRec Disconnect Notice] connack CLOSE;
        "Messages come faster than a rule allows."
    QUOTA_EXCEEDED = 0x97 "quota exceeded" [ConnAck PubAck PubRec SubAck Disconnect Notice] connack Some(3);
        "A quota is used up; the problem names the limit and its value."
    ADMINISTRATIVE_ACTION = 0x98 "administrative action" [Disconnect] connack CLOSE;
        "An operator ended it."
    PAYLOAD_FORMAT_INVALID = 0x99 "payload format invalid" [ConnAck PubAck PubRec Disconnect Notice] connack CLOSE;
        "The payload is not what it is declared to be."
    RETAIN_NOT_SUPPORTED = 0x9A "retain not supported" [ConnAck PubAck PubRec Disconnect Notice] connack CLOSE;
        "The server keeps no retained messages."
    QOS_NOT_SUPPORTED = 0x9B "QoS not supported" [ConnAck PubAck PubRec SubAck Disconnect Notice] connack CLOSE;
        "The server does not serve this QoS."
    USE_ANOTHER_SERVER = 0x9C "use another server" [ConnAck Disconnect] connack Some(3);
        "Another server serves this client for now."
    SERVER_MOVED = 0x9D "server moved" [ConnAck Disconnect] connack Some(3);
        "Another server serves this client from now on."
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E "shared subscriptions not supported" [SubAck] connack CLOSE;
        "The server serves no shared subscriptions to this client."
    CONNECTION_RATE_EXCEEDED = 0x9F "connection rate exceeded" [ConnAck Disconnect] connack Some(3);
        "Connections come faster than a rule allows."
    MAXIMUM_CONNECT_TIME = 0xA0 "maximum connect time" [Disconnect] connack CLOSE;
        "The time this connection was admitted for is over."
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2 "wildcard subscriptions not supported" [SubAck] connack CLOSE;
        "The server serves no wildcards to this client."
    RELEASED = 0xC0 "released" [PubAck PubRec] connack CLOSE;
        "The receiver does not take the message now: it may go to another, or come again."
    MODIFIED = 0xC1 "modified" [PubAck PubRec] connack CLOSE;
        "The receiver does not take the message now and says after which delay it may come again."
    REJECTED = 0xC2 "rejected" [PubAck PubRec] connack CLOSE;
        "The receiving application will never take this message; the problem says why."
    PROFILE_NOT_AVAILABLE = 0xC3 "profile not available" [ConnAck PubAck PubRec SubAck Disconnect Notice] connack Some(3);
        "The server cannot keep what is required; the problem names the clause, and the profile is the nearest it has."
    CRITICAL_KEY_UNKNOWN = 0xC4 "critical key unknown" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect Notice] connack CLOSE;
        "The dictionary holds a critical key that the receiver does not know; the problem names it."
    KEY_NOT_ALLOWED = 0xC5 "key not allowed" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect Notice] connack CLOSE;
        "The dictionary holds a key that this packet, or this sender, may not carry, or a value of the wrong type or out of its range."
    STORAGE_FAILED = 0xC6 "storage failed" [ConnAck PubAck PubRec SubAck UnsubAck Disconnect Notice] connack Some(3);
        "The server could not keep it where its profile says it would."
    MESSAGE_EXPIRED = 0xC7 "message expired" [PubAck PubRec Notice] connack CLOSE;
        "The message was older than its sender or the server lets it become."
    QUEUE_OVERFLOW = 0xC8 "queue overflow" [PubAck PubRec Notice] connack CLOSE;
        "The queue that the message was meant for is full."
    SESSION_NOT_KEPT = 0xC9 "session not kept" [ConnAck] connack Some(3);
        "The server would not keep the session that the client asks for beyond the connection."
    DO_NOT_RETRY = 0xCA "do not retry" [ConnAck PubAck PubRec Disconnect Notice] connack Some(3);
        "The same thing was refused again and again; it will not be looked at before the time in the problem."
    EXTENSION_REQUIRED = 0xCB "extension required" [ConnAck] connack Some(5);
        "This listener or session serves extended connections only."
}

impl Reason {
    /// The row of the table, where it has one.
    pub fn info(self) -> Option<&'static ReasonInfo> {
        REASONS.binary_search_by_key(&self, |row| row.reason).ok().map(|at| &REASONS[at])
    }

    /// The name in words; `unknown reason` where the table has none.
    pub fn name(self) -> &'static str {
        self.info().map_or("unknown reason", |row| row.name)
    }

    /// From 0x80 on a reason is a failure.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The reason as a receiver acts on it: itself if known, else the class it belongs to.
    pub fn known_or_class(self) -> Reason {
        match self.info() {
            Some(_) => self,
            None if self.is_error() => Reason::UNSPECIFIED_ERROR,
            None => Reason::SUCCESS,
        }
    }

    /// Whether `kind` may carry this reason. A reason outside the table may travel wherever reasons do, but for 0x01 to
    /// 0x05 in CONNACK: they are the return codes of 3.1.1, and a refusal must not be taken for an unknown success.
    pub fn allowed_in(self, kind: Kind) -> bool {
        match self.info() {
            Some(row) => row.packets.contains(kind),
            None => kind != Kind::ConnAck || !(0x01..=0x05).contains(&self.0),
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02X} {}", self.0, self.name())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ascending_and_named_once() {
        for pair in REASONS.windows(2) {
            assert!(pair[0].reason < pair[1].reason, "{:?} before {:?}", pair[0].reason, pair[1].reason);
        }
        let mut names: Vec<_> = REASONS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASONS.len());
    }

    #[test]
    fn our_own_numbers_stay_in_the_ranges_that_are_ours() {
        for row in REASONS {
            let code = row.reason.0;
            assert!(!(0x60..=0x6F).contains(&code) && !(0xD8..=0xFF).contains(&code), "{:?}", row.reason);
            assert!(code <= 0x19 || (0x40..=0x5F).contains(&code) || (0x80..=0xA2).contains(&code) || (0xC0..=0xD7).contains(&code));
        }
    }

    #[test]
    fn an_unknown_reason_counts_as_its_class() {
        assert_eq!(Reason(0x55).known_or_class(), Reason::SUCCESS);
        assert_eq!(Reason(0xDF).known_or_class(), Reason::UNSPECIFIED_ERROR);
        assert_eq!(Reason::NOT_AUTHORIZED.known_or_class(), Reason::NOT_AUTHORIZED);
    }

    #[test]
    fn an_extended_connack_never_holds_a_return_code_of_3_1_1() {
        for code in 0x01..=0x05 {
            assert!(!Reason(code).allowed_in(Kind::ConnAck), "0x{code:02X}");
        }
        assert!(Reason(0x03).allowed_in(Kind::PubAck) && Reason(0x06).allowed_in(Kind::ConnAck));
    }
}
