//! From CONNECT to a session.

use super::client::{Begun, Client};
use super::connection::ListenerSettings;
use super::keeping::{Accept, Life, Then, not_kept};
use super::pending::Standing;
use super::publish::check_topic;
use super::{Admission, ConnectionKey, Shard};
use crate::store::Record;
use bytes::BytesMut;
use candor_protocol::packet::{Connect, Durability, Problem, Reason, Refusal, Retry, property};
use candor_protocol::session::{Acceptance, Mark, Session, SessionState, check_requirement};
use candor_protocol::shown::Shown;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A connection on its way to the shard where its session lives.
#[derive(Debug)]
pub struct Moved {
    session: Session,
    address: SocketAddr,
    listener: Arc<ListenerSettings>,
    held: Option<Box<BytesMut>>,
    connect: Arc<Connect>,
    client_id: Arc<str>,
    is_id_assigned: bool,
}

/// Identifiers whose session ended for a reason that its client may ask for when it comes back; bounded.
#[derive(Debug, Default)]
pub struct Ended {
    /// And whether the store knows it too.
    reasons: HashMap<Arc<str>, (SessionState, bool), foldhash::fast::RandomState>,
    order: VecDeque<Arc<str>>,
    bytes: usize,
}

const ENDED_MAX: usize = 10_000;
/// What all of them may come to, in bytes of identifiers.
const ENDED_BYTES_MAX: usize = 1024 * 1024;

impl Ended {
    pub(super) fn note(&mut self, id: Arc<str>, state: SessionState, is_kept: bool) {
        let was_kept = self.reasons.get(&id).is_some_and(|(_, was_kept)| *was_kept);
        if self.reasons.insert(Arc::clone(&id), (state, is_kept || was_kept)).is_some() {
            return;
        }
        self.bytes += id.len();
        self.order.push_back(id);
        while self.order.len() > ENDED_MAX || self.bytes > ENDED_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= oldest.len();
            self.reasons.remove(&oldest);
        }
    }

    /// Why there is no session, where that is known; asked once.
    fn take(&mut self, id: &str) -> Option<(SessionState, bool)> {
        let state = self.reasons.remove(id);
        if state.is_some() {
            self.order.retain(|other| &**other != id);
            self.bytes -= id.len();
        }
        state
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
    pub(super) fn connect(&mut self, key: ConnectionKey, connect: Arc<Connect>) {
        let assigned = connect.client_id.is_empty().then(|| format!("candor-{:016x}{:016x}", self.random.draw(), self.random.draw()));
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_id_assigned = assigned.is_some();
        connection.client_id = Arc::from(assigned.as_deref().unwrap_or(&connect.client_id));
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
        self.pending.leave(connection.standing);
        Some(Moved {
            session: connection.session,
            address: connection.address,
            listener: connection.listener,
            held: connection.held,
            connect: connection.connect?,
            client_id: connection.client_id,
            is_id_assigned: connection.is_id_assigned,
        })
    }

    /// Takes a connection in that another shard has moved here.
    pub fn adopt(&mut self, moved: Moved) -> ConnectionKey {
        let key = self.insert(moved.session, moved.address, moved.listener, moved.held);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.connect = Some(moved.connect);
            connection.client_id = moved.client_id;
            connection.is_id_assigned = moved.is_id_assigned;
        }
        // Others may have come here without being accepted here.
        let _ = self.make_room();
        self.at_the_door(key);
        key
    }

    /// Which connection waits under this key for the answer to who its client is, for [`Shard::authenticated`].
    pub fn asks(&self, key: ConnectionKey) -> Option<u64> {
        self.connections.get(key).filter(|connection| connection.connect.is_some()).map(|connection| connection.generation)
    }

    /// The answer to who a client is. `of`: which connection asked, since its key may be another's by now.
    pub fn authenticated(&mut self, key: ConnectionKey, of: u64, answer: Result<Admission, Refusal>) {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.generation == of) else { return };
        let Some(connect) = connection.connect.take() else { return };
        let is_known = answer.is_ok();
        if let Ok(admission) = &answer {
            connection.principal = Arc::clone(&admission.principal);
        }
        let slot = self.directory.get(&connection.client_id).copied();
        let admitted = answer.and_then(|admission| {
            self.check_principal(slot, &admission)?;
            // Of a session, only whom it belongs to learns anything.
            self.check_granted(key, slot, &connect)?;
            self.check_session(key, slot, &connect, &admission)?;
            Ok(admission)
        });
        match admitted {
            Ok(admission) => self.attach(key, slot, &connect, admission),
            Err(refusal) => self.refuse_connect(key, refusal, is_known),
        }
        self.act(key);
    }

    /// A session belongs to a principal.
    fn check_principal(&self, slot: Option<u32>, admission: &Admission) -> Result<(), Refusal> {
        match slot.and_then(|slot| self.clients.get(slot)) {
            Some(client) if client.principal != admission.principal => {
                let problem = Problem::titled("the session belongs to another principal").field("client identifier").retry(Retry::Never);
                Err(Refusal::new(Reason::NOT_AUTHORIZED, problem))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is room for the client, its will is one that it may publish, and its session can be what a plain client takes for
    /// granted.
    fn check_session(&self, key: ConnectionKey, slot: Option<u32>, connect: &Connect, admission: &Admission) -> Result<(), Refusal> {
        // Whoever comes back to its session takes what waits there.
        if slot.is_none() {
            self.check_memory()?;
        }
        let open = self.shared.connections.load(Ordering::Relaxed);
        if open >= self.settings.connections_max {
            let limit = self.settings.connections_max as u64;
            let problem =
                Problem::titled("the server has as many connections as it may have").rule("connections_max").limit(limit, open as u64 + 1);
            return Err(Refusal::new(Reason::SERVER_BUSY, problem.retry(Retry::After { after_ms: 10_000, jitter_ms: 20_000 })));
        }
        if let Some(will) = &connect.will {
            let may = check_topic(will.message.topic());
            may.and_then(|()| admission.rights.will(will.message.topic(), will.qos, will.retain)).map_err(|mut refusal| {
                refusal.problem_mut().field = Some("will".to_owned());
                refusal
            })?;
        }
        let (wish_s, longest_s) = self.session_expiry_s(key, connect);
        if wish_s > 0 && longest_s == 0 && !connect.dialect.is_extended() {
            let problem = Problem::titled("this server keeps no session beyond its connection").field("CleanSession").retry(Retry::Never);
            return Err(Refusal::new(Reason::SESSION_NOT_KEPT, problem));
        }
        Ok(())
    }

    /// How long a client wants its session to outlive the connection, in seconds, and how long it may.
    fn session_expiry_s(&self, key: ConnectionKey, connect: &Connect) -> (u64, u32) {
        let Some(policy) = self.connections.get(key).and_then(|connection| connection.session.policy()) else { return (0, 0) };
        let unsaid = if connect.clean_session || connect.dialect.is_extended() { 0 } else { policy.session_expiry_plain_s };
        let wish = connect.dictionary.value(property::SESSION_EXPIRY_INTERVAL).unwrap_or(u64::from(unsaid));
        (wish, policy.profile.session_expiry_s_max)
    }

    /// Looks which session a client would get, and whether that is what it requires. A session keeps what it was granted when it
    /// began: the connection is served so.
    fn check_granted(&mut self, key: ConnectionKey, slot: Option<u32>, connect: &Connect) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let existing = slot.and_then(|slot| self.clients.get(slot));
        // A session that ends with the connection which holds it ends when that is taken over.
        let resumed = existing.filter(|client| !connect.clean_session && (client.connection.is_none() || client.is_durable()));
        let policy = &connection.listener.policy;
        let Some(client) = resumed.filter(|client| client.durability != policy.profile.session_durability) else {
            return connection.session.check_session();
        };
        connection.session.serve_under(Arc::new(policy.carrying_on(client.durability, client.expiry_s)));
        connection.session.check_session().map_err(|mut refusal| {
            if check_requirement(&connect.dictionary, &policy.profile).is_ok() {
                let problem = refusal.problem_mut();
                let clause = problem.detail.take().unwrap_or_default();
                problem.detail = Some(format!("{clause}: the session was begun so, and a clean start has what is required"));
            }
            refusal
        })
    }

    /// Gives a connection its session: the one that is in `slot`, or a new one.
    fn attach(&mut self, key: ConnectionKey, slot: Option<u32>, connect: &Connect, admission: Admission) {
        let Some(connection) = self.connections.get(key) else { return };
        let id = Arc::clone(&connection.client_id);
        let durability = connection.listener.policy.profile.session_durability;
        let takeovers = slot.and_then(|slot| self.take_over(slot, key));
        // The takeover may have ended the session.
        let existing = slot.filter(|_| takeovers.is_none() || self.directory.contains_key(&id));
        let mut has_ended = false;
        // Why a session is not here is known of all that were begun since this shard runs.
        let mut kept_since = None;
        let (slot, state) = match existing {
            Some(slot) if !connect.clean_session => (slot, SessionState::Resumed),
            existing => {
                if let Some(slot) = existing {
                    has_ended = self.clients.get(slot).is_some_and(|client| client.number.is_some());
                    self.end_session(slot, SessionState::New);
                }
                let known = if connect.clean_session { Some((SessionState::New, false)) } else { self.ended.take(&id) };
                if known.is_none() {
                    kept_since = Some(self.epoch.to_be_bytes());
                }
                let (state, is_kept) = known.unwrap_or_default();
                if is_kept {
                    self.keeper.keep(Record::EndTold { client_id: Arc::clone(&id) });
                }
                (self.new_client(Arc::clone(&id), &admission, durability), state)
            }
        };
        let Some(client) = self.clients.get_mut(slot) else { return };
        client.connection = Some(key);
        client.takeovers = takeovers.unwrap_or(client.takeovers);
        client.parked.get_or_insert_default();
        client.expires_at_ms = None;
        client.generation = self.random.draw();
        client.rights = admission.rights;
        let is_restored = std::mem::take(&mut client.is_restored);
        let incarnation = Some(client.incarnation.to_be_bytes());
        let count_mark = Some(Mark(client.generation.to_be_bytes()));
        let server_time_ms = self.now.unix_ms;
        let (wish_s, longest_s) = self.session_expiry_s(key, connect);
        let expiry_s = wish_s.min(u64::from(longest_s)) as u32;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.client = Some(slot);
        let generation = connection.generation;
        let promised = connection.listener.policy.profile.durability;
        let assigned_client_id = connection.is_id_assigned.then_some(id);
        self.set_standing(key, Standing::Admitted);
        self.shared.connections.fetch_add(1, Ordering::Relaxed);
        let acceptance = Acceptance { state, incarnation, kept_since, count_mark, assigned_client_id, server_time_ms };
        if is_restored {
            self.review_subscriptions(slot);
        }
        let is_attached = self.keep_attached(slot, expiry_s);
        let is_armed = self.keep_will(slot, connect, promised);
        let Some(of) = self.life(slot) else { return };
        let then = Then::Accept(Box::new(Accept { key, generation, of, acceptance, is_armed }));
        // A client that was told of a clean start must not find the old session after a crash.
        if is_attached || is_armed || has_ended { self.keeper.then(then) } else { self.keeper.now(then) }
    }

    /// The session is kept: its client may know.
    pub(super) fn accept(&mut self, accept: Accept, is_kept: bool) {
        let Accept { key, generation, of, acceptance, is_armed } = accept;
        let Life { slot, life } = of;
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.generation == generation) else { return };
        let Some(client) = self.clients.get_mut(slot).filter(|client| client.incarnation == life) else { return };
        // It may have ended while this waited.
        if connection.client != Some(slot) {
            return;
        }
        // Who comes back to a session that the store has may take what waits there: it is told what is kept now, and who holds the
        // session is kept when anything is.
        let can_wait = acceptance.state == SessionState::Resumed && client.is_begun && !is_armed;
        if !is_kept && !can_wait {
            let mut refusal = not_kept();
            // Without it, who comes back to a session that is kept would be let in.
            refusal.problem_mut().field = is_armed.then(|| "will".to_owned());
            self.refuse_connect(key, refusal, true);
            return self.drain(key);
        }
        client.is_begun = client.number.is_some();
        if !is_kept {
            self.stalled.push(Then::Attached { of });
        }
        let state = acceptance.state;
        let parked = client.parked.take().filter(|_| state == SessionState::Resumed).map(|parked| *parked);
        connection.session.accept(acceptance, parked, self.now.ms);
        let terms = connection.session.terms();
        tracing::debug!(client = %Shown::new(&client.id), principal = %Shown::new(&client.principal), dialect = %terms.dialect, state = ?state, "connected");
        client.expiry_s = terms.session_expiry_s;
        self.note_connected(key, state);
        self.note_room(slot);
        self.set_available(slot, true);
        // The deadline of an open connection may be earlier than that of the opening.
        self.schedule(key);
        self.tell_lost_guarantee(key);
        self.tell_takeover(key);
        self.drain(key);
        if state == SessionState::Resumed {
            self.wake_again(slot);
        }
        // What came behind CONNECT is read when nothing else is being carried out, so that answers keep its order.
        self.ready.push(key);
    }

    fn new_client(&mut self, id: Arc<str>, admission: &Admission, durability: Durability) -> u32 {
        let incarnation = u64::from(self.epoch) << 32 | self.random.draw() >> 32;
        let (principal, rights) = (Arc::clone(&admission.principal), Arc::clone(&admission.rights));
        let client = Client::new(Arc::clone(&id), principal, rights, Begun { incarnation, durability }, self.settings.queue);
        let slot = self.clients.insert(client, self.now.ms);
        self.directory.insert(id, slot);
        self.count_session(slot);
        slot
    }
}
