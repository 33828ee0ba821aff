//! From CONNECT to a session, takeover, and the end of a session.

use super::client::Client;
use super::connection::{ListenerSettings, Peer};
use super::keeping::{Accept, Life, Then, not_kept};
use super::timers::Timer;
use super::{ConnectionKey, Rights, Shard};
use crate::message::Envelope;
use crate::store::record::Whose;
use crate::store::{Record, SessionNumber};
use bytes::{Bytes, BytesMut};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Connect, Kind, Problem, Reason, Refusal, Retry, Will, property};
use candor_protocol::session::{Acceptance, Cause, Session, SessionState};
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
    pub(super) fn note(&mut self, id: Arc<str>, state: SessionState) {
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
            home if home == self.index => self.at_the_door(key),
            home => self.effects.moves.push((key, home)),
        }
    }

    /// Takes a connection out, to be moved to another shard.
    pub fn remove_moved(&mut self, key: ConnectionKey) -> Option<Moved> {
        let connection = self.connections.try_remove(key)?;
        self.account.release(connection.counted_bytes);
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
        self.at_the_door(key);
        key
    }

    /// The answer to who a client is.
    pub fn authenticated(&mut self, key: ConnectionKey, answer: Result<Admission, Refusal>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(connect) = connection.connect.take() else { return };
        let is_known = answer.is_ok();
        if let Ok(admission) = &answer {
            connection.principal = Arc::clone(&admission.principal);
        }
        let admitted = answer.and_then(|admission| self.check_session(key, &connect, &admission).map(|()| admission));
        match admitted {
            Ok(admission) => self.attach(key, &connect, admission),
            Err(refusal) => {
                self.verdict_on_connection(key, Kind::Connect, &refusal, None);
                self.count_refusal(key, Kind::Connect, &refusal, None);
                if let Some(connection) = self.connections.get_mut(key) {
                    let disclosure = connection.listener.policy.disclosure;
                    let disclosure = if is_known { disclosure } else { disclosure.before_authentication() };
                    connection.session.refuse(disclosure.of(&refusal));
                }
            }
        }
        self.act(key);
        self.read_held(key);
    }

    /// A session belongs to a principal, and a will must be one that the client may publish.
    fn check_session(&self, key: ConnectionKey, connect: &Connect, admission: &Admission) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(key) else { return Ok(()) };
        // Whoever comes back to its session takes what waits there.
        if !self.directory.contains_key(&connection.client_id) {
            self.check_memory()?;
        }
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
        let (slot, state) = match existing {
            Some(slot) if !connect.clean_session => (slot, SessionState::Resumed),
            existing => {
                if let Some(slot) = existing {
                    self.end_session(slot, SessionState::New);
                }
                let state = if connect.clean_session { SessionState::New } else { self.ended.take(&id) };
                if state != SessionState::New {
                    self.keeper.keep(Record::EndTold { client_id: Arc::clone(&id) });
                }
                (self.new_client(Arc::clone(&id), &admission), state)
            }
        };
        let Some(client) = self.clients.get_mut(slot) else { return };
        client.connection = Some(key);
        client.parked.get_or_insert_default();
        client.expires_at_ms = None;
        client.generation = self.random.draw();
        client.rights = admission.rights;
        let is_restored = std::mem::take(&mut client.is_restored);
        let incarnation = Bytes::copy_from_slice(&client.incarnation.to_be_bytes());
        let count_mark = Bytes::copy_from_slice(&client.generation.to_be_bytes());
        let server_time_ms = self.now.unix_ms;
        let expiry_s = self.session_expiry_s(key, connect);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.client = Some(slot);
        let generation = connection.generation;
        let expiry_s = expiry_s.min(u64::from(connection.listener.policy.profile.session_expiry_s_max)) as u32;
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        let assigned_client_id = connection.is_id_assigned.then(|| id.to_string());
        let acceptance = Acceptance { state, incarnation, count_mark, assigned_client_id, server_time_ms };
        if is_restored {
            self.review_subscriptions(slot);
        }
        let is_attached = self.keep_attached(slot, expiry_s);
        let is_armed = self.keep_will(slot, connect);
        let Some(of) = self.life(slot) else { return };
        let then = Then::Accept(Box::new(Accept { key, generation, of, acceptance }));
        if is_attached || is_armed { self.keeper.then(then) } else { self.keeper.now(then) }
    }

    /// The session is kept: its client may know.
    pub(super) fn accept(&mut self, accept: Accept, is_kept: bool) {
        let Accept { key, generation, of: Life { slot, life }, acceptance } = accept;
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.generation == generation) else { return };
        let Some(client) = self.clients.get_mut(slot).filter(|client| client.incarnation == life) else { return };
        // It may have ended while this waited.
        if connection.client != Some(slot) {
            return;
        }
        if !is_kept {
            let refusal = not_kept();
            let disclosed = connection.listener.disclosed(&refusal);
            connection.session.refuse(disclosed);
            self.verdict_on_connection(key, Kind::Connect, &refusal, None);
            return self.drain(key);
        }
        client.is_begun = client.number.is_some();
        let state = acceptance.state;
        let parked = client.parked.take().filter(|_| state == SessionState::Resumed).map(|parked| *parked);
        connection.session.accept(acceptance, parked, self.now.ms);
        let terms = connection.session.terms();
        tracing::debug!(client = %client.id, principal = %client.principal, dialect = %terms.dialect, state = ?state, "connected");
        client.expiry_s = terms.session_expiry_s;
        self.set_available(slot, true);
        // The deadline of an open connection may be earlier than that of the opening.
        self.schedule(key);
        self.drain(key);
        self.pump(slot);
        self.read_held(key);
    }

    fn new_client(&mut self, id: Arc<str>, admission: &Admission) -> u32 {
        let incarnation = self.random.draw();
        let (principal, rights) = (Arc::clone(&admission.principal), Arc::clone(&admission.rights));
        let client = Client::new(Arc::clone(&id), principal, rights, incarnation, self.settings.queue);
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
        connection.has_peer_left = matches!(cause, Cause::PeerLeft { .. });
        connection.held = BytesMut::new();
        let client = connection.client.take();
        let terms = connection.session.terms();
        let (agreed_expiry_s, was_extended) = (terms.session_expiry_s, terms.dialect.is_extended());
        let parked = connection.session.take_parked();
        tracing::debug!(client = %connection.client_id, peer = %connection.peer.address, cause = ?cause, "disconnected");
        let malformed = match &cause {
            Cause::Malformed(error) => Some((error.reason(), error.to_string())),
            Cause::Refused(refusal) if refusal.reason == Reason::PROTOCOL_ERROR => Some((refusal.reason, refusal.to_string())),
            _ => None,
        };
        if let Some((reason, title)) = malformed {
            let refusal = Refusal::new(reason, Problem::titled(title).retry(Retry::Never));
            self.count_refusal(key, Kind::Disconnect, &refusal, None);
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
        let Some(client) = self.clients.get_mut(slot) else { return };
        let (rights, principal) = (Arc::clone(&client.rights), Arc::clone(&client.principal));
        client.connection = None;
        client.replays.clear();
        // Feedback is a view of a connection; the ledger keeps what happens meanwhile.
        client.feedback.clear();
        client.unsent = 0;
        // Where the connection was not accepted yet, the session stays what it was before.
        if client.parked.is_none() {
            client.parked = Some(Box::new(parked));
            client.expiry_s = agreed_expiry_s;
        }
        let (expiry_s, id) = (client.expiry_s, Arc::clone(&client.id));
        if std::mem::take(&mut client.has_will) {
            self.keeper.keep(Record::WillDisarmed { client_id: id });
        }
        if expiry_s == 0 {
            self.end_session(slot, SessionState::New);
        } else {
            self.set_available(slot, false);
            self.keep_session(slot, expiry_s, was_extended);
            self.unload(slot);
            self.note_room(slot);
        }
        if let Some(will) = will {
            self.publish_will(&will, &*rights, principal);
        }
    }

    fn keep_session(&mut self, slot: u32, expiry_s: u32, was_extended: bool) {
        let Some(client) = self.clients.get_mut(slot) else { return };
        if let Some(session) = client.number {
            let expires_at_ms = (expiry_s != u32::MAX).then(|| self.now.unix_ms.saturating_add(1000 * u64::from(expiry_s)));
            self.keeper.keep(Record::SessionParked { session, expires_at_ms, was_extended });
        }
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
        self.end_session(slot, SessionState::Expired);
        self.ended.note(id, SessionState::Expired);
    }

    /// Forgets a session and everything that was kept for it.
    fn end_session(&mut self, slot: u32, why: SessionState) {
        let Some(client) = self.clients.remove(slot, self.now.ms) else { return };
        self.account.release(client.counted_bytes);
        self.directory.remove(&client.id);
        if let Some(session) = client.number {
            self.keeper.keep(Record::SessionEnded { session, why, unix_ms: self.now.unix_ms });
        }
        if let Some(roll) = self.shared.roll(self.index) {
            self.has_room |= roll.is_full(slot);
            roll.clear(slot);
        }
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
    pub(super) fn set_available(&mut self, slot: u32, available: bool) {
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
        let expires_at_ms = expiry_s.map(|seconds| self.now.unix_ms.saturating_add(seconds.saturating_mul(1000)));
        let envelope = Envelope { expires_at_ms, ..self.will_envelope(will, principal) };
        // A will has no publisher to be refused.
        let _ = self.route(envelope, None, None);
    }

    fn will_envelope(&self, will: &Will, principal: Arc<str>) -> Envelope {
        Envelope {
            message: will.message.clone(),
            qos: will.qos,
            retain: will.retain,
            expires_at_ms: None,
            stamps: self.stamps(Some(principal)),
            hop: Dictionary::EMPTY,
        }
    }

    /// Keeps that a connection holds a session; a session that is to outlive its connection gets its number here. Tells whether
    /// anything was kept.
    pub(super) fn keep_attached(&mut self, slot: u32, expiry_s: u32) -> bool {
        let Some(client) = self.clients.get_mut(slot).filter(|_| self.keeper.keeps()) else { return false };
        let session = match client.number {
            Some(session) => session,
            None if expiry_s == 0 => return false,
            None => {
                let session = self.shared.next_session();
                client.number = Some(session);
                if let Some(roll) = self.shared.roll(self.index) {
                    roll.set_session(slot, Some(session));
                }
                self.keep_begun(slot, session);
                session
            }
        };
        self.keeper.keep(Record::SessionAttached { session, expiry_s });
        true
    }

    fn keep_begun(&mut self, slot: u32, session: SessionNumber) {
        let Some(client) = self.clients.get(slot) else { return };
        let (client_id, principal, incarnation) = (Arc::clone(&client.id), Arc::clone(&client.principal), client.incarnation);
        self.keeper.keep(Record::SessionBegun { session, client_id, principal, incarnation });
        for (filter, subscription) in &client.subscriptions {
            self.keeper.keep(Record::Subscribed { session, filter: filter.clone(), subscription: *subscription });
        }
    }

    /// A session that its client knows of already was attached, or begun, in the store, or was not.
    pub(super) fn attached(&mut self, of: Life, is_kept: bool) {
        let Some(client) = self.clients.get_mut(of.slot).filter(|client| client.incarnation == of.life) else { return };
        client.is_begun |= is_kept;
        if is_kept {
            return;
        }
        if !client.is_begun {
            // Nobody may believe that something is kept for it: until it can begin anew, it is as one that is not kept.
            client.number = None;
            if let Some(roll) = self.shared.roll(self.index) {
                roll.set_session(of.slot, None);
            }
        }
        self.stalled.push(Then::Attached { of });
    }

    /// The store keeps again.
    pub(super) fn attach_again(&mut self, of: Life) {
        let Some(client) = self.clients.get(of.slot).filter(|client| client.incarnation == of.life) else { return };
        let (expiry_s, was_extended) = (client.expiry_s, client.parked.as_ref().map(|parked| parked.was_extended));
        if self.keep_attached(of.slot, expiry_s) {
            self.keeper.then(Then::Attached { of });
        }
        if let Some(was_extended) = was_extended {
            self.keep_session(of.slot, expiry_s, was_extended);
        }
    }

    /// Keeps the will of a connection that begins, so that it is published should the process end before the connection does.
    fn keep_will(&mut self, slot: u32, connect: &Connect) -> bool {
        let Some(will) = connect.will.as_ref().filter(|_| self.keeper.keeps()) else { return false };
        let Some(client) = self.clients.get_mut(slot) else { return false };
        client.has_will = true;
        let whose = Whose { principal: Arc::clone(&client.principal), client_id: Arc::clone(&client.id) };
        let envelope = self.will_envelope(will, Arc::clone(&whose.principal)).compact();
        let message = self.shared.next_message();
        self.keeper.keep(Record::Message { message, envelope, owed: Vec::new() });
        self.keeper.keep(Record::WillArmed { whose, message });
        true
    }
}
