//! The task that drives a client: it owns the session and the socket of the connection that is open, and everything that
//! waits for one.
//!
//! ```text
//!   handles --orders, requests, settlements--> desk --deliver, subscribe, settle--> session --bytes--> wire
//!   handles <--receipts, grants, messages----- desk <--outputs--------------------- session <--frames-- wire
//! ```
//! One turn: take in what the handles sent, feed every whole frame and drain what comes of it, hand down what fits, then wait
//! until bytes move, something is sent, or a deadline is due. All that was made in a turn leaves in one write.

mod desk;
mod run;

use crate::agreement::Agreement;
use crate::client::Ends;
use crate::error::{Error, RequestError};
use crate::event::Event;
use crate::incoming::Messages;
use crate::link::Clock;
use crate::negotiate::Negotiator;
use crate::options::Options;
use crate::store::{Closer, Journal, StoreError, StoredSession};
use crate::subscribe::{Granted, Wish};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Question, Reason, TopicFilter, question};
use candor_protocol::session::Parked;
use desk::{Desk, Inlets};
use std::sync::{Arc, Mutex};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Messages that wait for the application.
const MESSAGES: usize = 1024;
/// Events that wait for each of their receivers.
const EVENTS: usize = 256;
/// Messages that are between a handle and the desk; the desk has its own limit.
const ORDERS: usize = 64;
/// Requests that wait for a connection.
const REQUESTS: usize = 64;

/// Where a client stands.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// There is no connection now.
    Apart,
    Open(Arc<Agreement>),
    Ended(Error),
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

/// What a handle asks for.
#[derive(Debug)]
pub(crate) enum Request {
    Subscribe { wishes: Vec<Wish>, reply: Reply<Vec<Granted>> },
    Unsubscribe { filters: Vec<TopicFilter>, reply: Reply<Vec<Reason>> },
    Ping { reply: Reply<Dictionary> },
    MayI { questions: Vec<Question>, reply: Reply<Vec<question::Answer>> },
}

/// The session that a driver starts with, and what ends its store.
#[derive(Debug)]
struct Kept {
    parked: Parked,
    closer: Option<Closer>,
}

/// What a driver that was started gives to its handles.
pub(crate) struct Started {
    pub(crate) ends: Ends,
    pub(crate) messages: Messages,
    pub(crate) events: broadcast::Receiver<Event>,
    /// What became of the first connection.
    pub(crate) opened: oneshot::Receiver<Result<(), Error>>,
}

/// Starts a driver.
///
/// # Errors
/// The session in the store cannot be carried on.
pub(crate) fn start(options: Arc<Options>) -> Result<Started, StoreError> {
    let (journal, closer, stored) = match &options.store {
        Some(store) => {
            Journal::start(Arc::clone(store), &options.client_id).map(|(journal, closer, stored)| (journal, Some(closer), stored))?
        }
        None => (Journal::default(), None, StoredSession::default()),
    };
    let (orders, order_inlet) = mpsc::channel(ORDERS);
    let (requests, request_inlet) = mpsc::channel(REQUESTS);
    let (leave, leave_inlet) = mpsc::channel(1);
    let (settle, settlements) = mpsc::unbounded_channel();
    let (messages, queue) = mpsc::channel(MESSAGES);
    let (events, receiver) = broadcast::channel(EVENTS);
    let (state_sender, state) = watch::channel(State::Apart);
    let (first, opened) = oneshot::channel();
    let handle = Messages { queue, settlement: options.settlement };
    let inlets = Inlets { orders: order_inlet, requests: request_inlet, leave: leave_inlet, settlements };
    let clock = Clock::start();
    let weak = events.downgrade();
    let negotiator = Negotiator::new(Arc::clone(&options), clock, journal.clone(), stored.has_begun());
    let mut desk = Desk::new(options, messages, settle, events, state_sender, journal);
    let (parked, restored) = desk.restore(stored)?;
    let ends = Ends { orders, requests, leave, events: weak, state, restored: Arc::new(Mutex::new(restored)) };
    tokio::spawn(run::run(negotiator, desk, inlets, Kept { parked, closer }, first));
    Ok(Started { ends, messages: handle, events: receiver, opened })
}
