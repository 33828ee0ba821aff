//! Publishing: what is sent, and what became of it.

use crate::client::Client;
use crate::error::{Misuse, PublishError};
use crate::properties::Properties;
use bytes::Bytes;
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::{Durability, Message, Qos, Reason, TopicName};
use candor_protocol::session::Delivery;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// What the server said when it took a message over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Receipt {
    /// Success, or that no subscription wanted it (0x10).
    pub reason: Reason,
    /// The durability that was really reached, where [`Properties::receipt`] asked and the server answered.
    pub durability: Option<Durability>,
    /// The dialect it went out in.
    pub dialect: Dialect,
    /// Whether properties stayed behind because the connection was plain.
    pub stripped: bool,
}

pub(crate) type Outcome = Result<Receipt, PublishError>;

/// A message on its way to the driver.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) delivery: Delivery,
    pub(crate) outcome: oneshot::Sender<Outcome>,
}

/// A message that is about to be published; `.await` sends it and gives the receipt.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited"]
pub struct Publish<'a> {
    client: &'a Client,
    topic: Result<TopicName, Misuse>,
    payload: Bytes,
    qos: Qos,
    retain: bool,
    properties: Properties,
}

impl<'a> Publish<'a> {
    pub(crate) fn new(client: &'a Client, topic: &str, payload: Bytes) -> Self {
        let topic = TopicName::new(topic).map_err(|wrong| Misuse::Topic { text: topic.to_owned(), wrong });
        Self { client, topic, payload, qos: Qos::AtMostOnce, retain: false, properties: Properties::default() }
    }

    /// Default QoS 0.
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// Whether the server shall keep it as the last message of its topic.
    pub fn retain(mut self, retain: bool) -> Self {
        self.retain = retain;
        self
    }

    pub fn properties(mut self, properties: Properties) -> Self {
        self.properties = properties;
        self
    }

    /// Hands the message to the client, in the order of these calls, and does not wait for what becomes of it. It waits while
    /// there is a connection and too much is on its way already.
    ///
    /// # Errors
    /// The topic is not valid, or the client has ended.
    pub async fn send(self) -> Result<Pending, PublishError> {
        let message = Message::new(&self.topic?, &self.properties.message_map(), &self.payload);
        let delivery = Delivery { message, qos: self.qos, retain: self.retain, hop: self.properties.hop_map() };
        let (outcome, pending) = oneshot::channel();
        self.client.order(Order { delivery, outcome }).await?;
        Ok(Pending(pending))
    }
}

impl<'a> IntoFuture for Publish<'a> {
    type Output = Outcome;
    type IntoFuture = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.send().await?.await })
    }
}

/// A message that was handed to the client; `.await` gives its receipt.
///
/// Above QoS 0 it is there when the server has settled the message, over as many connections as that takes; at QoS 0 when the
/// operating system has taken its bytes.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Outcome>);

impl Future for Pending {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        // The driver answers every order, also when it ends; without an answer its task was cancelled with the runtime.
        Pin::new(&mut self.0).poll(cx).map(|outcome| outcome.unwrap_or(Err(PublishError::Lost { taken: false })))
    }
}
