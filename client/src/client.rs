//! The handle that an application holds; what it asks for is done by the driver's task.

use crate::agreement::Agreement;
use crate::driver::{self, Request, Started, State};
use crate::error::{Error, PublishError, RequestError};
use crate::event::{Event, Events};
use crate::incoming::Messages;
use crate::options::Options;
use crate::publish::{Order, Publish, Restored};
use crate::subscribe::{Filters, Granted, Subscribe, Subscriptions, Wish, parse};
use bytes::Bytes;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Qos, Question, Reason, Refusal};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// A client; a clone is the same client.
///
/// It ends when [`Client::leave`] is called, when its reconnect policy gives up, or when every clone and its [`Messages`] were
/// dropped.
#[derive(Debug, Clone)]
pub struct Client {
    orders: mpsc::Sender<Order>,
    requests: mpsc::Sender<Request>,
    leave: mpsc::Sender<bool>,
    events: broadcast::WeakSender<Event>,
    state: watch::Receiver<State>,
    restored: Arc<Mutex<Vec<Restored>>>,
}

/// The handle's ends of the channels to the driver.
pub(crate) struct Ends {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) leave: mpsc::Sender<bool>,
    pub(crate) events: broadcast::WeakSender<Event>,
    pub(crate) state: watch::Receiver<State>,
    pub(crate) restored: Arc<Mutex<Vec<Restored>>>,
}

impl Client {
    /// Connects, and drives the connection on a task of the current tokio runtime from then on.
    ///
    /// # Errors
    /// Why there is no connection. With [`Reconnect::also_first`](crate::Reconnect::also_first) it is tried again where that can help.
    pub async fn connect(options: Options) -> Result<(Client, Messages), Error> {
        let (client, messages, _) = Self::connect_observed(options).await?;
        Ok((client, messages))
    }

    /// As [`Client::connect`], with the events from the first connection on.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_observed(options: Options) -> Result<(Client, Messages, Events), Error> {
        options.check()?;
        let Started { ends, messages, events, opened } = driver::start(Arc::new(options))?;
        let Ends { orders, requests, leave, events: weak, state, restored } = ends;
        let client = Client { orders, requests, leave, events: weak, state, restored };
        opened.await.unwrap_or(Err(Error::Cancelled))?;
        Ok((client, messages, Events(events)))
    }

    /// A message to publish: set what it needs, then `.await` its receipt.
    pub fn publish(&self, topic: impl AsRef<str>, payload: impl Into<Bytes>) -> Publish<'_> {
        Publish::new(self, topic.as_ref(), payload.into())
    }

    /// One or more topic filters to subscribe to, alone or each with its own options ([`Subscription`](crate::Subscription)): set what they
    /// have in common, then `.await` what was granted.
    pub fn subscribe(&self, filters: impl Subscriptions) -> Subscribe<'_> {
        Subscribe::new(self, filters)
    }

    /// Ends subscriptions. One reason a filter: success, or 0x11 where there was none; a plain server says only that it has done so.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn unsubscribe(&self, filters: impl Filters) -> Result<Vec<Reason>, RequestError> {
        let filters = parse(filters)?;
        self.ask(|reply| Request::Unsubscribe { filters, reply }).await
    }

    /// Asks for a sign of life. An extended server says with it what it keeps, its time and how many messages wait.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn ping(&self) -> Result<Dictionary, RequestError> {
        self.ask(|reply| Request::Ping { reply }).await
    }

    /// Asks what would become of publishes and subscriptions of this client, without doing anything: for each question the QoS that
    /// would be granted, or the refusal. A server limits how many it answers: those behind have a refusal that says when to ask again.
    ///
    /// # Errors
    /// There is no answer: the connection is plain, or the server gives none.
    pub async fn may_i(&self, questions: Vec<Question>) -> Result<Vec<Result<Qos, Refusal>>, RequestError> {
        self.ask(|reply| Request::MayI { questions, reply }).await
    }

    /// The events from now on. At most 256 wait for a receiver; one that is slower is told how many it missed.
    pub fn events(&self) -> Events {
        let closed = || broadcast::channel(1).1;
        Events(self.events.upgrade().map_or_else(closed, |events| events.subscribe()))
    }

    /// What was agreed for the connection that is open now; `None`: there is none.
    pub fn agreement(&self) -> Option<Arc<Agreement>> {
        match &*self.state.borrow() {
            State::Open(agreement) => Some(Arc::clone(agreement)),
            State::Apart | State::Ended(_) => None,
        }
    }

    /// The messages above QoS 0 that an earlier life of this session left unsettled in its store: they are sent, or sent again, without
    /// being asked for, and each has its receipt here. The first caller gets them all; whoever does not want them need not ask.
    pub fn restored(&self) -> Vec<Restored> {
        std::mem::take(&mut *self.restored.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says goodbye: writes what was handed over at QoS 0, sends DISCONNECT, and ends the client. What was published above QoS 0 and
    /// has no receipt yet gets none; with a store it is kept there for the next life.
    pub async fn leave(&self) {
        self.leave_as(false).await;
    }

    /// As [`Client::leave`], and has the server publish the will.
    pub async fn leave_with_will(&self) {
        self.leave_as(true).await;
    }

    async fn leave_as(&self, with_will: bool) {
        // It fails only when somebody has left already, or the client has ended.
        let _ = self.leave.try_send(with_will);
        // Until the driver is gone, and with it its hold on a store.
        let mut state = self.state.clone();
        while state.changed().await.is_ok() {}
    }

    /// Waits until the client has ended, and says why.
    pub async fn ended(&self) -> Error {
        let mut state = self.state.clone();
        match state.wait_for(|state| matches!(state, State::Ended(_))).await.as_deref() {
            Ok(State::Ended(error)) => error.clone(),
            _ => Error::Cancelled,
        }
    }

    /// Why the client has ended, if it has.
    fn why(&self) -> Error {
        match &*self.state.borrow() {
            State::Ended(error) => error.clone(),
            _ => Error::Cancelled,
        }
    }

    pub(crate) fn has_ended(&self) -> PublishError {
        PublishError::Ended(self.why())
    }

    pub(crate) async fn order(&self, order: Order) -> Result<(), PublishError> {
        self.orders.send(order).await.map_err(|_| PublishError::Ended(self.why()))
    }

    pub(crate) async fn subscribe_to(&self, wishes: Vec<Wish>) -> Result<Vec<Granted>, RequestError> {
        self.ask(|reply| Request::Subscribe { wishes, reply }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T, RequestError>>) -> Request) -> Result<T, RequestError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| RequestError::Ended(self.why()))?;
        answer.await.unwrap_or_else(|_| Err(RequestError::Ended(self.why())))
    }
}
