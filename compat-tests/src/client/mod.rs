//! Clients behind one interface, other people's and our own. A call starts something; what comes of it is an [`Event`], so that a
//! client can be put before a server that answers late, wrongly or never.
//!
//! | driver | client |
//! | --- | --- |
//! | [`script`] | Python and JavaScript libraries, in a process that speaks JSON lines |
//! | [`rumqttc`] | rumqttc, in this process |
//! | [`commands`] | `mosquitto_pub` and `mosquitto_sub` |
//! | [`candor`] | our own library, once for each policy: the extension where it is, or always, or never |

pub mod actor;
pub mod candor;
pub mod commands;
pub mod engine;
pub mod rumqttc;
pub mod script;

pub use actor::Actor;

use crate::outcome::{Checked, Stop};
use crate::peer::recipe::Transport;
use crate::peer::{Unavailable, installed};
use candor_client::Policy;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// How a client connects.
#[derive(Debug, Clone)]
pub struct Options {
    pub address: SocketAddr,
    pub transport: Transport,
    /// The file of the authority that signed the server's certificate; the only one that is trusted.
    pub authority: PathBuf,
    pub client_id: String,
    pub clean_session: bool,
    pub keep_alive_s: u16,
    pub will: Option<(Outgoing, u8)>,
    pub user_name: Option<String>,
    pub password: Option<String>,
}

impl Options {
    /// A clean session over TCP with a keep alive of a minute.
    pub fn new(address: SocketAddr, client_id: impl Into<String>) -> Self {
        Self {
            address,
            transport: Transport::Tcp,
            authority: PathBuf::new(),
            client_id: client_id.into(),
            clean_session: true,
            keep_alive_s: 60,
            will: None,
            user_name: None,
            password: None,
        }
    }

    #[must_use]
    pub fn stored(self) -> Self {
        Self { clean_session: false, ..self }
    }

    #[must_use]
    pub fn will(self, will: Outgoing, qos: u8) -> Self {
        Self { will: Some((will, qos)), ..self }
    }

    #[must_use]
    pub fn keep_alive_s(self, keep_alive_s: u16) -> Self {
        Self { keep_alive_s, ..self }
    }
}

/// A message to be published.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

impl Outgoing {
    pub fn new(topic: impl Into<String>, payload: impl AsRef<[u8]>) -> Self {
        Self { topic: topic.into(), payload: payload.as_ref().to_vec(), retain: false }
    }

    #[must_use]
    pub fn retained(self) -> Self {
        Self { retain: true, ..self }
    }
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    /// `None`: the client does not tell.
    pub dup: Option<bool>,
}

impl Incoming {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// Names a request in the event that completes it.
pub type Ticket = u32;

/// What happens to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// CONNACK 0 came; session present is `None` where the client does not tell.
    Connected {
        session_present: Option<bool>,
    },
    /// CONNACK with another code, or the connection could not be made.
    Refused {
        why: String,
    },
    /// SUBACK: one code a filter.
    Subscribed {
        ticket: Ticket,
        codes: Vec<u8>,
    },
    Unsubscribed {
        ticket: Ticket,
    },
    /// The exchange of the message's QoS is complete; at QoS 0 it was handed to the network.
    Published {
        ticket: Ticket,
    },
    Message(Incoming),
    /// The connection ended, by whichever side.
    Closed {
        why: String,
    },
    /// The client refuses what it was asked to do.
    Error {
        why: String,
    },
}

/// A client as an application drives it, one connection at a time.
pub trait PlainClient: Send {
    /// Starts to connect: [`Event::Connected`], [`Event::Refused`] or [`Event::Closed`] follows. It is called once.
    ///
    /// # Errors
    /// [`Stop::Unsupported`] where the client does not have the transport or an option.
    fn connect(&mut self, options: &Options) -> Checked;

    /// Connects again after the connection ended, with what the client holds of its session; events as for `connect`.
    ///
    /// # Errors
    /// [`Stop::Unsupported`] where the client has no such thing.
    fn resume(&mut self) -> Checked;

    /// Sends SUBSCRIBE: [`Event::Subscribed`] follows.
    ///
    /// # Errors
    /// The client is gone, or cannot subscribe in this way.
    fn subscribe(&mut self, ticket: Ticket, filters: &[(String, u8)]) -> Checked;

    /// Sends UNSUBSCRIBE: [`Event::Unsubscribed`] follows.
    ///
    /// # Errors
    /// The client is gone, or cannot unsubscribe.
    fn unsubscribe(&mut self, ticket: Ticket, filters: &[String]) -> Checked;

    /// Sends PUBLISH: [`Event::Published`] follows.
    ///
    /// # Errors
    /// The client is gone.
    fn publish(&mut self, ticket: Ticket, message: &Outgoing, qos: u8) -> Checked;

    /// Sends DISCONNECT and closes: [`Event::Closed`] follows.
    ///
    /// # Errors
    /// The client is gone.
    fn disconnect(&mut self) -> Checked;

    /// Ends the connection without DISCONNECT: [`Event::Closed`] follows.
    ///
    /// # Errors
    /// The client is gone, or cannot do it.
    fn drop_connection(&mut self) -> Checked;

    /// The next event; `None`: none until `deadline`.
    ///
    /// # Errors
    /// The client's program ended.
    fn event(&mut self, deadline: Instant) -> Checked<Option<Event>>;
}

/// Makes a client by its name in `peers.toml`.
///
/// # Errors
/// It is not installed, or there is no driver for it.
pub fn open(name: &str) -> Result<Box<dyn PlainClient>, Unavailable> {
    match name {
        "paho" => {
            let mut command = Command::new(installed("python/bin/python")?);
            installed("python/bin/pip")?;
            command.arg(crate::peer::driver("paho_client.py"));
            script::open(name, command)
        }
        "paho-1.6" => {
            let mut command = Command::new(installed("python/bin/python")?);
            command.arg(crate::peer::driver("paho_client.py")).env("PYTHONPATH", installed("paho-1.6")?);
            script::open(name, command)
        }
        "mqttjs" => {
            installed("npm/node_modules/mqtt")?;
            let mut command = Command::new(crate::peer::on_path("node")?);
            command.arg(crate::peer::driver("mqttjs_client.mjs")).env("PEERS_NPM", installed("npm")?);
            script::open(name, command)
        }
        "rumqttc" => Ok(Box::new(rumqttc::Rumqttc::default())),
        "candor" => Ok(Box::new(candor::Candor::new(Policy::Prefer))),
        "candor-require" => Ok(Box::new(candor::Candor::new(Policy::Require))),
        "candor-plain" => Ok(Box::new(candor::Candor::new(Policy::Plain))),
        "mosquitto-clients" => commands::Commands::open().map(|client| Box::new(client) as Box<dyn PlainClient>),
        _ => Err(Stop::failed(format!("there is no driver for the client {name:?}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Peers;

    #[test]
    fn every_client_in_the_list_has_a_driver() {
        for peer in &Peers::load().unwrap().client {
            if let Err(Unavailable::Broken(stop)) = open(&peer.name) {
                panic!("{stop}");
            }
        }
    }
}
