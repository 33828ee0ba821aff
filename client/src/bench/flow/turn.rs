//! What changes while a load runs: which windows moved, which connections have something to write, and what was counted.

use crate::bench::histogram::Histogram;
use crate::bench::outcome::Latency;
use crate::bench::wire::Stamp;
use std::time::Instant;

/// What changed in a turn, and what was seen so far.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) moved: Marks,
    pub(super) touched: Marks,
    /// Deliveries and acknowledgements.
    pub(super) progress: u64,
    /// Bytes that were read and written.
    pub(super) moves: u64,
    pub(super) strangers: u64,
    pub(super) refused: u64,
    pub(super) clock: Option<Clock>,
}

/// Times of a load: of deliveries where it is at a rate, of acknowledgements where they are timed.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// When what is being handled was read, or is being sent.
    pub(super) now_ns: u64,
    /// Messages a second over all publishers.
    rate: Option<f64>,
    deliveries: Histogram,
    acks: Histogram,
}

/// A set of small numbers, emptied every turn.
#[derive(Debug)]
pub(super) struct Marks {
    is_set: Vec<bool>,
    list: Vec<usize>,
}

impl Marks {
    pub(super) fn new(len: usize) -> Self {
        Self { is_set: vec![false; len], list: Vec::with_capacity(len) }
    }

    #[inline]
    pub(super) fn set(&mut self, at: usize) {
        if !std::mem::replace(&mut self.is_set[at], true) {
            self.list.push(at);
        }
    }

    pub(super) fn pop(&mut self) -> Option<usize> {
        let at = self.list.pop()?;
        self.is_set[at] = false;
        Some(at)
    }
}

impl Turn {
    /// `clock`: for a load whose times are wanted.
    pub(super) fn new(publishers: usize, links: usize, clock: Option<Clock>) -> Self {
        Self { moved: Marks::new(publishers), touched: Marks::new(links), progress: 0, moves: 0, strangers: 0, refused: 0, clock }
    }
}

impl Clock {
    /// With a `rate` it times deliveries.
    pub(super) fn new(rate: Option<f64>) -> Self {
        Self { start: Instant::now(), now_ns: 0, rate, deliveries: Histogram::new(), acks: Histogram::new() }
    }

    pub(super) fn start(&mut self, now: Instant) {
        self.start = now;
    }

    /// What is handled from now on was read now.
    pub(super) fn look(&mut self) {
        self.now_ns = self.start.elapsed().as_nanos() as u64;
    }

    /// Notes a delivery. It counts from when the message was to be sent, whenever it was: a server that holds back the load does
    /// not hide what that cost (coordinated omission).
    pub(super) fn note(&mut self, stamp: Stamp, publishers: usize) {
        let Some(rate) = self.rate else { return };
        let turn = stamp.number * publishers as u64 + u64::from(stamp.stream);
        let intended_ns = (turn as f64 * 1e9 / rate) as u64;
        self.deliveries.add(self.now_ns.saturating_sub(intended_ns));
    }

    /// Notes the acknowledgement of what was sent at `sent_ns`.
    pub(super) fn note_ack(&mut self, sent_ns: u64) {
        self.acks.add(self.now_ns.saturating_sub(sent_ns));
    }

    pub(super) fn latency(&self) -> Option<Latency> {
        self.deliveries.latency()
    }

    pub(super) fn ack_latency(&self) -> Option<Latency> {
        self.acks.latency()
    }
}
