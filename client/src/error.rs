//! Errors, by who can do something about them: the server refused, the server misbehaved, the transport failed, what is
//! required is not there, or this program asked for something that does not exist.

use crate::address::{Address, BadAddress};
use crate::store::StoreError;
use candor_protocol::codec::error::Malformed;
use candor_protocol::dialect::Dialect;
use candor_protocol::dialect::offer::BadAccept;
use candor_protocol::packet::topic::InvalidTopic;
use candor_protocol::packet::{Profile, Reason, Refusal};
use std::fmt;

/// Why there is no connection, or none any more.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The server refused CONNECT: what to change stands in the refusal.
    Refused(Box<Refused>),
    /// The server ended the connection with DISCONNECT.
    Ended(Box<Refused>),
    /// What this client requires is not there, and it would not live with less.
    NotAvailable(NotAvailable),
    /// The server broke the protocol.
    Misbehaved(Misbehaved),
    /// The network, TLS or the WebSocket handshake failed.
    Transport(TransportError),
    /// This program asked for something that does not exist.
    Misuse(Misuse),
    /// A message was released, and a plain connection can say so only by ending: the server delivers it again.
    GivenBack(Refusal),
    /// What this client has to keep cannot be kept, so that it does nothing more.
    Store(StoreError),
    /// This client left. Nothing is wrong.
    Left,
    /// The runtime ended before the client did.
    Cancelled,
}

/// What a server said when it refused a connection or ended one.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub refusal: Refusal,
    /// Milliseconds before the server wants to see this client again.
    pub retry_after_ms: Option<u64>,
    /// The nearest profile that the server has, where a requirement failed.
    pub nearest: Option<Profile>,
    /// The dialect that it was said in: a plain server can give no more than a return code.
    pub dialect: Dialect,
}

/// What is required and missing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NotAvailable {
    /// The extension is required, and the server does not speak it; `how` is what it did instead.
    Extension { how: String },
    /// The server cannot keep what is required: the clause and the nearest profile stand in the refusal.
    Profile(Box<Refused>),
    /// A server that is known by its certificate spoke the extension before and does not now. Nothing less is taken from it:
    /// somebody may stand in between. An operator who knows better makes the memory forget the server.
    SpokeBefore { server: Address },
}

/// How a server broke the protocol.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Misbehaved {
    /// Its bytes are no packet.
    Malformed(Malformed),
    /// Its answer to an offer cannot be trusted: somebody in between may have changed it.
    BadAccept(BadAccept),
    /// A packet that was not allowed there.
    Protocol(Refusal),
    /// It was silent for too long: no CONNACK, or no answer to PINGREQ.
    Silent,
    /// It sent more before the connection was agreed than is kept for that time.
    TooMuchTooEarly,
}

/// Where a transport failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The host's name has no address.
    Resolve,
    /// TCP.
    Connect,
    /// A certificate or key file, or what is in it.
    TlsFiles,
    /// The TLS handshake.
    Tls,
    /// The upgrade from HTTP.
    WebSocket,
    /// An open connection ended or failed.
    Open,
}

/// A failure below MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportError {
    pub step: Step,
    pub server: Address,
    /// What the system or library says.
    pub cause: String,
}

/// What was asked for and does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    Url(BadAddress),
    Topic {
        text: String,
        wrong: InvalidTopic,
    },
    /// An option has a value outside its range, or two exclude each other.
    Option {
        name: &'static str,
        wrong: String,
    },
    /// A property is unknown, may not be written by a client or has a wrong value.
    Property(String),
    /// No property has this name.
    UnknownProperty(String),
    /// No topic filter was given.
    NoFilter,
}

/// Why a message was not taken, or is not known to be.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PublishError {
    /// The server refused it, and says why.
    Rejected(Refusal),
    /// It asks for something that this connection cannot give: a least durability on a plain one, or an experiment that is not
    /// in force. It was not sent.
    NotAvailable {
        what: String,
    },
    /// It is larger than the server takes; both in bytes. It was not sent.
    TooLarge {
        limit: u32,
        seen: usize,
    },
    /// The connection ended before it was known what became of it, and it is not sent again: at QoS 0 never, at QoS 2 because
    /// the server forgot the session. `taken`: the server had said that it has the message.
    Lost {
        taken: bool,
    },
    /// There is no connection, and as many messages wait for one as this client lets wait.
    QueueFull {
        waiting: usize,
    },
    /// The client has ended, and this is why.
    Ended(Error),
    Misuse(Misuse),
}

/// Why a SUBSCRIBE, UNSUBSCRIBE or PINGREQ has no answer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RequestError {
    /// The connection ended before the answer came.
    Lost,
    /// The server answered with fewer or more reasons than there were filters.
    Misbehaved(Misbehaved),
    /// It asks for something that this connection cannot give. It was not sent.
    NotAvailable {
        what: String,
    },
    /// The client has ended, and this is why.
    Ended(Error),
    Misuse(Misuse),
}

impl Error {
    /// The server's refusal, where this is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Error::Refused(refused) | Error::Ended(refused) | Error::NotAvailable(NotAvailable::Profile(refused)) => Some(&refused.refusal),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Refused(refused) => write!(f, "the server refused the connection: {refused}"),
            Error::Ended(refused) if refused.refusal.reason == Reason::SUCCESS => f.write_str("the server ended the connection in order"),
            Error::Ended(refused) => write!(f, "the server ended the connection: {refused}"),
            Error::NotAvailable(what) => what.fmt(f),
            Error::Misbehaved(how) => how.fmt(f),
            Error::Transport(error) => error.fmt(f),
            Error::Misuse(misuse) => misuse.fmt(f),
            Error::GivenBack(refusal) => {
                write!(f, "a message was given back, which a plain connection can say only by ending: {refusal}")
            }
            Error::Store(error) => error.fmt(f),
            Error::Left => f.write_str("this client left"),
            Error::Cancelled => f.write_str("the runtime ended before the client did"),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)?;
        if let Some(ms) = self.retry_after_ms {
            write!(f, "; come back after {ms} ms")?;
        }
        if !self.dialect.is_extended() {
            write!(f, "; MQTT {} can say no more", self.dialect)?;
        }
        Ok(())
    }
}

impl fmt::Display for NotAvailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Extension { how } => {
                write!(f, "the extension is required and this server does not speak it: {how}; `prefer` would take a plain connection")
            }
            Self::Profile(refused) => {
                write!(f, "the server cannot keep what is required: {refused}")?;
                match &refused.nearest {
                    Some(nearest) => write!(f, "; it keeps messages at `{}`", nearest.durability),
                    None => Ok(()),
                }
            }
            Self::SpokeBefore { server } => write!(
                f,
                "{server} proved who it is and spoke the extension before, and now it does not: somebody may stand in between; \
                 if it was downgraded on purpose, make the memory forget it"
            ),
        }
    }
}

impl fmt::Display for Misbehaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "the server sent bytes that are no packet: {error}"),
            Self::BadAccept(error) => {
                write!(f, "the answer to the offer cannot be trusted: {error}; something in between may have changed it")
            }
            Self::Protocol(refusal) => write!(f, "the server broke the protocol: {refusal}"),
            Self::Silent => f.write_str("the server was silent for too long"),
            Self::TooMuchTooEarly => f.write_str("the server sent too much before it answered the offer"),
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, server, cause } = self;
        match step {
            Step::Resolve => write!(f, "{}: the name has no address: {cause}", server.host()),
            Step::Connect => write!(f, "{server}: no connection: {cause}"),
            Step::TlsFiles => write!(f, "{server}: {cause}"),
            Step::Tls => write!(f, "{server}: the TLS handshake failed: {cause}"),
            Step::WebSocket => write!(f, "{server}: the WebSocket handshake failed: {cause}"),
            Step::Open => write!(f, "{server}: the connection was lost: {cause}"),
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => error.fmt(f),
            Self::Topic { text, wrong } => write!(f, "`{text}`: {wrong}"),
            Self::Option { name, wrong } => write!(f, "`{name}`: {wrong}"),
            Self::Property(text) => f.write_str(text),
            Self::UnknownProperty(name) => write!(f, "no property is called `{name}`"),
            Self::NoFilter => f.write_str("there is no topic filter to ask for"),
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(refusal) => write!(f, "the server refused the message: {refusal}"),
            Self::NotAvailable { what } => write!(f, "the message was not sent: {what}"),
            Self::TooLarge { limit, seen } => {
                write!(f, "the message was not sent: its packet has {seen} bytes, and the server takes {limit}")
            }
            Self::Lost { taken: false } => f.write_str("the connection ended, and it is not known whether the server has the message"),
            Self::Lost { taken: true } => {
                f.write_str("the server had taken the message and then lost the session; it is not known whether it was delivered")
            }
            Self::QueueFull { waiting } => {
                write!(f, "there is no connection, and {waiting} messages wait for one already: wait, or let more wait (queue limit)")
            }
            Self::Ended(error) => write!(f, "the client has ended: {error}"),
            Self::Misuse(misuse) => misuse.fmt(f),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("the connection ended before the server answered"),
            Self::Misbehaved(how) => how.fmt(f),
            Self::NotAvailable { what } => write!(f, "the request was not sent: {what}"),
            Self::Ended(error) => write!(f, "the client has ended: {error}"),
            Self::Misuse(misuse) => misuse.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
impl std::error::Error for TransportError {}
impl std::error::Error for Misuse {}
impl std::error::Error for PublishError {}
impl std::error::Error for RequestError {}

impl From<Misuse> for Error {
    fn from(misuse: Misuse) -> Self {
        Error::Misuse(misuse)
    }
}

impl From<Misuse> for PublishError {
    fn from(misuse: Misuse) -> Self {
        PublishError::Misuse(misuse)
    }
}

impl From<Misuse> for RequestError {
    fn from(misuse: Misuse) -> Self {
        RequestError::Misuse(misuse)
    }
}

impl From<BadAddress> for Misuse {
    fn from(error: BadAddress) -> Self {
        Misuse::Url(error)
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Error::Store(error)
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        Error::Transport(error)
    }
}
