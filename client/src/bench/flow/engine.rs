//! The loop: read what is ready, refill the windows that moved, write each connection once.

use super::publisher::Publisher;
use super::turn::{Clock, Turn};
use crate::bench::BenchError;
use crate::bench::link::{Link, Poll, Scratch};
use crate::bench::outcome::Outcome;
use crate::bench::plan::Plan;
use crate::bench::tally::{Count, Tally};
use crate::bench::wire::{self, Frame};
use std::io;
use std::time::{Duration, Instant};

/// How often time is looked at when nothing happens.
const LOOK: Duration = Duration::from_millis(20);
/// After the load, for what is still on its way.
const DRAIN_TIME: Duration = Duration::from_secs(120);
/// Of a packet, beside payload and dictionary: header, topic, identifier, and what a server adds.
const OVERHEAD_LEN: usize = 4096;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    Publisher(usize),
    /// It gets `count` streams from `first` on, tallied from `tally` on; `lane` is its place among the subscribers.
    Subscriber {
        first: u32,
        count: u32,
        tally: usize,
        lane: usize,
    },
}

/// All connections of a flow.
#[derive(Debug)]
pub(super) struct Engine {
    plan: Plan,
    poll: Poll,
    scratch: Option<Scratch>,
    links: Vec<Link>,
    roles: Vec<Role>,
    publishers: Vec<Publisher>,
    tallies: Vec<Tally>,
    /// Messages that come from nobody here.
    awaited: u64,
    turn: Turn,
}

impl Engine {
    pub(super) fn new(plan: Plan, poll: Poll, links: Vec<Link>, roles: Vec<Role>, publishers: Vec<Publisher>, tallies: usize) -> Self {
        let turn = Turn::new(publishers.len(), links.len(), plan.dialect.is_extended(), plan.rate);
        let scratch = Some(Scratch::new(plan.payload_len + plan.dictionary_len + OVERHEAD_LEN));
        let tallies = vec![Tally::default(); tallies];
        Self { plan, poll, scratch, links, roles, publishers, tallies, awaited: 0, turn }
    }

    /// Waits for `count` messages that were sent before.
    pub(super) fn awaits(&mut self, count: u64) {
        self.awaited = count;
        self.turn.touched.set(0);
    }

    /// Sends until time or count is reached, then waits for what is on its way.
    pub(super) fn run(&mut self, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
        let start = Instant::now();
        if let Some(clock) = &mut self.turn.clock {
            clock.start(start);
        }
        let (mut last, mut last_progress, mut looked, mut quiet_since) = (start, 0, start, start);
        (0..self.publishers.len()).for_each(|at| self.turn.moved.set(at));
        let mut sending = true;
        loop {
            let now = Instant::now();
            sending = sending && now - start < self.plan.time && !self.publishers.iter().all(Publisher::is_done);
            if sending {
                self.fill(now - start);
            }
            self.flush()?;
            let is_late = !sending && now - start > self.plan.time + DRAIN_TIME;
            if !sending && (is_late || self.turn.progress >= self.awaited && self.publishers.iter().all(Publisher::is_idle)) {
                break;
            }
            let ready = self.poll.wait(self.patience(sending)).map_err(BenchError::system("epoll"))?;
            self.read(ready)?;
            if self.turn.progress != last_progress {
                (last, last_progress) = (Instant::now(), self.turn.progress);
                quiet_since = last;
            } else if now.saturating_duration_since(quiet_since) > self.plan.stall {
                if !self.goes_on_without() {
                    break;
                }
                quiet_since = now;
            }
            if now - looked > Duration::from_millis(100) {
                looked = now;
                watch(self.turn.progress);
            }
        }
        self.finish(last - start)
    }

    /// A load at a rate is exact only when it does not sleep.
    fn patience(&self, sending: bool) -> Duration {
        if sending && self.plan.rate.is_some() { Duration::ZERO } else { LOOK }
    }

    fn fill(&mut self, elapsed: Duration) {
        let due = match self.plan.rate {
            None => u64::MAX,
            Some(rate) => {
                (0..self.publishers.len()).for_each(|at| self.turn.moved.set(at));
                (elapsed.as_secs_f64() * rate) as u64 + 1
            }
        };
        let publishers = self.publishers.len() as u64;
        while let Some(at) = self.turn.moved.pop() {
            // At a rate publishers take turns, so that messages travel one by one.
            let due = if self.plan.rate.is_none() { due } else { (due + publishers - 1 - at as u64) / publishers };
            let publisher = &mut self.publishers[at];
            if publisher.fill(due, &mut self.links[publisher.link]) {
                self.turn.touched.set(publisher.link);
            }
        }
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        while let Some(at) = self.turn.touched.pop() {
            self.links[at].flush(&self.poll).map_err(|error| self.lost(at, &error))?;
        }
        Ok(())
    }

    fn read(&mut self, ready: usize) -> Result<(), BenchError> {
        let Some(mut scratch) = self.scratch.take() else { return Ok(()) };
        for at in 0..ready {
            let ready = self.poll.ready(at);
            if ready.writable {
                self.turn.touched.set(ready.token);
                if let Role::Publisher(publisher) = self.roles[ready.token] {
                    self.turn.moved.set(publisher);
                }
            }
            if ready.readable {
                self.take_all(ready.token, &mut scratch).map_err(|error| self.lost(ready.token, &error))?;
            }
        }
        self.scratch = Some(scratch);
        Ok(())
    }

    fn take_all(&mut self, token: usize, scratch: &mut Scratch) -> io::Result<()> {
        self.take(token, scratch)?;
        while self.links[token].has_more() {
            self.take(token, scratch)?;
        }
        Ok(())
    }

    fn take(&mut self, token: usize, scratch: &mut Scratch) -> io::Result<()> {
        let bytes = self.links[token].read(scratch)?;
        let mut used = 0;
        let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        let role = self.roles[token];
        if let Some(clock) = &mut self.turn.clock {
            clock.look();
        }
        let before = self.links[token].backlog();
        while let Some((frame, length)) = wire::next_frame(&bytes[used..]).map_err(bad)? {
            match role {
                Role::Publisher(at) => self.answered(token, at, frame).ok_or_else(|| bad("an answer that makes no sense"))?,
                Role::Subscriber { first, count, tally, .. } => {
                    self.delivered(token, (first, count, tally), frame).ok_or_else(|| bad("a packet that makes no sense"))?;
                }
            }
            used += length;
        }
        self.links[token].keep(&bytes[used..]);
        if self.links[token].backlog() != before {
            self.turn.touched.set(token);
        }
        Ok(())
    }

    /// A packet to a publisher; `None` where it makes no sense.
    #[inline]
    fn answered(&mut self, token: usize, at: usize, frame: Frame<'_>) -> Option<()> {
        let id = frame.body.first_chunk::<2>();
        let is_error = frame.body.get(2).is_some_and(|reason| *reason >= 0x80);
        match frame.first {
            wire::PUBREC if !is_error => wire::put_ack(wire::PUBREL, *id?, &mut self.links[token].out),
            wire::PUBACK | wire::PUBREC | wire::PUBCOMP => {
                self.turn.refused += u64::from(is_error);
                self.turn.progress += 1;
                if self.publishers[at].acknowledged(u16::from_be_bytes(*id?)) {
                    self.turn.moved.set(at);
                }
            }
            // NOTICE, and whatever else is no answer.
            _ => {}
        }
        Some(())
    }

    /// A packet to a subscriber; `None` where it makes no sense.
    #[inline]
    fn delivered(&mut self, token: usize, (first, count, tally): (u32, u32, usize), frame: Frame<'_>) -> Option<()> {
        if frame.first == wire::PUBREL {
            wire::put_ack(wire::PUBCOMP, *frame.body.first_chunk::<2>()?, &mut self.links[token].out);
            return Some(());
        }
        if frame.first & 0xF0 != wire::PUBLISH {
            return Some(());
        }
        let delivery = wire::delivery(frame, self.turn.extended)?;
        match delivery.qos {
            0 => {}
            1 => wire::put_ack(wire::PUBACK, delivery.id, &mut self.links[token].out),
            _ => wire::put_ack(wire::PUBREC, delivery.id, &mut self.links[token].out),
        }
        let stamp = delivery.stamp;
        let stream = stamp.stream.wrapping_sub(first);
        if stream >= count {
            self.turn.strangers += 1;
            return Some(());
        }
        if self.tallies[tally + stream as usize].take(stamp.lane) {
            self.turn.progress += 1;
            if let Some(clock) = &mut self.turn.clock {
                clock.note(stamp, self.publishers.len());
            }
            if self.publishers.get_mut(stamp.stream as usize).is_some_and(|publisher| publisher.delivered(stamp.number)) {
                self.turn.moved.set(stamp.stream as usize);
            }
        }
        Some(())
    }

    /// Nothing has come for too long; true when the load goes on. At QoS 0 what is missing may be lost, and others follow. Above
    /// it identifiers are still in use, so it is the end.
    fn goes_on_without(&mut self) -> bool {
        if self.plan.qos > 0 {
            return false;
        }
        for (at, publisher) in self.publishers.iter_mut().enumerate() {
            publisher.give_up();
            self.turn.moved.set(at);
        }
        !self.publishers.is_empty()
    }

    /// What was seen, when all has come or nothing more will.
    fn finish(&self, elapsed: Duration) -> Result<Outcome, BenchError> {
        let outcome = self.outcome(elapsed);
        let open = self.publishers.iter().filter(|publisher| !publisher.is_idle()).count();
        if open > 0 && outcome.count.lost == 0 {
            let text = format!("all messages have come, but {open} publishers wait for acknowledgements that do not");
            return Err(BenchError::Silent(text));
        }
        Ok(outcome)
    }

    fn outcome(&self, elapsed: Duration) -> Outcome {
        let mut count = Count { strangers: self.turn.strangers, ..Count::default() };
        for role in &self.roles {
            let Role::Subscriber { first, count: streams, tally, lane } = *role else { continue };
            for stream in 0..streams as usize {
                let publisher = self.publishers.get(first as usize + stream);
                let sent = publisher.map_or(self.awaited, |publisher| publisher.sent_to(lane));
                self.tallies[tally + stream].add_to(sent, &mut count);
            }
        }
        let sent = self.publishers.iter().map(Publisher::sent).sum();
        let latency = self.turn.clock.as_ref().and_then(Clock::latency);
        Outcome { count, sent, refused: self.turn.refused, seconds: elapsed.as_secs_f64(), latency, ..Outcome::default() }
    }

    fn lost(&self, token: usize, error: &io::Error) -> BenchError {
        let who = match self.roles[token] {
            Role::Publisher(at) => format!("publisher {at}"),
            Role::Subscriber { .. } => format!("subscriber {token}"),
        };
        match error.kind() {
            io::ErrorKind::UnexpectedEof => BenchError::Lost(format!("the server closed the connection of {who}")),
            _ => BenchError::Lost(format!("{who}: {error}")),
        }
    }
}
