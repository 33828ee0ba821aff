//! From CONNECT to a session, takeover, and the end of a session.

use super::client::Client;
use super::connection::{ListenerSettings, Peer};
use super::timers::Timer;
use super::{ConnectionKey, Rights, Shard};
use crate::message::Envelope;
use crate::queue::Queue;
use bytes::{Bytes, BytesMut};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Connect, Kind, Problem, Reason, Refusal, Retry, Will, property};
use candor_protocol::session::{Acceptance, Cause, Parked, Session, SessionState};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who a client is, once that is known.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The name it proved; empty: somebody anonymous.
    pub principal: Arc<str>,
    pub rights: Arc<dyn Rights>,
}

/// A connection on its way to the shard where its session lives.
#[derive(Debug)]
pub struct Moved {
    session: Session,
    peer: Peer,
    listener: Arc<ListenerSettings>,
    held: BytesMut,
    connect: Box<Connect>,
    client_id: Arc<str>,
    is_id_assigned: bool,
}

/// Identifiers whose session ended for a reason that its client may ask for when it comes back; bounded.
#[derive(Debug, Default)]
pub struct Ended {
    reasons: HashMap<Arc<str>, SessionState, foldhash::fast::RandomState>,
    order: VecDeque<Arc<str>>,
}

const ENDED_MAX: usize = 10_000;

impl Ended {
    fn note(&mut self, id: Arc<str>, state: SessionState) {
        if self.reasons.insert(Arc::clone(&id), state).is_none() {
            self.order.push_back(id);
            if self.order.len() > ENDED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.reasons.remove(&oldest);
            }
        }
    }

    /// Why there is no session; asked once.
    fn take(&mut self, id: &str) -> SessionState {
        let state = self.reasons.remove(id);
        if state.is_some() {
            self.order.retain(|other| &**other != id);
        }
        state.unwrap_or_default()
    }
}

/// The shard where a client's session lives, for its whole life.
pub fn home(client_id: &str, shards: u16) -> u16 {
    if shards <= 1 {
        return 0;
    }
    // Fixed keys: every shard, and every run, must come to the same answer.
    (foldhash::fast::FixedState::with_seed(0).hash_one(client_id) % u64::from(shards)) as u16
}

impl Shard {
    /// A CONNECT that can be served: to the shard of its session, and there to the answer who it is.
    pub(super) fn connect(&mut self, key: ConnectionKey, connect: Box<Connect>) {
        let assigned = connect.client_id.is_empty().then(|| format!("candor-{:016x}{:016x}", self.random.draw(), self.random.draw()));
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_id_assigned = assigned.is_some();
        connection.client_id = assigned.unwrap_or_else(|| connect.client_id.clone()).into();
        connection.connect = Some(connect);
        match home(&connection.client_id, self.settings.shards) {
            home if home == self.index => self.effects.authenticate.push(key),
            home => self.effects.moves.push((key, home)),
        }
    }

    /// Takes a connection out, to be moved to another shard.
    pub fn remove_moved(&mut self, key: ConnectionKey) -> Option<Moved> {
        let connection = self.connections.try_remove(key)?;
        Some(Moved {
            session: connection.session,
            peer: connection.peer,
            listener: connection.listener,
            held: connection.held,
            connect: connection.connect?,
            client_id: connection.client_id,
            is_id_assigned: connection.is_id_assigned,
        })
    }

    /// Takes a connection in that another shard has moved here.
    pub fn adopt(&mut self, moved: Moved) -> ConnectionKey {
        let key = self.insert(moved.session, moved.peer, moved.listener, moved.held);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.connect = Some(moved.connect);
            connection.client_id = moved.client_id;
            connection.is_id_assigned = moved.is_id_assigned;
        }
        self.effects.authenticate.push(key);
        key
    }

    /// The answer to who a client is.
    pub fn authenticated(&mut self, key: ConnectionKey, answer: Result<Admission, Refusal>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(connect) = connection.connect.take() else { return };
        if let Ok(admission) = &answer {
            connection.principal = Arc::clone(&admission.principal);
        }
        let admitted = answer.and_then(|admission| self.check_session(key, &connect, &admission).map(|()| admission));
        match admitted {
            Ok(admission) => self.attach(key, &connect, admission),
            Err(refusal) => {
                self.verdict_on_connection(key, Kind::Connect, &refusal, None);
                if let Some(connection) = self.connections.get_mut(key) {
                    let disclosed = connection.listener.disclosed(&refusal);
                    connection.session.refuse(disclosed);
                }
            }
        }
        self.act(key);
        self.read_held(key);
    }

    /// A session belongs to a principal, and a will must be one that the client may publish.
    fn check_session(&self, key: ConnectionKey, connect: &Connect, admission: &Admission) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        let open = self.shared.connections.load(Ordering::Relaxed);
        if open >= self.settings.connections_max {
            let limit = self.settings.connections_max as u64;
            let problem =
                Problem::titled("the server has as many connections as it may have").rule("connections_max").limit(limit, open as u64 + 1);
            return Err(Refusal::new(Reason::SERVER_BUSY, problem.retry(Retry::After { after_ms: 10_000, jitter_ms: 20_000 })));
        }
        if let Some(client) = self.directory.get(&connection.client_id).and_then(|slot| self.clients.get(*slot))
            && client.principal != admission.principal
        {
            let problem = Problem::titled("the session belongs to another principal").field("client identifier").retry(Retry::Never);
            return Err(Refusal::new(Reason::NOT_AUTHORIZED, problem));
        }
        if let Some(will) = &connect.will {
            admission.rights.will(will.message.topic(), will.qos, will.retain).map_err(|mut refusal| {
                refusal.problem.field = Some("will".to_owned());
                refusal
            })?;
        }
        let expiry_s = self.session_expiry_s(key, connect);
        let profile = &connection.listener.policy.profile;
        if expiry_s > 0 && profile.session_expiry_s_max == 0 && !connect.dialect.is_extended() {
            let problem = Problem::titled("this server keeps no session beyond its connection").field("CleanSession").retry(Retry::Never);
            return Err(Refusal::new(Reason::SESSION_NOT_KEPT, problem));
        }
        Ok(())
    }

    fn session_expiry_s(&self, key: ConnectionKey, connect: &Connect) -> u64 {
        let unsaid = match self.connections.get(key) {
            Some(connection) if !connect.clean_session && !connect.dialect.is_extended() => {
                connection.listener.policy.session_expiry_plain_s
            }
            _ => 0,
        };
        connect.dictionary.value(property::SESSION_EXPIRY_INTERVAL).unwrap_or(u64::from(unsaid))
    }

    fn attach(&mut self, key: ConnectionKey, connect: &Connect, admission: Admission) {
        let Some(connection) = self.connections.get(key) else { return };
        let id = Arc::clone(&connection.client_id);
        if let Some(slot) = self.directory.get(&id).copied() {
            self.take_over(slot);
        }
        // The takeover may have ended the session.
        let existing = self.directory.get(&id).copied();
        let (slot, state, parked) = match existing {
            Some(slot) if !connect.clean_session => {
                let parked = self.clients.get_mut(slot).and_then(|client| client.parked.take());
                (slot, SessionState::Resumed, parked)
            }
            existing => {
                if let Some(slot) = existing {
                    self.end_session(slot);
                }
                let state = if connect.clean_session { SessionState::New } else { self.ended.take(&id) };
                (self.new_client(Arc::clone(&id), &admission), state, None)
            }
        };
        let Some(client) = self.clients.get_mut(slot) else { return };
        client.connection = Some(key);
        client.expires_at_ms = None;
        client.generation = self.random.draw();
        client.rights = admission.rights;
        let incarnation = Bytes::copy_from_slice(&client.incarnation.to_be_bytes());
        let count_mark = Bytes::copy_from_slice(&client.generation.to_be_bytes());
        let unix_ms = self.now.unix_ms;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.client = Some(slot);
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        let assigned_client_id = connection.is_id_assigned.then(|| id.to_string());
        let acceptance = Acceptance { state, incarnation, count_mark, assigned_client_id, server_time_ms: unix_ms };
        connection.session.accept(acceptance, parked.or_else(|| (state == SessionState::Resumed).then(Parked::default)), self.now.ms);
        let terms = connection.session.terms();
        tracing::debug!(client = %id, principal = %admission.principal, dialect = %terms.dialect, state = ?state, "connected");
        let expiry_s = terms.session_expiry_s;
        if let Some(client) = self.clients.get_mut(slot) {
            client.expiry_s = expiry_s;
        }
        self.set_available(slot, true);
        // The deadline of an open connection may be earlier than that of the opening.
        self.schedule(key);
        self.act(key);
        self.pump(slot);
    }

    fn new_client(&mut self, id: Arc<str>, admission: &Admission) -> u32 {
        let incarnation = self.random.draw();
        let client = Client {
            id: Arc::clone(&id),
            principal: Arc::clone(&admission.principal),
            rights: Arc::clone(&admission.rights),
            incarnation,
            connection: None,
            parked: None,
            queue: Queue::new(self.settings.queue),
            subscriptions: HashMap::default(),
            replays: VecDeque::new(),
            feedback: Vec::new(),
            expiry_s: 0,
            expires_at_ms: None,
            generation: 0,
            paused_until_ms: 0,
            releases: 0,
        };
        let slot = self.clients.insert(client, self.now.ms);
        self.directory.insert(id, slot);
        slot
    }

    /// Ends the connection that holds a session, for another that takes it ([MQTT-3.1.4-2]).
    fn take_over(&mut self, slot: u32) {
        let Some(old) = self.clients.get(slot).and_then(|client| client.connection) else { return };
        let problem = Problem::titled("another connection with this client identifier took the session")
            .retry(Retry::After { after_ms: 5000, jitter_ms: 5000 });
        let refusal = Refusal::new(Reason::SESSION_TAKEN_OVER, problem);
        self.verdict_on_connection(old, Kind::Disconnect, &refusal, None);
        if let Some(connection) = self.connections.get_mut(old) {
            connection.session.refuse_connection(refusal);
        }
        self.act(old);
    }

    /// A session's connection ended: keep the session, or end it, and publish its will.
    pub(super) fn session_closed(&mut self, key: ConnectionKey, cause: Cause, will: Option<Box<Will>>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_closing = true;
        connection.held = BytesMut::new();
        let client = connection.client.take();
        let expiry_s = connection.session.terms().session_expiry_s;
        let parked = connection.session.take_parked();
        tracing::debug!(client = %connection.client_id, peer = %connection.peer.address, cause = ?cause, "disconnected");
        let malformed = match &cause {
            Cause::Malformed(error) => Some((error.reason(), error.to_string())),
            Cause::Refused(refusal) if refusal.reason == Reason::PROTOCOL_ERROR => Some((refusal.reason, refusal.to_string())),
            _ => None,
        };
        if let Some((reason, title)) = malformed {
            let refusal = Refusal::new(reason, Problem::titled(title).retry(Retry::Never));
            if let Some(slot) = client {
                let verdict = crate::feedback::Verdict::new(self.now.unix_ms, Kind::Disconnect, refusal, None);
                self.verdict(slot, verdict);
            } else {
                self.verdict_on_connection(key, Kind::Connect, &refusal, None);
            }
        }
        self.touch(key);
        let Some(slot) = client else { return };
        self.shared.connections.fetch_sub(1, Ordering::Relaxed);
        let publisher = self.clients.get(slot).map(|client| (Arc::clone(&client.rights), Arc::clone(&client.principal)));
        if let Some(client) = self.clients.get_mut(slot) {
            client.connection = None;
            client.parked = Some(parked);
            client.replays.clear();
            client.expiry_s = expiry_s;
            // Feedback is a view of a connection; the ledger keeps what happens meanwhile.
            client.feedback.clear();
        }
        if expiry_s == 0 {
            self.end_session(slot);
        } else {
            self.set_available(slot, false);
            self.keep_session(slot, expiry_s);
        }
        if let (Some(will), Some((rights, principal))) = (will, publisher) {
            self.publish_will(&will, &*rights, principal);
        }
    }

    fn keep_session(&mut self, slot: u32, expiry_s: u32) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        if expiry_s != u32::MAX {
            let at_ms = self.now.ms.saturating_add(1000 * u64::from(expiry_s));
            client.expires_at_ms = Some(at_ms);
            self.timers.at(at_ms, Timer::Session(slot, client.generation));
        }
    }

    pub(super) fn session_due(&mut self, slot: u32, generation: u64) {
        let Some(client) = self.clients.get(slot) else { return };
        if client.generation != generation || client.expires_at_ms.is_none_or(|at_ms| at_ms > self.now.ms) {
            return;
        }
        let id = Arc::clone(&client.id);
        tracing::info!(client = %id, waiting = client.queue.len(), "session expired");
        self.end_session(slot);
        self.ended.note(id, SessionState::Expired);
    }

    /// Forgets a session and everything that was kept for it.
    fn end_session(&mut self, slot: u32) {
        let Some(client) = self.clients.remove(slot, self.now.ms) else { return };
        self.directory.remove(&client.id);
        if client.subscriptions.is_empty() {
            return;
        }
        let subscriber = self.subscriber(slot);
        let shared = Arc::clone(&self.shared);
        let mut router = shared.router_mut();
        client.subscriptions.keys().for_each(|filter| {
            router.unsubscribe(filter, subscriber);
        });
    }

    /// Tells shared groups whether a member can be handed messages at once.
    fn set_available(&mut self, slot: u32, available: bool) {
        let subscriber = self.subscriber(slot);
        let Some(client) = self.clients.get(slot) else { return };
        if client.subscriptions.keys().any(|filter| filter.group().is_some()) {
            let router = self.shared.router();
            for filter in client.subscriptions.keys().filter(|filter| filter.group().is_some()) {
                router.shared.set_available(filter, subscriber, available);
            }
        }
    }

    /// The will's rights were checked when it was armed; they are checked again, since rules may have changed.
    fn publish_will(&mut self, will: &Will, rights: &dyn Rights, principal: Arc<str>) {
        if let Err(refusal) = rights.will(will.message.topic(), will.qos, will.retain) {
            tracing::warn!(topic = will.message.topic_str(), refusal = %refusal, "will withheld");
            return;
        }
        let expiry_s = will.dictionary.value(property::MESSAGE_EXPIRY_INTERVAL);
        let envelope = Envelope {
            message: will.message.clone(),
            qos: will.qos,
            retain: will.retain,
            expires_at_ms: expiry_s.map(|seconds| self.now.unix_ms.saturating_add(1000 * seconds)),
            stamps: self.stamps(Some(principal)),
            hop: Dictionary::EMPTY,
        };
        self.route(envelope, None);
    }
}
