//! The loop: read what is ready, refill the windows that moved, write each connection once.

use super::crowd::Crowd;
use super::publisher::Publisher;
use super::turn::{Clock, Turn};
use crate::bench::BenchError;
use crate::bench::door::Door;
use crate::bench::link::{Link, Poll, Scratch};
use crate::bench::outcome::Outcome;
use crate::bench::plan::Plan;
use crate::bench::tally::{Count, Tally};
use crate::bench::wire::{self, Frame, Stamp};
use candor_protocol::dialect::Dialect;
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
        extended: bool,
    },
    /// It gets what is no part of the load: that is taken, acknowledged and counted.
    Aside {
        extended: bool,
    },
}

/// What happens beside the load.
#[derive(Debug)]
pub(super) struct Company {
    /// The publishers that are the load; those behind them are not.
    pub(super) main: usize,
    /// Messages that are to come beside it.
    pub(super) due: u64,
    /// What such a connection sends when the load begins.
    pub(super) opening: Option<(usize, Vec<u8>)>,
    /// Those who publish what they may not.
    pub(super) crowd: Option<Crowd>,
}

impl Company {
    /// Nothing, beside so many publishers.
    pub(super) fn none(main: usize) -> Self {
        Self { main, due: 0, opening: None, crowd: None }
    }
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
    /// Messages of each stream that come from nobody here.
    awaited: Vec<u64>,
    turn: Turn,
    company: Company,
    /// Messages that came beside the load.
    beside: u64,
    /// Connections that nobody reads from.
    _aside: Vec<Door>,
    /// What the server refused last, in its words.
    said: Option<String>,
}

impl Engine {
    pub(super) fn new(plan: Plan, poll: Poll, links: Vec<Link>, roles: Vec<Role>, publishers: Vec<Publisher>, tallies: usize) -> Self {
        let turn = Turn::new(publishers.len(), links.len(), plan.rate.map(|rate| Clock::new(Some(rate))));
        let scratch = Some(Scratch::new(plan.payload_len + plan.dictionary_len + OVERHEAD_LEN));
        let tallies = vec![Tally::default(); tallies];
        let company = Company::none(publishers.len());
        Self {
            plan,
            poll,
            scratch,
            links,
            roles,
            publishers,
            tallies,
            awaited: Vec::new(),
            turn,
            company,
            beside: 0,
            _aside: Vec::new(),
            said: None,
        }
    }

    pub(super) fn keeps_company(&mut self, aside: Vec<Door>, company: Company) {
        (self._aside, self.company) = (aside, company);
    }

    /// Times the acknowledgements of its publishers, which note when they send.
    pub(super) fn times_acks(&mut self) {
        self.turn.clock = Some(Clock::new(None));
    }

    /// Messages that each publisher sent.
    pub(super) fn sent(&self) -> Vec<u64> {
        self.publishers.iter().map(Publisher::sent).collect()
    }

    fn is_all_sent(&self) -> bool {
        self.publishers[..self.company.main].iter().all(Publisher::is_done)
    }

    /// Whether nothing is on its way any more, `awaited` being what was sent before.
    fn is_complete(&self, awaited: u64) -> bool {
        let has_come = self.turn.progress >= awaited && self.beside >= self.company.due && self.is_told();
        has_come && self.publishers.iter().all(Publisher::is_idle)
    }

    /// Waits for so many messages of each stream that were sent before.
    pub(super) fn awaits(&mut self, counts: Vec<u64>) {
        self.awaited = counts;
        self.turn.touched.set(0);
    }

    /// Sends until time or count is reached, then waits for what is on its way.
    pub(super) fn run(&mut self, watch: &mut dyn FnMut(u64)) -> Result<Outcome, BenchError> {
        let start = Instant::now();
        if let Some(clock) = &mut self.turn.clock {
            clock.start(start);
        }
        let (mut last, mut last_progress, mut looked, mut quiet_since, mut last_moves) = (start, 0, start, start, 0);
        let (mut sent_for, mut silent) = (Duration::ZERO, Duration::ZERO);
        (0..self.publishers.len()).for_each(|at| self.turn.moved.set(at));
        if let Some((link, bytes)) = self.company.opening.take() {
            self.links[link].out.extend(bytes);
            self.turn.touched.set(link);
        }
        let mut sending = true;
        let awaited = self.awaited.iter().sum::<u64>();
        loop {
            let now = Instant::now();
            sending = sending && now - start < self.plan.time && !self.is_all_sent();
            if sending {
                self.fill(now - start);
                sent_for = now - start;
            }
            self.flush()?;
            let is_late = !sending && now - start > self.plan.time + DRAIN_TIME;
            if !sending && (is_late || self.is_complete(awaited)) {
                break;
            }
            let ready = self.poll.wait(self.patience(sending)).map_err(BenchError::system("epoll"))?;
            self.read(ready)?;
            self.step(sending.then(|| now - start))?;
            if self.turn.progress != last_progress {
                (last, last_progress) = (Instant::now(), self.turn.progress);
                (quiet_since, last_moves) = (last, self.turn.moves);
            } else if self.turn.moves != last_moves {
                // A message that is long is not silence.
                (quiet_since, last_moves) = (now, self.turn.moves);
            } else if now.saturating_duration_since(quiet_since) > self.plan.stall {
                if !self.is_complete(awaited) {
                    if !self.goes_on_without(sending) {
                        break;
                    }
                    silent += now - quiet_since;
                }
                quiet_since = now;
            }
            if now - looked > Duration::from_millis(100) {
                looked = now;
                watch(self.turn.progress);
            }
        }
        let elapsed = match self.plan.rate {
            // What was waited for in vain, because it is lost, is no time in which the others were delivered.
            None => (last - start).saturating_sub(silent),
            Some(_) => (last - start).max(sent_for),
        };
        self.finish(elapsed)
    }

    /// A load at a rate is exact only when it does not sleep.
    fn patience(&self, sending: bool) -> Duration {
        let is_exact = sending && self.plan.rate.is_some();
        if is_exact || !self.is_told() { Duration::ZERO } else { LOOK }
    }

    fn fill(&mut self, elapsed: Duration) {
        let due = match self.plan.rate {
            None => u64::MAX,
            Some(rate) => {
                (0..self.publishers.len()).for_each(|at| self.turn.moved.set(at));
                (elapsed.as_secs_f64() * rate) as u64 + 1
            }
        };
        let publishers = self.company.main as u64;
        let now_ns = elapsed.as_nanos() as u64;
        while let Some(at) = self.turn.moved.pop() {
            // At a rate publishers take turns, so that messages travel one by one; who is beside the load has no rate.
            let is_paced = self.plan.rate.is_some() && (at as u64) < publishers;
            let due = if is_paced { (due + publishers - 1 - at as u64) / publishers } else { u64::MAX };
            let publisher = &mut self.publishers[at];
            if publisher.fill(due, now_ns, &mut self.links[publisher.link]) {
                self.turn.touched.set(publisher.link);
            }
        }
    }

    /// Whether those who are refused something have heard of all of it.
    fn is_told(&self) -> bool {
        self.company.crowd.as_ref().is_none_or(Crowd::is_told)
    }

    /// Lets one of those go on who publish what they may not.
    fn step(&mut self, sending: Option<Duration>) -> Result<(), BenchError> {
        let Some(crowd) = &mut self.company.crowd else { return Ok(()) };
        self.turn.progress += crowd.step(sending).map_err(|(at, error)| BenchError::Lost(lost(&format!("hostile client {at}"), &error)))?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BenchError> {
        while let Some(at) = self.turn.touched.pop() {
            let before = self.links[at].backlog();
            self.links[at].flush(&self.poll).map_err(|error| self.lost(at, &error))?;
            self.turn.moves += before.saturating_sub(self.links[at].backlog()) as u64;
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
        self.turn.moves += self.links[token].read(scratch)? as u64;
        let bytes = scratch.bytes();
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
                Role::Subscriber { first, count, tally, extended, .. } => {
                    self.delivered(token, (first, count, tally), extended, frame).ok_or_else(|| bad("a packet that makes no sense"))?;
                }
                Role::Aside { extended } => {
                    self.taken(token, extended, frame).ok_or_else(|| bad("a packet that makes no sense"))?;
                }
            }
            used += length;
        }
        self.links[token].keep(scratch, used);
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
                if let Some(clock) = &mut self.turn.clock
                    && let Some(sent_ns) = self.publishers[at].sent_ns(u16::from_be_bytes(*id?))
                {
                    clock.note_ack(sent_ns);
                }
                if self.publishers[at].acknowledged(u16::from_be_bytes(*id?)) {
                    self.turn.moved.set(at);
                }
            }
            // NOTICE, and whatever else is no answer.
            _ => self.note(self.plan.dialect_of(at, true), frame),
        }
        if is_error && self.said.is_none() {
            self.note(self.plan.dialect_of(at, true), frame);
        }
        Some(())
    }

    /// Remembers what the server says besides, for whoever asks why it did something.
    #[cold]
    fn note(&mut self, dialect: Dialect, frame: Frame<'_>) {
        if dialect.is_extended() {
            self.said = wire::refusal(dialect, frame).or(self.said.take());
        }
    }

    /// Takes a packet to a subscriber and answers it; `None` where it makes no sense, and `Some(None)` where it is no message.
    #[inline]
    fn accept(&mut self, token: usize, extended: bool, frame: Frame<'_>) -> Option<Option<Stamp>> {
        let taken = wire::take(frame, extended, &mut self.links[token].out)?;
        if taken.is_none() && extended && frame.first != wire::PUBREL {
            self.note(Dialect::Extended, frame);
        }
        Some(taken)
    }

    /// A packet beside the load; `None` where it makes no sense.
    fn taken(&mut self, token: usize, extended: bool, frame: Frame<'_>) -> Option<()> {
        if self.accept(token, extended, frame)?.is_some() {
            self.beside += 1;
            self.turn.progress += 1;
        }
        Some(())
    }

    /// A packet to a subscriber of the load; `None` where it makes no sense.
    #[inline]
    fn delivered(&mut self, token: usize, (first, count, tally): (u32, u32, usize), extended: bool, frame: Frame<'_>) -> Option<()> {
        let Some(stamp) = self.accept(token, extended, frame)? else { return Some(()) };
        let stream = stamp.stream.wrapping_sub(first);
        if stream >= count {
            self.turn.strangers += 1;
            return Some(());
        }
        if self.tallies[tally + stream as usize].take(stamp.lane) {
            self.turn.progress += 1;
            if let Some(clock) = &mut self.turn.clock {
                clock.note(stamp, self.company.main);
            }
            if self.publishers.get_mut(stamp.stream as usize).is_some_and(|publisher| publisher.delivered(stamp.number)) {
                self.turn.moved.set(stamp.stream as usize);
            }
        }
        Some(())
    }

    /// Nothing has come for too long; true when the load goes on. At QoS 0 what is missing may be lost, and others follow. Above
    /// it identifiers are still in use, so it is the end.
    fn goes_on_without(&mut self, sending: bool) -> bool {
        if self.plan.qos > 0 || !sending && self.publishers.iter().all(Publisher::is_idle) {
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
            let Role::Subscriber { first, count: streams, tally, lane, .. } = *role else { continue };
            for stream in 0..streams as usize {
                let publisher = self.publishers.get(first as usize + stream);
                let awaited = || self.awaited.get(stream).copied().unwrap_or_default();
                let sent = publisher.map_or_else(awaited, |publisher| publisher.sent_to(lane));
                self.tallies[tally + stream].add_to(sent, &mut count);
            }
        }
        let (load, beside) = self.publishers.split_at(self.company.main);
        let sum = |publishers: &[Publisher]| publishers.iter().map(Publisher::sent).sum::<u64>();
        let latency = self.turn.clock.as_ref().and_then(Clock::latency);
        let seconds = elapsed.as_secs_f64();
        let mut outcome = Outcome { count, sent: sum(load), refused: self.turn.refused, seconds, latency, ..Outcome::default() };
        if let Some(acks) = self.turn.clock.as_ref().and_then(Clock::ack_latency) {
            outcome.facts.extend([("ack_p50_us", acks.p50), ("ack_p99_us", acks.p99)]);
        }
        if !beside.is_empty() {
            outcome.facts.insert("published_beside", sum(beside) as f64);
        }
        if self.company.due > 0 {
            outcome.facts.extend([("delivered_beside", self.beside as f64), ("due_beside", self.company.due as f64)]);
        }
        outcome.facts.extend(self.company.crowd.iter().flat_map(Crowd::facts));
        outcome
    }

    fn lost(&self, token: usize, error: &io::Error) -> BenchError {
        let who = match self.roles[token] {
            Role::Publisher(at) => format!("publisher {at}"),
            Role::Subscriber { .. } => format!("subscriber {token}"),
            Role::Aside { .. } => "the subscriber beside the load".to_owned(),
        };
        let done = format!("{}, after {} deliveries and acknowledgements in all", lost(&who, error), self.turn.progress);
        BenchError::Lost(match &self.said {
            Some(said) => format!("{done}; it had said: {said}"),
            None => done,
        })
    }
}

fn lost(who: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("the server closed the connection of {who}"),
        _ => format!("{who}: {error}"),
    }
}
