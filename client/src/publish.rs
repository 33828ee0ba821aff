//! Publishing: what is sent, and what became of it.

use crate::client::Client;
use crate::error::{Misuse, PublishError};
use crate::properties::Properties;
use crate::report::{self, EndToEnd, Reported, Wanted};
use crate::store::MARK_LEN_MAX;
use bytes::Bytes;
use candor_protocol::codec::dictionary::Dictionary;
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
    /// Kept in the same step.
    pub(crate) mark: Option<Bytes>,
    /// Is told when it is kept.
    pub(crate) kept: Option<oneshot::Sender<()>>,
    /// Is told what becomes of it behind the server.
    pub(crate) wanted: Option<Wanted>,
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
    mark: Option<Bytes>,
    /// In place of what the properties say.
    hop: Option<Dictionary>,
}

impl<'a> Publish<'a> {
    pub(crate) fn new(client: &'a Client, topic: &str, payload: Bytes) -> Self {
        let topic = TopicName::new(topic).map_err(|wrong| Misuse::Topic { text: topic.to_owned(), wrong });
        Self { client, topic, payload, qos: Qos::AtMostOnce, retain: false, properties: Properties::default(), mark: None, hop: None }
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

    /// What the application wants to find again in its store once this message is in it, such as how far it has read its input:
    /// [`StoredSession::mark`](crate::store::StoredSession::mark). Both are kept in one step, so that after a crash the one is there exactly when
    /// the other is. At most 1024 bytes; without a store, and at QoS 0, it is not kept.
    pub fn mark(mut self, mark: impl Into<Bytes>) -> Self {
        self.mark = Some(mark.into());
        self
    }

    /// Hands the message to the client, in the order of these calls, and does not wait for what becomes of it. It waits while
    /// there is a connection and too much is on its way already.
    ///
    /// # Errors
    /// The topic is not valid, or the client has ended.
    pub async fn send(self) -> Result<Pending, PublishError> {
        self.hand_over(None, None).await
    }

    /// Sends it and waits until the server has told what became of it with those who were to get it, or why it does not tell. The server
    /// waits a while for those who do not answer, and longer than that nobody can say: a server that restarts meanwhile tells nothing, so
    /// whoever cannot wait sets a time limit around this.
    ///
    /// # Errors
    /// As those of the receipt: the message was not taken.
    pub async fn end_to_end(mut self) -> Result<EndToEnd, PublishError> {
        let (hop, wanted, report) = report::ask(&self.properties.hop_map());
        self.hop = Some(hop);
        let receipt = self.hand_over(None, Some(wanted)).await?.await?;
        let not_made = |why: &str| Reported::NotMade(why.to_owned());
        let reported = match receipt.dialect.is_extended() {
            true => report.await.unwrap_or_else(|_| not_made("the client has ended")),
            false => not_made("the connection was plain, and cannot ask"),
        };
        Ok(EndToEnd { receipt, reported })
    }

    /// As [`Publish::send`], and waits until the message is kept in the client's store: from then on it is published whatever becomes of this
    /// client, and it is the application's no more. Without a store, and at QoS 0, there is nothing to wait for.
    ///
    /// # Errors
    /// As [`Publish::send`], and the store has failed.
    pub async fn keep(self) -> Result<Pending, PublishError> {
        let (keeper, kept) = oneshot::channel();
        let client = self.client;
        let pending = self.hand_over(Some(keeper), None).await?;
        match kept.await {
            Ok(()) => Ok(pending),
            // It was refused before it was kept, which its outcome tells, or the client has ended.
            Err(_) => pending.await.map_or_else(Err, |_| Err(client.has_ended())),
        }
    }

    async fn hand_over(self, kept: Option<oneshot::Sender<()>>, wanted: Option<Wanted>) -> Result<Pending, PublishError> {
        if self.mark.as_ref().is_some_and(|mark| mark.len() > MARK_LEN_MAX) {
            return Err(Misuse::Option { name: "mark", wrong: format!("at most {MARK_LEN_MAX} bytes") }.into());
        }
        let message = Message::new(&self.topic?, &self.properties.message_map(), &self.payload);
        let delivery = Delivery { message, qos: self.qos, retain: self.retain, hop: self.hop.unwrap_or_else(|| self.properties.hop_map()) };
        let (outcome, pending) = oneshot::channel();
        self.client.order(Order { delivery, outcome, mark: self.mark, kept, wanted }).await?;
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
pub struct Pending(pub(crate) oneshot::Receiver<Outcome>);

/// A message that an earlier life of the session was handed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    pub message: Message,
    pub qos: Qos,
    /// Its receipt.
    pub pending: Pending,
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        // The driver answers every order, also when it ends; without an answer its task was cancelled with the runtime.
        Pin::new(&mut self.0).poll(cx).map(|outcome| outcome.unwrap_or(Err(PublishError::Lost { taken: false })))
    }
}
