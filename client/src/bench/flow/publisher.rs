//! One stream of messages: what was sent, and what of it is still on its way.

use super::aim::Aim;
use crate::bench::link::{Link, WRITE_LEN_MAX};
use crate::bench::wire::{Stamp, Template};

/// A publisher and its window.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) link: usize,
    stream: u32,
    template: Template,
    aim: Aim,
    /// The number of the next message.
    next: u64,
    /// The oldest message that is not acknowledged and delivered everywhere.
    head: u64,
    limit: u64,
    /// What is still to come for each message of the window: deliveries, and one acknowledgement above QoS 0.
    remaining: Vec<u32>,
    owed: u32,
    /// When each message of the window was sent, where acknowledgements are timed; else empty.
    sent_ns: Vec<u64>,
}

/// What a publisher may do, and what completes a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub(super) window: usize,
    /// Messages, at most.
    pub(super) limit: u64,
    /// Deliveries and acknowledgements of one message.
    pub(super) owed: u32,
}

impl Publisher {
    pub(super) fn new(link: usize, stream: u32, template: Template, aim: Aim, promise: Promise) -> Self {
        let Promise { window, limit, owed } = promise;
        Self { link, stream, template, aim, next: 0, head: 0, limit, remaining: vec![0; window], owed, sent_ns: Vec::new() }
    }

    /// The same, with each acknowledgement timed.
    pub(super) fn timed(self) -> Self {
        let sent_ns = vec![0; self.remaining.len()];
        Self { sent_ns, ..self }
    }

    /// When the message with identifier `id` was sent, where that was noted.
    #[inline]
    pub(super) fn sent_ns(&self, id: u16) -> Option<u64> {
        self.sent_ns.get(usize::from(id).checked_sub(1)?).copied()
    }

    pub(super) fn sent(&self) -> u64 {
        self.next
    }

    /// Messages on their way to the subscriber with this lane.
    pub(super) fn sent_to(&self, lane: usize) -> u64 {
        match &self.aim {
            Aim::Filters(filters) => filters.sent.get(lane).map_or(0, |sent| u64::from(*sent)),
            Aim::One | Aim::Numbered { .. } => self.next,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.head == self.next
    }

    /// Whether all that it may send has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.next >= self.limit
    }

    /// Sends what the window and `due` messages allow, at the time `now_ns`; true when there was any.
    #[inline]
    pub(super) fn fill(&mut self, due: u64, now_ns: u64, link: &mut Link) -> bool {
        let window = self.remaining.len() as u64;
        let end = (self.head + window).min(self.limit).min(due);
        let first = self.next;
        while self.next < end && link.backlog() < WRITE_LEN_MAX {
            let slot = self.next % window;
            self.remaining[slot as usize] = self.owed;
            if let Some(sent_ns) = self.sent_ns.get_mut(slot as usize) {
                *sent_ns = now_ns;
            }
            let lane = self.aim.aim(self.next, &mut self.template);
            let stamp = Stamp { stream: self.stream, number: self.next, lane };
            self.template.put(slot as u16 + 1, stamp, &mut link.out);
            self.next += 1;
        }
        self.next > first
    }

    /// A delivery of message `number`; true when the window moved.
    #[inline]
    pub(super) fn delivered(&mut self, number: u64) -> bool {
        if number < self.head || number >= self.next {
            return false;
        }
        self.complete((number % self.remaining.len() as u64) as usize)
    }

    /// The last acknowledgement of the message with identifier `id`; true when the window moved.
    #[inline]
    pub(super) fn acknowledged(&mut self, id: u16) -> bool {
        match usize::from(id).checked_sub(1) {
            Some(slot) if slot < self.remaining.len() => self.complete(slot),
            _ => false,
        }
    }

    #[inline]
    fn complete(&mut self, slot: usize) -> bool {
        self.remaining[slot] = self.remaining[slot].saturating_sub(1);
        let window = self.remaining.len() as u64;
        let before = self.head;
        while self.head < self.next && self.remaining[(self.head % window) as usize] == 0 {
            self.head += 1;
        }
        self.head > before
    }

    /// Takes what is on its way for lost, so that others can follow.
    pub(super) fn give_up(&mut self) {
        self.head = self.next;
    }
}
