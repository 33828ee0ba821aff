//! A client for MQTT 3.1.1 and its extension layer: it speaks the extension where the server has it, plain MQTT where it does
//! not, and says which of the two it is and what that means.
//!
//! ```no_run
//! use candor_client::{Client, Options, Properties, Qos};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, mut messages) = Client::connect(Options::new("mqtt://localhost")?).await?;
//! println!("{}", client.agreement().ok_or("the connection is gone")?);
//! for granted in client.subscribe(["sensors/#", "alarms/+"]).qos(Qos::AtLeastOnce).await? {
//!     println!("{}: {:?}", granted.filter, granted.result);
//! }
//! let properties = Properties::default().content_type("text/plain").receipt();
//! let receipt = client.publish("sensors/kitchen", "21.5").qos(Qos::AtLeastOnce).properties(properties).await?;
//! println!("taken, kept at {:?}", receipt.durability);
//! if let Some(message) = messages.next().await {
//!     println!("{}: {}", message.topic(), String::from_utf8_lossy(message.payload()));
//! }
//! client.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! # The tour
//!
//! - [`Options`] is what a client asks for; [`Policy`] says which dialects it speaks, [`Options::require`] what the server must be
//!   able to keep. What was agreed is the [`Agreement`].
//! - [`Client`] is a handle: [`Client::publish`] gives a [`Receipt`] or a [`PublishError`] that holds the server's refusal,
//!   [`Client::subscribe`] what was [`Granted`], filter by filter.
//! - [`Messages`] are what comes. With [`Settlement::Manual`] each [`Incoming`] is accepted, rejected, released or put off by the
//!   application, and one that is dropped is released.
//! - [`store`] says where a session is kept beyond the connection, and what holds over a crash of this process.
//! - [`Events`] tell what else happens: connections that come and go, sessions that are lost, gaps, refusals of QoS 0 messages, and
//!   what a plain server cannot do.
//! - [`Reconnect`] says when to come back; what a server asks for goes before. [`Memory`] keeps which servers spoke the extension.
//! - [`Error`], [`PublishError`] and [`RequestError`] say who is at fault and what can be done.
//!
//! # How it works
//!
//! ```text
//!  Options -> negotiate (which door) -> transport (TCP, TLS, WebSocket) -> link (session and bytes)
//!                                                                            |
//!  Client, Messages, Events <----------- channels -----------> driver: one task, everything that waits
//! ```
//! One task owns session and socket. Everything that crosses to it is a message in a bounded queue, and everything that waits is
//! told when the task ends. The protocol itself is `candor_protocol::session`, which knows no socket.
//!
//! # What it does not do
//!
//! - Without a [`store`] the session lives in this client: after a restart nothing is left of what was in flight. QoS 2 is exactly once
//!   over a crash of this process only with a [`FileStore`].
//! - No MQTT 5, no TLS below 1.2, and no early data, since a first flight that can be replayed publishes twice.
//! - A plain server cannot be told everything: see [`Loss`], [`Incoming::reject`] and [`Incoming::release`].
//!
//! # Bounds
//!
//! Nothing grows without a bound, and what happens there is always one of three: the handle waits, the server is held back, or somebody
//! is told.
//!
//! | what waits | how much | and then |
//! | --- | --- | --- |
//! | messages to be sent | [`Options::queue_limit`], and 64 more between the handles and the client | connected, [`Publish::send`] waits; without a connection [`PublishError::QueueFull`] |
//! | messages without a receipt | the server's receive maximum | they count as messages to be sent |
//! | bytes to be written | 64 KiB of messages, 4 MiB of answers | no more is taken from the queue; nothing more is read |
//! | requests without an answer | 256, and 64 more | [`Subscribe`], [`Client::unsubscribe`] and [`Client::ping`] wait |
//! | messages for the application | 1024, and what one read brings | nothing more is read, and [`Event::HeldBack`] after 5 s |
//! | messages without a settlement | [`Options::receive_maximum`] | an extended server is refused, a plain one not read |
//! | messages before the connection is agreed | 10,000, of 16 MiB together | the connection ends |
//! | one packet | [`Options::packet_size_max`] | the server is refused |
//! | events | 256 for each [`Events`] | the oldest go, and [`Event::Missed`] counts them |
//! | steps to be kept in a [`store`] | those of the messages above | they wait with their messages |
//! | servers in a [`Memory`], TLS sessions to be resumed | 1024, and 256 for each of 32 configurations | the oldest are forgotten |
//!
//! An application that awaits receipts in the loop that takes its messages can stop itself: when 1024 messages wait to be taken,
//! nothing is read, and receipts neither. Publish from another task, or use [`Publish::send`], which does not wait for the receipt.

mod address;
mod agreement;
// Readiness and process figures are Linux's own.
#[cfg(all(feature = "cli", target_os = "linux"))]
pub mod bench;
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
mod report;
pub mod store;
mod subscribe;
mod transport;

pub use address::{Address, BadAddress, Scheme};
pub use agreement::{Agreement, state_name};
pub use bytes::Bytes;
pub use candor_protocol as protocol;
pub use candor_protocol::dialect::Dialect;
pub use candor_protocol::packet::{Durability, Problem, Profile, Qos, Question, Reason, Refusal, Requirement, Retry, TopicFilter};
pub use candor_protocol::session::SessionState;
pub use client::Client;
pub use error::{Error, Misbehaved, Misuse, NotAvailable, PublishError, Refused, RequestError, Step, TransportError};
pub use event::{Because, Event, Events, Loss};
pub use incoming::{Incoming, Messages};
pub use memory::{InFile, InProcess, Memory, MemoryError, Recollection};
pub use negotiate::Door;
pub use options::{Options, Policy, Settlement, TlsOptions, WillOptions};
pub use properties::{Properties, settable_names};
pub use publish::{Pending, Publish, Receipt, Restored};
pub use reconnect::Reconnect;
pub use report::{DeliveryReport, EndToEnd, Reported};
pub use store::{FileStore, InMemory, SessionStore, StoreError};
pub use subscribe::{Filters, Granted, Subscribe, Subscription, Subscriptions};
pub use transport::TlsFacts;
