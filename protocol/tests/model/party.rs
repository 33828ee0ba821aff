//! One end of one connection with what its owner keeps, and the transport between two of them.

use bytes::BytesMut;
use candor_protocol::codec::frame::Frame;
use candor_protocol::packet::Reason;
use candor_protocol::session::inbound::Inbound;
use candor_protocol::session::outbound::{Again, Outbound, Stage};
use candor_protocol::session::{Outcome, Parked, Record, Restored, Session, Ticket};
use std::collections::VecDeque;

/// Longer than a server waits for an offer, shorter than every other deadline.
pub(crate) const HOLD_MS: u64 = 1_000;

/// A session, with a connection or without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct End {
    pub(crate) session: Option<Session>,
    pub(crate) parked: Parked,
    /// What was parked is in the session: at a broker, since it accepted the CONNECT.
    pub(crate) is_attached: bool,
}

impl End {
    /// The connection is gone.
    pub(crate) fn lose(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.lost();
            while session.poll().is_some() {}
            if std::mem::take(&mut self.is_attached) {
                self.parked = session.park();
            }
        }
    }

    fn attached(&mut self) -> Option<&mut Session> {
        self.session.as_mut().filter(|_| self.is_attached)
    }

    /// A server waits for an offer before it delivers; nothing else has a deadline here before [`HOLD_MS`].
    pub(crate) fn is_holding(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_open() && session.deadline().is_some_and(|due_ms| due_ms <= HOLD_MS))
    }

    pub(crate) fn settle(&mut self, ticket: Ticket) {
        match self.attached() {
            Some(session) => session.settle(ticket, Outcome::accepted()),
            None => self.parked.settle(ticket, Outcome::accepted()),
        }
    }

    pub(crate) fn recorded(&mut self, record: Record) {
        match self.attached() {
            Some(session) => session.recorded(record),
            None => self.parked.recorded(record),
        }
    }

    pub(crate) fn outbound(&self) -> &Outbound {
        self.session.as_ref().filter(|_| self.is_attached).map_or(&self.parked.outbound, |session| session.in_flight())
    }

    pub(crate) fn inbound(&self) -> &Inbound {
        self.session.as_ref().filter(|_| self.is_attached).map_or(&self.parked.inbound, |session| session.received())
    }

    /// A client's end after a crash. It wrote all of this to its file in the step in which it changed, so that what is there after
    /// the crash is what was there before it.
    pub(crate) fn restore(&mut self, keeps_count: bool) {
        self.lose();
        let Parked { inbound, outbound, mark, .. } = std::mem::take(&mut self.parked);
        let counts = mark.filter(|_| keeps_count);
        let messages = outbound.messages().map(|(id, message)| Restored {
            id,
            token: message.token,
            delivery: message.delivery.clone(),
            received: matches!(message.stage, Stage::Received | Stage::Waiting(Again::Release)),
            number: message.number.filter(|_| counts.is_some()),
        });
        let messages: Vec<_> = messages.collect();
        let mut restored = Inbound::default();
        for (id, number, reason) in inbound.committed() {
            match number.filter(|_| counts.is_some()) {
                Some(number) => restored.restore_counted(id, number, reason),
                None => restored.restore(id),
            }
        }
        assert!(inbound.committed().all(|(.., reason)| reason == Reason::SUCCESS));
        if let (Some(_), Some(received)) = (counts, inbound.counted()) {
            restored.restore_count(received);
        }
        let sent = outbound.sent().filter(|_| counts.is_some());
        self.parked = Parked {
            inbound: restored,
            outbound: Outbound::restore(messages, sent).expect("identifiers in their order"),
            was_extended: false,
            mark: counts,
        };
        self.is_attached = false;
    }
}

/// What is on its way, frame by frame: a cut loses a tail of it, as TCP does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    pub(crate) up: VecDeque<Vec<u8>>,
    pub(crate) down: VecDeque<Vec<u8>>,
}

pub(crate) fn frame(bytes: &[u8]) -> Frame {
    Frame::split_mut(&mut BytesMut::from(bytes), u32::MAX).expect("a frame").expect("a whole one")
}
