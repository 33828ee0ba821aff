//! Everything of a client that waits: messages for a connection, publishers for receipts, requests for answers, messages for the
//! application. Each concern has a file of its own beside this one.

mod incoming;
mod outgoing;
mod pings;
mod requests;
mod restore;

use super::{Request, State};
use crate::agreement::Agreement;
use crate::error::{Error, PublishError, RequestError};
use crate::event::{Event, of_notice};
use crate::incoming::{Incoming, Settled};
use crate::link::Link;
use crate::options::Options;
use crate::publish::Order;
use crate::report::Reports;
use crate::store::{Journal, Record};
use crate::subscribe::Wish;
use bytes::Bytes;
use candor_protocol::dialect::Dialect;
use candor_protocol::extension::Registry;
use candor_protocol::packet::property::{SESSION_INCARNATION, SESSION_STATE};
use candor_protocol::packet::{PacketId, Qos};
use candor_protocol::session::{Cause, Delivery, Opened, Outcome, Output, SessionState, Ticket, Token};
use outgoing::Waiting;
use pings::Pinged;
use requests::Asked;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// The driver's ends of the channels from the handles.
#[derive(Debug)]
pub(super) struct Inlets {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) leave: mpsc::Receiver<bool>,
    /// Bounded by the messages that were handed out: see `incoming::Right`.
    pub(super) settlements: mpsc::UnboundedReceiver<Settled>,
}

#[derive(Debug)]
pub(super) struct Desk {
    options: Arc<Options>,
    /// What this client runs, for the names of keys; `None`: nothing.
    experiments: Option<Arc<Registry>>,
    messages: mpsc::Sender<Incoming>,
    settle: mpsc::UnboundedSender<Settled>,
    events: broadcast::Sender<Event>,
    state: watch::Sender<State>,
    next_token: Token,
    /// Messages that are not sent yet, in their order, and their bytes.
    queue: VecDeque<(Delivery, Token)>,
    queue_bytes: usize,
    waiting: HashMap<Token, Waiting>,
    /// QoS 0: what is told when the bytes up to this position have left.
    leaving: VecDeque<(u64, Token)>,
    asked: HashMap<Token, Asked>,
    pings: VecDeque<Pinged>,
    /// What is asked for again when the session is lost.
    subscriptions: Vec<Wish>,
    /// Messages above QoS 0 that were handed on and may be settled.
    open: HashMap<Ticket, (Qos, PacketId)>,
    journal: Journal,
    /// There was a session before this client, in its store.
    resumes: bool,
    /// The server's name for the life of the session that identifiers belong to; empty where it gave none.
    incarnation: Bytes,
    /// Who wants to know when so many records are kept.
    keeping: VecDeque<(u64, oneshot::Sender<()>)>,
    /// A message that the application has no room for; while there is one nothing is read.
    held: VecDeque<Incoming>,
    told_nobody_listens: bool,
    reports: Reports,
}

impl Desk {
    pub(super) fn new(
        options: Arc<Options>,
        messages: mpsc::Sender<Incoming>,
        settle: mpsc::UnboundedSender<Settled>,
        events: broadcast::Sender<Event>,
        state: watch::Sender<State>,
        journal: Journal,
    ) -> Self {
        let runs_any = options.registry.iter().next().is_some();
        Self {
            experiments: runs_any.then(|| Arc::new(options.registry.clone())),
            options,
            messages,
            settle,
            events,
            state,
            next_token: 0,
            queue: VecDeque::new(),
            queue_bytes: 0,
            waiting: HashMap::new(),
            leaving: VecDeque::new(),
            asked: HashMap::new(),
            pings: VecDeque::new(),
            subscriptions: Vec::new(),
            open: HashMap::new(),
            journal,
            resumes: false,
            incarnation: Bytes::new(),
            keeping: VecDeque::new(),
            held: VecDeque::new(),
            told_nobody_listens: false,
            reports: Reports::default(),
        }
    }

    pub(super) fn tell(&self, event: Event) {
        // Without a receiver nobody wants to know.
        let _ = self.events.send(event);
    }

    pub(super) fn set_state(&self, state: State) {
        self.state.send_replace(state);
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        self.next_token
    }

    /// Acts on everything the session wants; the cause when it has closed.
    pub(super) fn drain(&mut self, link: &mut Link) -> Option<Cause> {
        while let Some(output) = link.poll() {
            if let Some(cause) = self.act(output, link) {
                return Some(cause);
            }
        }
        None
    }

    fn act(&mut self, output: Output, link: &mut Link) -> Option<Cause> {
        match output {
            Output::Message { ticket, publish } => self.hand_on(ticket, publish, link),
            Output::Settled { token, outcome, .. } => self.finish(token, Ok((outcome, link.session.terms().dialect))),
            Output::Answered { token, answer } => self.answered(token, answer),
            Output::Pong(dictionary) => self.ponged(dictionary, link.session.terms().keep_alive_s),
            Output::Notice(notice) => self.notice(of_notice(notice)),
            Output::Refused { kind, refusal, publish } => {
                let topic = publish.map(|publish| publish.message.topic_str().to_owned());
                self.tell(Event::PacketRefused { kind, topic, refusal })
            }
            Output::Closed { cause, .. } => return Some(cause),
            // The link has taken care of the first three; the others are a server's.
            Output::Send(_) | Output::Publish(_) | Output::Record(_) | Output::Opened(_) => {}
            Output::Connect(_) | Output::Subscribe(_) | Output::Unsubscribe(_) | Output::Ping(_) => {}
        }
        None
    }

    fn notice(&self, event: Event) {
        if let Event::ProfileChanged(profile) = &event {
            self.state.send_modify(|state| {
                if let State::Open(agreement) = state {
                    Arc::make_mut(agreement).profile = Some((**profile).clone());
                }
            });
        }
        self.tell(event);
    }

    /// The life of the session that this client knows, as the server named it; empty: none.
    pub(super) fn incarnation(&self) -> &Bytes {
        &self.incarnation
    }

    /// Whether the server resumed a session that is not the one this client knows.
    pub(super) fn is_another_life(&self, agreement: &Agreement) -> bool {
        let named = agreement.incarnation.as_ref().filter(|_| agreement.session_present && !self.incarnation.is_empty());
        named.is_some_and(|incarnation| *incarnation != self.incarnation)
    }

    /// A connection is open: what the server lost is dealt with, and subscriptions are renewed.
    pub(super) fn opened(&mut self, opened: Opened, link: &mut Link, first: bool) {
        let first = first && !std::mem::take(&mut self.resumes);
        let expected = !first && self.options.session_expiry_s > 0;
        let state = self.session_state(&opened);
        let was_lost = state.is_some_and(|state| !matches!(state, SessionState::Resumed | SessionState::New));
        if !opened.session_present {
            self.journal.record(Record::Lost);
        }
        let incarnation = opened.dictionary.value(SESSION_INCARNATION).unwrap_or_default();
        self.journal.record(Record::Begun { client_id: self.options.client_id.clone(), incarnation: incarnation.clone() });
        self.incarnation = incarnation;
        if !opened.session_present {
            self.open.clear();
            let (mut unsettled, mut resent) = (0, 0);
            for (token, delivery, taken) in opened.lost.into_iter().rev() {
                if delivery.qos == Qos::AtLeastOnce {
                    resent += 1;
                    self.queue_bytes += delivery.message.len();
                    self.queue.push_front((delivery, token));
                } else {
                    unsettled += 1;
                    self.finish(token, Err(PublishError::Lost { taken }));
                }
            }
            if expected || was_lost || unsettled + resent > 0 {
                self.tell(Event::SessionLost { state, unsettled, resent });
            }
            if !first && self.options.resubscribe {
                self.renew(link);
            }
        }
    }

    fn session_state(&self, opened: &Opened) -> Option<SessionState> {
        opened.dictionary.value(SESSION_STATE).and_then(SessionState::of_number)
    }

    /// Outputs of the time before the connection was agreed.
    pub(super) fn act_early(&mut self, outputs: Vec<Output>, link: &mut Link) {
        for output in outputs {
            self.act(output, link);
        }
    }

    /// The connection is gone; `all_written`: everything that was handed down had left before.
    pub(super) fn apart(&mut self, all_written: bool, dialect: Dialect) {
        for (_, token) in std::mem::take(&mut self.leaving) {
            let result = if all_written { Ok((Outcome::accepted(), dialect)) } else { Err(PublishError::Lost { taken: false }) };
            self.finish(token, result);
        }
        self.forget_pings();
        // QoS 1 messages come again as new ones, QoS 2 messages are known again.
        self.open.retain(|_, (qos, _)| *qos == Qos::ExactlyOnce);
        self.told_nobody_listens = false;
    }

    /// The client ends: everybody who waits is told why.
    pub(super) fn end(&mut self, error: &Error, inlets: &mut Inlets) {
        // First the state, so that whoever finds a channel closed finds the reason.
        self.set_state(State::Ended(error.clone()));
        inlets.orders.close();
        inlets.requests.close();
        while let Ok(order) = inlets.orders.try_recv() {
            let _ = order.outcome.send(Err(PublishError::Ended(error.clone())));
        }
        while let Ok(request) = inlets.requests.try_recv() {
            let ended = RequestError::Ended(error.clone());
            match request {
                Request::Subscribe { reply, .. } => drop(reply.send(Err(ended))),
                Request::Unsubscribe { reply, .. } => drop(reply.send(Err(ended))),
                Request::Ping { reply } => drop(reply.send(Err(ended))),
                Request::MayI { reply, .. } => drop(reply.send(Err(ended))),
            }
        }
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.outcome.send(Err(PublishError::Ended(error.clone())));
        }
        self.reports = Reports::default();
        self.held.iter_mut().for_each(Incoming::forget);
        self.held.clear();
    }
}
