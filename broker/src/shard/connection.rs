//! A connection, and what its session says to everybody else.

use super::keeping::Then;
use super::may_i::Questions;
use super::operator::Tellings;
use super::pending::Standing;
use super::{Authenticate, ConnectionKey, Settings, Shard};
use crate::feedback::Conduct;
use crate::feedback::quarantine::{Credentials, Quarantine, Subject};
use crate::out::Out;
use crate::rare::{Blank, Rare};
use bytes::BytesMut;
use candor_protocol::packet::{Connect, Refusal};
use candor_protocol::session::{Output, ServerPolicy, Session};
use candor_protocol::shown::Shown;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who is at the other end of a connection, as the transport knows it.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// The name in the client's verified certificate.
    pub tls_client_name: Option<Arc<str>>,
}

/// What holds for all connections of a listener.
#[derive(Debug)]
pub struct ListenerSettings {
    /// The listener's URL, for logs.
    pub name: String,
    pub policy: Arc<ServerPolicy>,
    /// Acknowledge and drop a refused PUBLISH of a plain client instead of closing: only where an operator wrote so.
    pub acknowledges_refused: bool,
    /// Says who a client is.
    pub authenticate: Arc<dyn Authenticate>,
}

impl ListenerSettings {
    /// What a client that has proved who it is is shown of a refusal.
    pub fn disclosed(&self, refusal: &Refusal) -> Refusal {
        self.policy.disclosure.of(refusal)
    }
}

/// How much a client may still ask of what costs more to answer than to ask.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Questions on its own rights.
    pub(super) questions: Questions,
    /// What of ledgers it is told.
    pub(super) tellings: Tellings,
}

impl Blank for Asked {
    const BLANK: &'static Self = &Self { questions: Questions::WHOLE, tellings: Tellings::WHOLE };
}

/// A connection as its shard keeps it.
#[derive(Debug)]
pub struct Connection {
    pub session: Session,
    pub address: SocketAddr,
    pub listener: Arc<ListenerSettings>,
    /// What waits to be written.
    pub out: Out,
    /// Bytes that are no whole frame yet, or that wait until frames are wanted; there while there are any.
    pub(super) held: Option<Box<BytesMut>>,
    /// The kernel did not take everything when it was last written to.
    pub(super) is_behind: bool,
    /// What waits in the transport.
    pub(super) in_transport: TransportBytes,
    /// What the limit of memory counts for it.
    pub(super) counted_bytes: usize,
    pub(super) standing: Standing,
    pub(super) client: Option<u32>,
    pub(super) client_id: Arc<str>,
    /// The client sent no identifier and got this one.
    pub(super) is_id_assigned: bool,
    /// The CONNECT that waits for an answer.
    pub(super) connect: Option<Arc<Connect>>,
    /// Who the client proved to be; empty: nobody yet, or somebody anonymous.
    pub(super) principal: Arc<str>,
    /// What a plain client has shown beside its identifier, for a quarantine.
    pub(super) credentials: Option<Credentials>,
    /// How much it may still ask.
    pub(super) asked: Rare<Asked>,
    /// How its client behaves, once there is something to say about it.
    pub(super) conduct: Option<Box<Conduct>>,
    /// In the list of connections that a turn has touched.
    pub(super) is_touched: bool,
    /// What it was refused takes too much of the turn: what it sends waits for the next one.
    pub(super) is_put_off: bool,
    /// Close it when everything is written.
    pub(super) is_closing: bool,
    /// The peer sent DISCONNECT.
    pub(super) has_peer_left: bool,
    pub(super) generation: u64,
    /// The deadline that is in the timers.
    pub(super) timer_ms: u64,
}

/// Bytes in a transport below the packets. It has bounds that are far below those of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransportBytes {
    /// They were read, and are no whole record yet.
    pub unread: u32,
    /// The kernel has not taken them yet.
    pub unwritten: u32,
}

/// With so many bytes unread, which are more than deliveries alone come to, nothing more is taken from a client.
const ANSWERS_BYTES_MAX: usize = 1024 * 1024;

impl Connection {
    /// Whether the driver should read on.
    pub fn wants_bytes(&self) -> bool {
        // Who asks and does not read the answers is not asked for more.
        !self.is_closing && !self.is_put_off && self.session.wants_frames() && self.unwritten_bytes() < ANSWERS_BYTES_MAX
    }

    /// Bytes that the kernel has not taken, here and in the transport.
    fn unwritten_bytes(&self) -> usize {
        self.out.len() + self.in_transport.unwritten as usize
    }

    /// Whether messages may be written for it. For a receiver that does not take what is there they wait in its queue, where one in
    /// memory is enough for all, and its limits hold.
    #[inline]
    pub(super) fn has_room(&self, settings: &Settings) -> bool {
        self.out.len() < settings.out_bytes_max && !self.is_behind
    }

    /// The identifier of its session, once CONNECT has come.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Whom a quarantine would be about.
    pub(super) fn subject(&self, quarantine: &Quarantine) -> Subject {
        quarantine.subject(&self.client_id, self.credentials, self.address.ip().to_canonical())
    }

    pub fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether it goes for a newer one, without being waited for.
    pub fn is_evicted(&self) -> bool {
        self.standing == Standing::Evicted
    }

    /// The memory that what is held for it takes, with the room besides.
    pub(super) fn held_memory(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.capacity())
    }

    /// How many bytes are held for it that are not read yet.
    pub(super) fn held_len(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.len())
    }

    /// Whether the connection ends because its peer said so.
    pub fn has_peer_left(&self) -> bool {
        self.has_peer_left
    }
}

impl Shard {
    /// A connection was accepted.
    pub fn accepted(&mut self, address: SocketAddr, listener: Arc<ListenerSettings>) -> ConnectionKey {
        let session = Session::server(Arc::clone(&listener.policy), self.now.ms);
        self.insert(session, address, listener, None)
    }

    pub(super) fn insert(
        &mut self,
        mut session: Session,
        address: SocketAddr,
        listener: Arc<ListenerSettings>,
        held: Option<Box<BytesMut>>,
    ) -> ConnectionKey {
        let generation = self.random.draw();
        session.trace_from(self.random.draw().max(1));
        let key = self.connections.insert(Box::new(Connection {
            session,
            address,
            listener,
            out: Out::default(),
            held,
            is_behind: false,
            in_transport: TransportBytes::default(),
            counted_bytes: 0,
            standing: Standing::Pending,
            client: None,
            client_id: Arc::default(),
            is_id_assigned: false,
            connect: None,
            principal: Arc::default(),
            credentials: None,
            asked: Rare::default(),
            conduct: None,
            is_touched: false,
            is_put_off: false,
            is_closing: false,
            has_peer_left: false,
            generation,
            timer_ms: u64::MAX,
        }));
        self.pending.enter(key, generation, self.now.ms);
        self.schedule(key);
        self.count_buffers(key);
        key
    }

    /// The transport ended, and its socket is still being closed: the key stays taken, so that nobody else gets it meanwhile.
    pub fn broken(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.session.lost();
            self.act(key);
        }
    }

    /// The transport ended, and its socket is gone.
    pub fn lost(&mut self, key: ConnectionKey) {
        self.broken(key);
        if let Some(connection) = self.connections.try_remove(key) {
            self.account.release(connection.counted_bytes);
            self.pending.leave(connection.standing);
        }
    }

    /// Everything was written and the transport was closed.
    pub fn closed(&mut self, key: ConnectionKey) {
        self.lost(key);
    }

    /// Some of what waited was written: there may be room for more.
    pub fn flushed(&mut self, key: ConnectionKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_touched = false;
        connection.session.sent(self.now.ms);
        connection.out.rest(&mut self.spare);
        connection.is_behind = connection.unwritten_bytes() > 0;
        if let (Some(slot), false) = (connection.client, connection.is_behind)
            && self.clients.get(slot).is_some_and(|client| client.has_more())
        {
            self.pump(slot);
        }
        self.count_buffers(key);
    }

    /// Carries out what a connection's session says, and what follows from it at once.
    #[inline]
    pub(super) fn act(&mut self, key: ConnectionKey) {
        self.drain(key);
        self.release();
    }

    /// Carries out what a connection's session says.
    #[inline]
    pub(super) fn drain(&mut self, key: ConnectionKey) {
        match self.connections.get(key) {
            // Almost always, where what came was taken directly.
            Some(connection) if connection.session.is_silent() => self.after(key, false),
            Some(_) => self.drain_outputs(key),
            None => {}
        }
    }

    fn drain_outputs(&mut self, key: ConnectionKey) {
        let (mut wrote, mut opened) = (false, false);
        loop {
            let Some(connection) = self.connections.get_mut(key) else { return };
            let Some(output) = connection.session.poll() else { break };
            match output {
                Output::Send(packet) => {
                    // What a dialect cannot say was sorted out by the session.
                    let _ = connection.session.lower(&packet, connection.out.tail(&mut self.spare));
                    wrote = true;
                }
                Output::Publish(sending) => {
                    self.resend(key, &sending);
                    wrote = true;
                }
                Output::Message { ticket, publish } => self.publish(key, ticket, publish),
                Output::Connect(connect) => self.connect(key, connect),
                Output::Opened(_) => {
                    self.opened(key);
                    opened = true;
                }
                Output::Record(step) => self.keep_step(key, step),
                Output::Settled { token, outcome, returned } => self.settled(key, token, &outcome, returned),
                Output::Subscribe(packet) => self.subscribe(key, *packet),
                Output::Unsubscribe(packet) => self.unsubscribe(key, *packet),
                Output::Ping(asked) => self.pong(key, &asked),
                Output::Refused { kind, refusal, publish } => self.session_refused(key, kind, refusal, publish.as_deref()),
                Output::Closed { cause, will } => self.session_closed(key, cause, will),
                Output::Notice(_) | Output::Answered { .. } | Output::Pong(_) => {}
            }
        }
        if wrote {
            self.touch(key);
        }
        self.after(key, opened);
    }

    /// A window that opened, or frames that are wanted again, let waiting things go on.
    ///
    /// After a confirm this comes behind everything that the session has said: what it sends again goes before what waits.
    #[inline]
    pub(super) fn after(&mut self, key: ConnectionKey, opened: bool) {
        if self.reading == Some(key) && !opened {
            return;
        }
        self.go_on_with(key, opened);
    }

    fn go_on_with(&mut self, key: ConnectionKey, opened: bool) {
        let Some(connection) = self.connections.get(key) else { return };
        if let Some(slot) = connection.client
            && (opened || self.clients.get(slot).is_some_and(|client| !client.queue.is_empty()))
        {
            self.pump(slot);
        }
    }

    /// The client's confirm came: deliveries may go now, in the new dialect.
    fn opened(&mut self, key: ConnectionKey) {
        self.schedule(key);
        let Some(connection) = self.connections.get(key) else { return };
        let (slot, terms) = (connection.client, connection.session.terms());
        tracing::debug!(client = %Shown::new(&connection.client_id), dialect = %terms.dialect, "negotiated");
        let expiry_s = terms.session_expiry_s;
        if let Some(slot) = slot {
            if let Some(client) = self.clients.get_mut(slot) {
                client.expiry_s = expiry_s;
            }
            self.note_room(slot);
            if let (true, Some(of)) = (self.keep_attached(slot, expiry_s), self.life(slot)) {
                self.keeper.then(Then::Attached { of });
            }
            self.tell_lost_guarantee(key);
            self.tell_takeover(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every idle client has one: the allocator's class below the next, which has a quarter more.
    #[test]
    fn a_connection_that_does_nothing_unusual_is_small() {
        let [all, session] = [size_of::<Connection>(), size_of::<Session>()];
        assert!(all <= 512, "{all} bytes, of which the session has {session}");
    }
}
