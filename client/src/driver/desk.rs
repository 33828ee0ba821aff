//! Everything of a client that waits: messages for a connection, publishers for receipts, requests for answers, messages for the
//! application.

use super::{Reply, Request, State};
use crate::error::{Error, Misbehaved, PublishError, RequestError};
use crate::event::{Event, of_notice};
use crate::incoming::{Incoming, Settled};
use crate::link::Link;
use crate::options::Options;
use crate::publish::{self, Order, Receipt};
use crate::subscribe::{Granted, Wish, granted, packet};
use candor_protocol::codec::dictionary::{Dictionary, KeyRef};
use candor_protocol::dialect::Dialect;
use candor_protocol::packet::legality::check_message_keys;
use candor_protocol::packet::property::{MINIMUM_DURABILITY, SESSION_STATE};
use candor_protocol::packet::{Problem, Publish, Qos, Reason, Refusal, TopicFilter};
use candor_protocol::session::Admitted;
use candor_protocol::session::{Answer, Cause, Delivery, Opened, Outcome, Output, SessionState, Ticket, Token};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Filters that one SUBSCRIBE renews at most.
const RENEWED_AT_ONCE: usize = 100;

/// The driver's ends of the channels from the handles.
#[derive(Debug)]
pub(super) struct Inlets {
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) leave: mpsc::Receiver<bool>,
    /// Bounded by the messages that were handed out: see `incoming::Right`.
    pub(super) settlements: mpsc::UnboundedReceiver<Settled>,
}

/// A publisher that waits.
#[derive(Debug)]
struct Waiting {
    outcome: oneshot::Sender<publish::Outcome>,
    asks_durability: bool,
    has_properties: bool,
}

/// A request that was sent.
#[derive(Debug)]
enum Asked {
    Subscribe {
        wishes: Vec<Wish>,
        reply: Reply<Vec<Granted>>,
    },
    /// After the session was lost.
    Renew {
        wishes: Vec<Wish>,
    },
    Unsubscribe {
        filters: Vec<TopicFilter>,
        reply: Reply<Vec<Reason>>,
    },
}

#[derive(Debug)]
pub(super) struct Desk {
    options: Arc<Options>,
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
    pings: VecDeque<Reply<Dictionary>>,
    /// What is asked for again when the session is lost.
    subscriptions: Vec<Wish>,
    /// Messages above QoS 0 that were handed on and may be settled.
    open: HashMap<Ticket, Qos>,
    /// A message that the application has no room for; while there is one nothing is read.
    held: VecDeque<Incoming>,
    told_nobody_listens: bool,
}

impl Desk {
    pub(super) fn new(
        options: Arc<Options>,
        messages: mpsc::Sender<Incoming>,
        settle: mpsc::UnboundedSender<Settled>,
        events: broadcast::Sender<Event>,
        state: watch::Sender<State>,
    ) -> Self {
        Self {
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
            held: VecDeque::new(),
            told_nobody_listens: false,
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

    // Messages to the server.

    /// Whether more messages may wait.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() < self.options.queue_limit && self.queue_bytes < self.options.queue_bytes
    }

    /// Takes a message; without a connection it is refused when too many wait already.
    pub(super) fn take(&mut self, order: Order, connected: bool) {
        let Order { delivery, outcome } = order;
        if !connected && !self.has_room() {
            let _ = outcome.send(Err(PublishError::QueueFull { waiting: self.queue.len() }));
            return;
        }
        let token = self.token();
        let asks_durability = delivery.hop.value(MINIMUM_DURABILITY).is_some();
        let has_properties = !delivery.hop.is_empty() || !delivery.message.map().is_empty();
        self.waiting.insert(token, Waiting { outcome, asks_durability, has_properties });
        self.queue_bytes += delivery.message.len();
        self.queue.push_back((delivery, token));
    }

    /// Hands messages down as far as window, room and readiness allow.
    pub(super) fn hand_down(&mut self, link: &mut Link) {
        while link.has_room() && link.session.is_ready() {
            let Some((delivery, token)) = self.queue.pop_front() else { return };
            let len = delivery.message.len();
            if let Some(what) = self.unavailable(link, &delivery) {
                self.queue_bytes -= len;
                self.finish(token, Err(PublishError::NotAvailable { what }));
                continue;
            }
            match link.session.admit(&delivery.message, delivery.qos, delivery.retain, &delivery.hop, token) {
                Admitted::Later => {
                    self.queue.push_front((delivery, token));
                    return;
                }
                Admitted::TooLarge => {
                    let limit = link.session.terms().send_size_max;
                    let seen = delivery.message.len() + delivery.hop.as_bytes().len();
                    self.finish(token, Err(PublishError::TooLarge { limit, seen }));
                }
                Admitted::Now(id) => {
                    link.put_publish(&delivery, id, false);
                    if id.is_none() {
                        self.leaving.push_back((link.enqueued(), token));
                    }
                }
            }
            self.queue_bytes -= len;
        }
    }

    /// What the message asks for and this connection cannot give.
    fn unavailable(&self, link: &Link, delivery: &Delivery) -> Option<String> {
        let terms = link.session.terms();
        if !terms.dialect.is_extended() {
            let durability = delivery.hop.value(MINIMUM_DURABILITY).is_some();
            return durability.then(|| format!("MQTT {} cannot promise a least durability", terms.dialect));
        }
        let missing = delivery.hop.entries().find_map(|(key, _)| match key {
            KeyRef::Number(number) if number < 0 && self.options.registry.key(terms.experiments, number).is_none() => Some(number),
            _ => None,
        });
        missing.map(|number| format!("key {number} belongs to an experiment that is not in force on this connection"))
    }

    /// QoS 0 messages whose bytes the operating system has taken are done.
    pub(super) fn left(&mut self, link: &Link) {
        while let Some((_, token)) = self.leaving.front().copied().filter(|(position, _)| *position <= link.written()) {
            self.leaving.pop_front();
            self.finish(token, Ok((Outcome::accepted(), link.session.terms().dialect)));
        }
    }

    fn finish(&mut self, token: Token, result: Result<(Outcome, Dialect), PublishError>) {
        let Some(waiting) = self.waiting.remove(&token) else { return };
        let outcome = result.and_then(|(outcome, dialect)| match outcome.refusal() {
            Some(refusal) => Err(PublishError::Rejected(refusal)),
            // It was asked on an extended connection that broke, and a plain one answered.
            None if waiting.asks_durability && !dialect.is_extended() => {
                let what = "it was acknowledged on a plain connection, which promises no durability".to_owned();
                Err(PublishError::NotAvailable { what })
            }
            None => {
                let stripped = waiting.has_properties && !dialect.is_extended();
                Ok(Receipt { reason: outcome.reason, durability: outcome.receipt, dialect, stripped })
            }
        });
        // The publisher may not wait any more.
        let _ = waiting.outcome.send(outcome);
    }

    // Requests.

    pub(super) fn ask(&mut self, request: Request, link: &mut Link) {
        let extended = link.session.terms().dialect.is_extended();
        let token = self.token();
        match request {
            Request::Subscribe { wishes, reply } => {
                if !extended && wishes.iter().any(|wish| !wish.item.is_empty()) {
                    let what = "MQTT 3.1.1 has no subscription options and no requirements".to_owned();
                    let _ = reply.send(Err(RequestError::NotAvailable { what }));
                    return;
                }
                let (items, dictionary) = packet(&wishes);
                match link.session.subscribe(items, dictionary, token) {
                    Some(()) => drop(self.asked.insert(token, Asked::Subscribe { wishes, reply })),
                    None => drop(reply.send(Err(RequestError::Lost))),
                }
            }
            Request::Unsubscribe { filters, reply } => match link.session.unsubscribe(filters.clone(), Dictionary::EMPTY, token) {
                Some(()) => drop(self.asked.insert(token, Asked::Unsubscribe { filters, reply })),
                None => drop(reply.send(Err(RequestError::Lost))),
            },
            Request::Ping { reply } => {
                link.session.ping();
                self.pings.push_back(reply);
            }
        }
    }

    fn answered(&mut self, token: Token, answer: Answer) {
        match (self.asked.remove(&token), answer) {
            (Some(Asked::Subscribe { wishes, reply }), Answer::Subscribed(suback)) => {
                let result = granted(&wishes, &suback).ok_or_else(bad_answer);
                if let Ok(granted) = &result {
                    self.note_granted(&wishes, granted);
                }
                let _ = reply.send(result);
            }
            (Some(Asked::Renew { wishes }), Answer::Subscribed(suback)) => {
                for granted in granted(&wishes, &suback).unwrap_or_default() {
                    if let Err(refusal) = granted.result {
                        self.subscriptions.retain(|wish| wish.filter != granted.filter);
                        self.tell(Event::SubscriptionLost { filter: granted.filter, refusal });
                    }
                }
            }
            (Some(Asked::Unsubscribe { filters, reply }), Answer::Unsubscribed(unsuback)) => {
                self.subscriptions.retain(|wish| !filters.contains(&wish.filter));
                // A plain UNSUBACK says only that it was done.
                let reasons = if unsuback.reasons.is_empty() { vec![Reason::SUCCESS; filters.len()] } else { unsuback.reasons };
                let _ = reply.send(if reasons.len() == filters.len() { Ok(reasons) } else { Err(bad_answer()) });
            }
            (Some(Asked::Subscribe { reply, .. }), _) => drop(reply.send(Err(RequestError::Lost))),
            (Some(Asked::Unsubscribe { reply, .. }), _) => drop(reply.send(Err(RequestError::Lost))),
            (Some(Asked::Renew { .. }) | None, _) => {}
        }
    }

    fn note_granted(&mut self, wishes: &[Wish], granted: &[Granted]) {
        for (wish, _) in wishes.iter().zip(granted).filter(|(_, granted)| granted.result.is_ok()) {
            self.subscriptions.retain(|known| known.filter != wish.filter);
            self.subscriptions.push(wish.clone());
        }
    }

    // Messages from the server.

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
            Output::Pong(dictionary) => {
                if let Some(reply) = self.pings.pop_front() {
                    let _ = reply.send(Ok(dictionary));
                }
            }
            Output::Notice(notice) => self.notice(of_notice(notice)),
            Output::Refused { kind, refusal } => self.tell(Event::PacketRefused { kind, refusal }),
            Output::Closed { cause, .. } => return Some(cause),
            // The link has taken care of the first three; the others are a server's.
            Output::Send(_) | Output::Publish(_) | Output::Record(_) | Output::Opened(_) => {}
            Output::Connect(_) | Output::Subscribe(_) | Output::Unsubscribe(_) | Output::Ping => {}
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

    /// Hands a message to the application.
    fn hand_on(&mut self, ticket: Option<Ticket>, publish: Publish, link: &mut Link) {
        let dialect = link.session.terms().dialect;
        if let Err(refusal) = check_message_keys(&publish.message.dictionary()) {
            // Odd keys in the message bind its recipients: it is not handed out as if it were understood.
            self.tell(Event::NotUnderstood { topic: publish.message.topic_str().to_owned(), refusal: refusal.clone() });
            if let Some(ticket) = ticket {
                link.session.settle(ticket, Outcome::refused(refusal));
            }
            return;
        }
        if let Some(ticket) = ticket {
            self.open.insert(ticket, publish.qos);
        }
        self.held.push_back(Incoming::new(publish, ticket, dialect, &self.settle));
        self.forward();
    }

    /// Gives held messages to the application as far as it has room.
    pub(super) fn forward(&mut self) {
        while let Some(incoming) = self.held.pop_front() {
            match self.messages.try_send(incoming) {
                Ok(()) => {}
                Err(TrySendError::Full(incoming)) => return self.held.push_front(incoming),
                Err(TrySendError::Closed(incoming)) => self.nobody_listens(incoming),
            }
        }
    }

    fn nobody_listens(&mut self, mut incoming: Incoming) {
        if !std::mem::replace(&mut self.told_nobody_listens, true) {
            self.tell(Event::NobodyListens { topic: incoming.topic().to_owned() });
        }
        if incoming.dialect().is_extended() {
            incoming.settle(Outcome::released(), false);
        } else {
            // To say no would end the connection again and again; not saying yes leaves the message with the server.
            incoming.forget();
        }
    }

    pub(super) fn is_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Waits until the application has room or takes no messages any more.
    pub(super) async fn room(messages: &mpsc::Sender<Incoming>) {
        drop(messages.reserve().await);
    }

    pub(super) fn messages(&self) -> mpsc::Sender<Incoming> {
        self.messages.clone()
    }

    /// A message was settled; `link`: where the connection is open.
    pub(super) fn settled(&mut self, settled: Settled, dialect_extended: bool) -> Option<(Ticket, Outcome)> {
        let Settled { ticket, mut outcome, topic, dropped } = settled;
        if self.open.remove(&ticket).is_none() {
            self.tell(Event::SettledTooLate { topic });
            return None;
        }
        if dropped {
            self.tell(Event::DroppedUnsettled { topic: topic.clone() });
        }
        if !dialect_extended && outcome.reason == Reason::REJECTED {
            let problem = outcome.problem.take().unwrap_or_default();
            self.tell(Event::RejectedUnheard { topic, problem });
            outcome = Outcome::accepted();
        }
        Some((ticket, outcome))
    }

    // Connections come and go.

    /// A connection is open: what the server lost is dealt with, and subscriptions are renewed.
    pub(super) fn opened(&mut self, opened: Opened, link: &mut Link, first: bool) {
        let expected = !first && self.options.session_expiry_s > 0;
        let state = self.session_state(&opened);
        let was_lost = state.is_some_and(|state| !matches!(state, SessionState::Resumed | SessionState::New));
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

    fn renew(&mut self, link: &mut Link) {
        let wishes = self.subscriptions.clone();
        for wishes in wishes.chunks(RENEWED_AT_ONCE) {
            let token = self.token();
            let (items, dictionary) = packet(wishes);
            if link.session.subscribe(items, dictionary, token).is_some() {
                self.asked.insert(token, Asked::Renew { wishes: wishes.to_vec() });
            }
        }
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
        for reply in self.pings.drain(..) {
            let _ = reply.send(Err(RequestError::Lost));
        }
        // QoS 1 messages come again as new ones, QoS 2 messages are known again.
        self.open.retain(|_, qos| *qos == Qos::ExactlyOnce);
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
            }
        }
        for (_, waiting) in self.waiting.drain() {
            let _ = waiting.outcome.send(Err(PublishError::Ended(error.clone())));
        }
        self.held.iter_mut().for_each(Incoming::forget);
        self.held.clear();
    }
}

/// SUBACK or UNSUBACK that does not fit what was asked.
fn bad_answer() -> RequestError {
    let problem = Problem::titled("the answer has another number of reasons than there were filters");
    RequestError::Misbehaved(Misbehaved::Protocol(Refusal::new(Reason::PROTOCOL_ERROR, problem)))
}
