//! What can go wrong, sorted by who can do something about it: for counting, and for tests that leave none out.

use candor_protocol::packet::Reason;

macro_rules! causes {
    ($($name:ident $text:literal; $meaning:literal)*) => {
        /// The cause of a refusal or a loss.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Cause {
            $(#[doc = $meaning] $name,)*
        }

        impl Cause {
            pub const ALL: &[Cause] = &[$(Cause::$name),*];

            /// In words, as logs and tables have it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Cause::$name => $text,)*
                }
            }

            /// One sentence.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Cause::$name => $meaning,)*
                }
            }
        }
    };
}

causes! {
    Rights "rights"; "A rule denies it, or nobody proved a right to it."
    Credentials "credentials"; "It was not proved who the client is, or under which name it comes."
    Topic "topic"; "The topic name or topic filter is not one that is taken here."
    Key "key"; "A dictionary holds a key that is unknown and critical, or that this packet or sender may not carry."
    Profile "profile"; "The server does not keep, or does not serve, what is asked for."
    Size "size"; "A packet is larger than its receiver takes."
    Rate "rate"; "It comes faster than a rule allows."
    Quota "quota"; "A number or an amount is used up."
    Busy "busy"; "The server is at a limit of its own, and will not be for ever."
    Overflow "overflow"; "A queue is full."
    Expiry "expiry"; "The message, or the session that it waited for, got too old."
    Storage "storage"; "The store could not keep it."
    Protocol "protocol"; "The peer broke a rule of the protocol."
    Silence "silence"; "Nothing was heard for too long."
    Takeover "takeover"; "Another connection took the session."
    Repetition "repetition"; "The same thing was refused again and again."
    Shutdown "shutdown"; "The server is ending, or an operator ended it."
    Subscriber "subscriber"; "A subscriber did not take the message."
    Unspecified "unspecified"; "It failed, and nothing more is known."
}

impl Cause {
    /// The cause that a reason stands for. Every reason that says that something failed has one; see the test.
    pub const fn of(reason: Reason) -> Self {
        match reason {
            Reason::NOT_AUTHORIZED => Self::Rights,
            Reason::BAD_USER_NAME_OR_PASSWORD | Reason::CLIENT_IDENTIFIER_NOT_VALID => Self::Credentials,
            Reason::TOPIC_NAME_INVALID | Reason::TOPIC_FILTER_INVALID => Self::Topic,
            Reason::CRITICAL_KEY_UNKNOWN | Reason::KEY_NOT_ALLOWED | Reason::PAYLOAD_FORMAT_INVALID => Self::Key,
            Reason::PROFILE_NOT_AVAILABLE
            | Reason::RETAIN_NOT_SUPPORTED
            | Reason::QOS_NOT_SUPPORTED
            | Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
            | Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED
            | Reason::SESSION_NOT_KEPT
            | Reason::UNSUPPORTED_PROTOCOL_VERSION
            | Reason::EXTENSION_REQUIRED
            | Reason::IMPLEMENTATION_SPECIFIC_ERROR => Self::Profile,
            Reason::PACKET_TOO_LARGE => Self::Size,
            Reason::MESSAGE_RATE_TOO_HIGH | Reason::CONNECTION_RATE_EXCEEDED => Self::Rate,
            Reason::QUOTA_EXCEEDED => Self::Quota,
            Reason::SERVER_BUSY | Reason::SERVER_UNAVAILABLE => Self::Busy,
            Reason::QUEUE_OVERFLOW => Self::Overflow,
            Reason::MESSAGE_EXPIRED | Reason::MAXIMUM_CONNECT_TIME => Self::Expiry,
            Reason::STORAGE_FAILED => Self::Storage,
            Reason::MALFORMED_PACKET
            | Reason::PROTOCOL_ERROR
            | Reason::RECEIVE_MAXIMUM_EXCEEDED
            | Reason::PACKET_IDENTIFIER_IN_USE
            | Reason::PACKET_IDENTIFIER_NOT_FOUND => Self::Protocol,
            Reason::KEEP_ALIVE_TIMEOUT => Self::Silence,
            Reason::SESSION_TAKEN_OVER => Self::Takeover,
            Reason::BANNED | Reason::DO_NOT_RETRY => Self::Repetition,
            Reason::SERVER_SHUTTING_DOWN | Reason::ADMINISTRATIVE_ACTION | Reason::USE_ANOTHER_SERVER | Reason::SERVER_MOVED => {
                Self::Shutdown
            }
            Reason::RELEASED | Reason::MODIFIED | Reason::REJECTED => Self::Subscriber,
            _ => Self::Unspecified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candor_protocol::packet::reason::REASONS;

    #[test]
    fn every_reason_of_failure_has_a_cause_and_every_cause_a_reason() {
        let failures = REASONS.iter().map(|row| row.reason).filter(|reason| reason.is_error());
        let nameless: Vec<Reason> = failures.clone().filter(|reason| Cause::of(*reason) == Cause::Unspecified).collect();
        assert_eq!(nameless, [Reason::UNSPECIFIED_ERROR]);
        for cause in Cause::ALL {
            assert!(failures.clone().any(|reason| Cause::of(reason) == *cause), "{cause:?}");
        }
    }
}
