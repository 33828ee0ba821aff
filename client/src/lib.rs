//! A client for MQTT 3.1.1 and its extension layer.
//!
//! Work in progress: the tour stands here when the parts do.

mod address;
mod agreement;
mod client;
#[cfg(feature = "cli")]
pub mod command;
mod driver;
mod error;
mod event;
pub mod explain;
mod incoming;
mod link;
mod memory;
mod negotiate;
mod options;
mod properties;
mod publish;
mod random;
mod reconnect;
mod subscribe;
mod transport;

pub use address::{Address, BadAddress, Scheme};
pub use agreement::{Agreement, state_name};
pub use bytes::Bytes;
pub use candor_protocol as protocol;
pub use candor_protocol::dialect::Dialect;
pub use candor_protocol::packet::{Durability, Problem, Profile, Qos, Reason, Refusal, Requirement, Retry, TopicFilter};
pub use candor_protocol::session::SessionState;
pub use client::Client;
pub use error::{Error, Misbehaved, Misuse, NotAvailable, PublishError, Refused, RequestError, Step, TransportError};
pub use event::{Because, Event, Events, Loss};
pub use incoming::{Incoming, Messages};
pub use memory::{InFile, InProcess, Memory, MemoryError, Recollection};
pub use negotiate::Door;
pub use options::{Options, Policy, Settlement, TlsOptions, WillOptions};
pub use properties::{Properties, settable_names};
pub use publish::{Pending, Publish, Receipt};
pub use reconnect::Reconnect;
pub use subscribe::{Filters, Granted, Subscribe};
pub use transport::TlsFacts;
