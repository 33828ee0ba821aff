//! A message that waits: here, or as a reference to what only the store holds.

use super::namespaces::Space;
use crate::experiment::QueueExtensions;
use crate::message::Envelope;
use crate::store::MessageNumber;
use candor_protocol::packet::Qos;

/// A message that waits, with the form it will be delivered in.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub envelope: Envelope,
    pub qos: Qos,
    pub retain: bool,
    /// How many times it was handed out before.
    pub redelivery_count: u32,
    /// The number under which it is kept for the session.
    pub message: Option<MessageNumber>,
    /// The namespace with limits that it belongs to.
    pub space: Option<Space>,
    /// Its publisher asked for a place wherever publishers learn of full queues, and may have been told that it was taken: it is not
    /// dropped for want of room there.
    pub has_place: bool,
}

/// What a queue has to know of a message that only the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// As [`Envelope::len`].
    len: usize,
    /// Milliseconds since 1970.
    pub(super) expires_at_ms: Option<u64>,
    /// What the experiments in force make of it.
    rank: u64,
}

impl Reference {
    pub fn of(envelope: &Envelope, extensions: &QueueExtensions) -> Self {
        Self { len: envelope.len(), expires_at_ms: envelope.expires_at_ms, rank: extensions.rank(envelope) }
    }
}

/// A message that waits in the store, with the form it will be delivered in.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    pub reference: Reference,
    pub qos: Qos,
    pub retain: bool,
    /// How many times it was handed out before.
    pub redelivery_count: u32,
    pub message: MessageNumber,
    pub space: Option<Space>,
}

/// A message in its place. What only the store holds is a reference.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) body: Body,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) redelivery_count: u32,
    pub(super) message: Option<MessageNumber>,
    pub(super) space: Option<Space>,
}

/// What a message takes beside its text: its place, of which a queue that has grown has some free, the envelope, and the head of the
/// memory that the text stands in.
pub(super) const HERE_BYTES: usize = 3 * size_of::<Entry>() / 2 + size_of::<Envelope>() + 32;

#[derive(Debug)]
pub(super) enum Body {
    Here(Box<Envelope>),
    Stored(Reference),
}

impl Entry {
    pub(super) fn new(waiting: Waiting) -> Self {
        let Waiting { envelope, qos, retain, redelivery_count, message, space, .. } = waiting;
        Self { body: Body::Here(Box::new(envelope)), qos, retain, redelivery_count, message, space }
    }

    pub(super) fn len(&self) -> usize {
        match &self.body {
            Body::Here(envelope) => envelope.len(),
            Body::Stored(reference) => reference.len,
        }
    }

    /// The bytes of it that are in memory.
    pub(super) fn near_bytes(&self) -> usize {
        match &self.body {
            Body::Here(envelope) => envelope.len() + HERE_BYTES,
            Body::Stored(_) => size_of::<Self>(),
        }
    }

    pub(super) fn is_expired(&self, unix_ms: u64) -> bool {
        match &self.body {
            Body::Here(envelope) => envelope.is_expired(unix_ms),
            Body::Stored(reference) => reference.expires_at_ms.is_some_and(|at| unix_ms >= at),
        }
    }

    pub(super) fn rank(&self, extensions: &QueueExtensions) -> u64 {
        match &self.body {
            Body::Here(envelope) => extensions.rank(envelope),
            Body::Stored(reference) => reference.rank,
        }
    }

    /// Leaves the message to the store, if the store has it.
    pub(super) fn unload(&mut self, extensions: &QueueExtensions) {
        if let (Body::Here(envelope), Some(_)) = (&self.body, self.message)
            && envelope.report().is_none()
        {
            self.body = Body::Stored(Reference::of(envelope, extensions));
        }
    }
}

impl From<Stored> for Entry {
    fn from(stored: Stored) -> Self {
        let Stored { reference, qos, retain, redelivery_count, message, space } = stored;
        Self { body: Body::Stored(reference), qos, retain, redelivery_count, message: Some(message), space }
    }
}
