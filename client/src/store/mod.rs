//! Where a session is kept, so that it outlives its connection, its client or its process.
//!
//! ```text
//!  handle --message above QoS 0--> Accepted --kept--> PUBLISH      <- its identifier is kept with it (Sent)
//!                                  PUBREC ----------> Received --kept--> PUBREL
//!  PUBLISH at QoS 2 --> application --accept--> Taken --kept--> PUBREC
//!                                  PUBREL ----------> Released --kept--> PUBCOMP
//! ```
//! One rule gives all of these: **no byte leaves before every record that was made before it is kept.** So a step and its record are
//! never in the wrong order, and a slow disk delays packets instead of breaking promises.
//!
//! | store | what a session in it survives |
//! | --- | --- |
//! | none (the default) | the connection |
//! | [`InMemory`] | the connection and the client |
//! | [`FileStore`] | the connection, the client, the process and the power |
//!
//! **Exactly once over a crash of this process holds with [`FileStore`] alone**, towards a server that keeps its side:
//! - A message that was handed over is sent exactly once at QoS 2 when it was kept before the crash, which
//!   [`Publish::keep`](crate::Publish::keep) tells. One that was not is not sent, so the application hands it over again.
//! - A QoS 2 message from the server is handed to the application, the application accepts it, that is kept, and only then PUBREC leaves.
//!   After a crash before it was kept the message is handed out again, after one behind that never. An application that must not act twice
//!   keeps what it did with a mark: [`Incoming::accept_with`](crate::Incoming::accept_with) keeps the mark in the same step.
//! - With [`Settlement::Automatic`](crate::Settlement::Automatic) a message counts as accepted when it is handed out.

mod encode;
mod file;
mod frame;
mod journal;
mod memory;
mod session;

pub use file::FileStore;
pub(crate) use journal::{Closer, Journal};
pub use memory::InMemory;
pub use session::{StoredMessage, StoredSession, StoredSubscription};

use bytes::Bytes;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{PacketId, Qos, TopicFilter};
use candor_protocol::session::Delivery;
use std::fmt;
use std::path::PathBuf;

/// One step of a session that must survive.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Record {
    /// The server has the session. `incarnation`: the server's name for this life of it; empty where it gives none.
    Begun { client_id: String, incarnation: Bytes },
    /// The server no longer knows the session: identifiers mean nothing any more.
    Lost,
    /// The application handed a message over. `number` names it in this store, for ever.
    Accepted { number: u64, delivery: Delivery, mark: Option<Bytes> },
    /// Numbers up to this one were given to messages; they are not given again.
    Numbered { number: u64 },
    /// It is sent under this identifier.
    Sent { number: u64, id: PacketId },
    /// PUBREC came for the message under this identifier: only PUBREL is owed.
    Received { id: PacketId },
    /// It is settled, or was refused here.
    Settled { number: u64 },
    /// A QoS 2 message of the server was accepted under this identifier.
    Taken { id: PacketId, mark: Option<Bytes> },
    /// PUBREL came for it: the identifier is free.
    Released { id: PacketId },
    /// What the application wants to find again.
    Marked { mark: Bytes },
    /// The server granted a subscription.
    Subscribed { filter: TopicFilter, qos: Qos, item: Dictionary },
    /// It has ended.
    Unsubscribed { filter: TopicFilter },
}

/// The most bytes of a mark.
pub const MARK_LEN_MAX: usize = 1024;

/// Keeps the session of one client.
///
/// The client calls it from a thread of its own, so that it may block, and never from two at once.
pub trait SessionStore: fmt::Debug + Send + Sync {
    /// What is kept now. A client asks once, when it begins; it does not wait for a disk.
    fn load(&self) -> StoredSession;

    /// Keeps records in their order, all or a first part of them, and returns when they are as safe as this store makes them.
    ///
    /// # Errors
    /// They are not kept. The store keeps nothing more from then on, and the client ends.
    fn keep(&self, records: &[Record]) -> Result<(), StoreError>;
}

/// Why a session cannot be read or kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another store of this one, uses the file.
    InUse { file: PathBuf },
    /// The file is no session.
    Foreign { file: PathBuf },
    /// The file was written by a version of this library that this one does not know.
    Version { file: PathBuf, version: u8 },
    /// What stands at `offset`, in bytes, was changed after it was written.
    Damaged { file: PathBuf, offset: u64, what: String },
    /// The session in the store is another client's.
    OtherClient { kept: String, asked: String },
    /// The system refused; `what` names the step.
    Io { file: PathBuf, what: &'static str, cause: String },
    /// An earlier failure left it unknown what is kept.
    Broken { cause: String },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { file } => {
                write!(f, "the session in {} is in use by another process: end it, or use another file", file.display())
            }
            Self::Foreign { file } => {
                write!(f, "{} is not a session of this library; it is left as it is: name another file", file.display())
            }
            Self::Version { file, version } => {
                write!(f, "the session in {} has format {version}, and this program knows only {}", file.display(), frame::VERSION)
            }
            Self::Damaged { file, offset, what } => write!(
                f,
                "the session in {} is damaged at byte {offset}: {what}; restore the file, or remove it and give up what was in flight",
                file.display()
            ),
            Self::OtherClient { kept, asked } => {
                write!(f, "the session that is kept belongs to the client identifier `{kept}`, and this client is `{asked}`")
            }
            Self::Io { file, what, cause } => write!(f, "cannot {what} the session in {}: {cause}", file.display()),
            Self::Broken { cause } => write!(f, "nothing is kept any more since a first failure: {cause}"),
        }
    }
}

impl std::error::Error for StoreError {}
