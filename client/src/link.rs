//! One connection: a session, the wire below it, and the bytes between them.

mod gate;

use crate::store::{Journal, Record as Kept};
use crate::transport::{Turn, Wire};
use bytes::BytesMut;
use candor_protocol::codec::frame::Frame;
use candor_protocol::dialect::write::PublishFrame;
use candor_protocol::extension::{Context, Registry};
use candor_protocol::packet::{Packet, PacketId, Publish};
use candor_protocol::session::{Cause, ClientSettings, Delivery, Opened, Output, Parked, Record, Session};
use gate::Gate;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Above this many bytes that wait to be written no more messages are taken from the application.
const OUTBOX_HIGH: usize = 64 * 1024;
/// Above this many nothing is read any more, since everything that is read may be answered. It is far above the other, so that
/// two ends that both write much do not wait for each other.
const OUTBOX_FULL: usize = 4 << 20;
/// Messages and their bytes that are kept between CONNACK and the answer to an offer.
const EARLY_MAX: usize = 10_000;
const EARLY_BYTES_MAX: usize = 16 << 20;
/// How long a farewell may take.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// Milliseconds of this client's clock, which starts with it and never runs back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.0 + Duration::from_millis(ms)
    }
}

/// A connection that is being opened or is open.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) session: Session,
    wire: Wire,
    registry: Registry,
    clock: Clock,
    inbox: BytesMut,
    outbox: BytesMut,
    journal: Journal,
    /// Bytes that wait for a record before they may enter the outbox.
    gate: Gate,
    /// Bytes that went into the outbox, and that the operating system took, since the connection was made.
    enqueued: u64,
    written: u64,
    /// A byte came.
    heard: bool,
    /// The transport ended, or failed with this to say.
    ended: bool,
    pub(crate) failure: Option<Broken>,
}

/// How a transport failed.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// The peer hung up, in whatever way; it is nothing that TLS or the WebSocket complains about.
    pub(crate) hung_up: bool,
    pub(crate) cause: String,
}

impl Broken {
    fn of(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let hung_up = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&error.kind());
        Self { hung_up, cause: error.to_string() }
    }
}

/// A link whose session is open, with what came before it was.
#[derive(Debug)]
pub(crate) struct OpenLink {
    pub(crate) link: Link,
    pub(crate) opened: Box<Opened>,
    pub(crate) early: Vec<Output>,
}

/// A connection that did not become one.
#[derive(Debug)]
pub(crate) struct NotOpened {
    pub(crate) cause: Cause,
    pub(crate) parked: Parked,
    /// CONNACK with success had come: what died is the negotiation behind it.
    pub(crate) had_connack: bool,
    /// A byte had come.
    pub(crate) heard: bool,
    /// More came before the answer than is kept.
    pub(crate) flooded: bool,
    pub(crate) failure: Option<Broken>,
}

impl NotOpened {
    /// The peer hung up without a word.
    pub(crate) fn hung_up(&self) -> bool {
        !self.heard && self.failure.as_ref().is_none_or(|broken| broken.hung_up)
    }
}

/// What came before the connection was agreed.
#[derive(Debug, Default)]
struct Early {
    outputs: Vec<Output>,
    bytes: usize,
}

impl Early {
    fn keep(&mut self, output: Output) {
        if let Output::Message { publish, .. } = &output {
            self.bytes += publish.message.len();
        }
        self.outputs.push(output);
    }

    fn is_too_much(&self) -> bool {
        self.outputs.len() > EARLY_MAX || self.bytes > EARLY_BYTES_MAX
    }
}

impl Link {
    /// Opens a session over `wire`.
    pub(crate) async fn open(
        wire: Wire,
        settings: ClientSettings,
        parked: Parked,
        clock: Clock,
        journal: Journal,
    ) -> Result<OpenLink, Box<NotOpened>> {
        let registry = settings.registry.clone();
        let session = Session::client(Arc::new(settings), parked, clock.now_ms());
        let mut link = Self::new(session, wire, registry, clock, journal);
        let mut early = Early::default();
        let mut had_connack = false;
        loop {
            let mut opened = None;
            while let Some(output) = link.poll() {
                match output {
                    Output::Opened(agreed) => opened = Some(agreed),
                    Output::Closed { cause, .. } => {
                        let (heard, flooded, failure) = (link.heard, early.is_too_much(), link.failure.take());
                        let (parked, _) = link.close(FAREWELL).await;
                        return Err(Box::new(NotOpened { cause, parked, had_connack, heard, flooded, failure }));
                    }
                    other => early.keep(other),
                }
            }
            if let Some(opened) = opened {
                return Ok(OpenLink { link, opened, early: early.outputs });
            }
            if early.is_too_much() {
                link.session.lost();
            } else if !link.feed() {
                link.turn_or_tick().await;
            }
            had_connack |= link.session.is_open();
        }
    }

    fn new(session: Session, wire: Wire, registry: Registry, clock: Clock, journal: Journal) -> Self {
        Self {
            session,
            wire,
            registry,
            clock,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            journal,
            gate: Gate::default(),
            enqueued: 0,
            written: 0,
            heard: false,
            ended: false,
            failure: None,
        }
    }

    /// The next output that is not for the wire; those that are become bytes. The session is drained when there is none.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(packet) => self.put(&packet),
                Output::Publish(sending) => self.put_publish(&sending.delivery, sending.id, sending.dup),
                // What depends on a record waits at the gate, so the session may go on at once.
                Output::Record(record) => {
                    if let Record::Released(id) = record {
                        self.journal.record(Kept::Released { id });
                    }
                    self.session.recorded(record);
                }
                other => return Some(other),
            }
        }
        None
    }

    fn put(&mut self, packet: &Packet) {
        // Whatever made it leave, a PUBREL says that PUBREC came: behind it PUBLISH must not be sent again.
        if let Packet::PubRel(ack) = packet
            && !ack.reason.is_error()
        {
            self.journal.record(Kept::Received { id: ack.id });
        }
        let bytes = self.gate.way(&self.journal, &mut self.outbox);
        let before = bytes.len();
        // What a dialect cannot say the session has already turned into a close or nothing.
        let _ = self.session.lower(packet, bytes);
        let added = bytes.len() - before;
        self.count_put(added);
    }

    /// Writes a PUBLISH; what went before is on its way, so order is kept.
    pub(crate) fn put_publish(&mut self, delivery: &Delivery, id: Option<PacketId>, dup: bool) {
        let terms = self.session.terms();
        if terms.experiments != 0 {
            let mut publish = Publish::new(delivery.message.clone(), delivery.qos, delivery.retain, id, &delivery.hop);
            publish.dup = dup;
            let mut packet = Packet::Publish(publish);
            let context = Context { role: self.session.role(), terms };
            self.registry.in_force(terms.experiments).for_each(|extension| extension.outbound(&context, &mut packet));
            return self.put(&packet);
        }
        let bytes = self.gate.way(&self.journal, &mut self.outbox);
        let before = bytes.len();
        PublishFrame::new(terms.dialect, delivery.qos, delivery.retain, &delivery.message, &delivery.hop).write(id, dup, bytes);
        let added = bytes.len() - before;
        self.count_put(added);
    }

    fn count_put(&mut self, added: usize) {
        self.enqueued += added as u64;
        self.session.sent(self.clock.now_ms());
    }

    /// Where the next byte will stand: what is enqueued now has left when [`Link::written`] reaches this.
    pub(crate) fn enqueued(&self) -> u64 {
        self.enqueued
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether messages of the application may become bytes now.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.len() + self.gate.len() < OUTBOX_HIGH
    }

    /// Gives the session the next whole frame, or the end of the transport behind the last one; `false`: there is neither, or
    /// the session wants none. Drain it afterwards.
    pub(crate) fn feed(&mut self) -> bool {
        if self.session.wants_frames() && self.outbox.len() + self.gate.len() < OUTBOX_FULL {
            match Frame::split_mut(&mut self.inbox, self.session.receive_size_max()) {
                Ok(Some(frame)) => {
                    self.session.receive(&frame, self.clock.now_ms());
                    return true;
                }
                Ok(None) => {}
                Err(error) => {
                    self.inbox = BytesMut::new();
                    self.session.malformed(error);
                    return true;
                }
            }
        }
        if self.ended && !self.session.is_closed() {
            self.session.lost();
            return true;
        }
        false
    }

    /// Moves bytes both ways. `listen`: the application takes what may come. It may be dropped at any await.
    pub(crate) async fn turn(&mut self, listen: bool) {
        if self.ended {
            // Nothing moves any more; what came before is still to be taken.
            return std::future::pending().await;
        }
        self.journal.flush();
        self.gate.open(&self.journal, &mut self.outbox);
        let listen = listen && self.session.wants_frames() && self.outbox.len() + self.gate.len() < OUTBOX_FULL;
        let turn = tokio::select! {
            biased;
            turn = self.wire.turn(&mut self.inbox, &mut self.outbox, listen) => turn,
            // The next turn takes up what was kept.
            progress = self.journal.kept_beyond(self.gate.waits_beyond().unwrap_or(u64::MAX)) => match progress.failed {
                None => return,
                // Nothing leaves any more; the owner of the journal ends the connection.
                Some(_) => return std::future::pending().await,
            },
        };
        let Turn { written, read, ended, error } = turn;
        self.written += written as u64;
        self.heard |= read > 0;
        self.ended |= ended;
        if let Some(error) = error {
            self.failure = Some(Broken::of(&error));
        }
    }

    async fn turn_or_tick(&mut self) {
        let deadline = self.deadline();
        tokio::select! {
            () = self.turn(true) => {}
            () = tokio::time::sleep_until(deadline) => self.session.tick(self.clock.now_ms()),
        }
    }

    /// When [`Link::tick`] is due.
    pub(crate) fn deadline(&self) -> Instant {
        // A day: any time that is far enough, since the loop asks again after every turn.
        let far = self.clock.now_ms() + 86_400_000;
        self.clock.at(self.session.deadline().unwrap_or(far))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    pub(crate) fn tick(&mut self) {
        self.session.tick(self.clock.now_ms());
    }

    /// Ends the connection with a goodbye and without what was to be said before it.
    pub(crate) async fn abandon(mut self) -> Parked {
        self.outbox.clear();
        self.gate = Gate::default();
        self.session.leave(false);
        while self.poll().is_some() {}
        self.close(FAREWELL).await.0
    }

    /// Writes what is owed within `farewell`, closes, and gives back what outlives the connection and whether all was written.
    pub(crate) async fn close(mut self, farewell: Duration) -> (Parked, bool) {
        let kept = tokio::time::timeout(farewell, self.journal.finish()).await;
        self.gate.open(&self.journal, &mut self.outbox);
        let all_written = matches!(kept, Ok(Ok(()))) && !self.ended && self.wire.close(self.outbox, farewell).await;
        (self.session.park(), all_written)
    }
}
