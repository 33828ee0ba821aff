//! All hostile clients of a load, with sockets of their own: between two looks at the sockets of the load, one of theirs is read or
//! written, so that they add no more than that to what is measured.

use super::hostile::{Hostile, UNANSWERED_MAX};
use crate::bench::histogram::Histogram;
use crate::bench::link::{Link, Poll, Ready, Scratch};
use crate::bench::tls::Stream;
use crate::bench::wire;
use std::io;
use std::time::{Duration, Instant};

/// How often at most each sends: what is due by then goes together.
const WRITES_PER_S: f64 = 100.0;
/// The most messages that go together.
const BATCH_MAX: u64 = UNANSWERED_MAX - 4;
/// How often it is looked for answers: those that have come by then are read together.
const LOOK: Duration = Duration::from_millis(1);
/// The longest packet that one is sent.
const PACKET_LEN_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Crowd {
    clients: Vec<Hostile>,
    poll: Poll,
    scratch: Scratch,
    /// Messages a second over all.
    rate: f64,
    /// How long they have sent.
    elapsed: Duration,
    /// Sockets that were ready when it was last looked.
    ready: Vec<Ready>,
    looked: Duration,
    /// Who is the next to send, if it has to.
    next: usize,
    steps: Histogram,
    busy: Duration,
}

impl Crowd {
    /// # Errors
    /// The system has no more readiness to give.
    pub(super) fn new(rate: u32) -> io::Result<Self> {
        Ok(Self {
            clients: Vec::new(),
            poll: Poll::new()?,
            scratch: Scratch::new(PACKET_LEN_MAX),
            rate: f64::from(rate),
            elapsed: Duration::ZERO,
            ready: Vec::new(),
            looked: Duration::ZERO,
            next: 0,
            steps: Histogram::new(),
            busy: Duration::ZERO,
        })
    }

    /// One more, over a connection that is open.
    ///
    /// # Errors
    /// The socket fails.
    pub(super) fn add(&mut self, stream: Stream, payload_len: usize) -> io::Result<()> {
        let at = self.clients.len();
        let (dialect, qos) = Hostile::kind(at);
        self.clients.push(Hostile::new(at, Link::new(&self.poll, stream, at)?, dialect, qos, payload_len));
        Ok(())
    }

    /// Reads or writes one socket, if one of them has anything; `sending`: so much time after the beginning new messages are sent. The
    /// result is how many refusals were told.
    ///
    /// # Errors
    /// Which client it was that lost its connection, or read what makes no sense.
    pub(super) fn step(&mut self, sending: Option<Duration>) -> Result<u64, (usize, io::Error)> {
        if self.clients.is_empty() {
            return Ok(0);
        }
        let start = Instant::now();
        self.elapsed = sending.unwrap_or(self.elapsed);
        let told = match self.ready.pop() {
            Some(ready) => self.serve(ready).map_err(|error| (ready.token, error))?,
            None => match sending.and_then(|_| self.due()) {
                Some((at, count)) => {
                    self.write(at, count).map_err(|error| (at, error))?;
                    0
                }
                None if sending.is_none_or(|elapsed| elapsed - self.looked > LOOK) => {
                    self.looked = self.elapsed;
                    let count = self.poll.wait(Duration::ZERO).map_err(|error| (0, error))?;
                    self.ready.extend((0..count).map(|at| self.poll.ready(at)));
                    return Ok(0);
                }
                None => return Ok(0),
            },
        };
        let took = start.elapsed();
        self.busy += took;
        self.steps.add(took.as_nanos() as u64);
        Ok(told)
    }

    /// Who has to send how many now.
    fn due(&mut self) -> Option<(usize, u64)> {
        let share = self.rate / self.clients.len() as f64;
        let batch = ((share / WRITES_PER_S) as u64).clamp(1, BATCH_MAX);
        for at in (self.next..self.clients.len()).chain(0..self.next) {
            // They do not send all at once, but one after the other.
            let early = (batch * at as u64) as f64 / self.clients.len() as f64;
            let due = (self.elapsed.as_secs_f64() * share + early) as u64;
            let client = &self.clients[at];
            if due >= client.sent + batch && client.may_send(batch) {
                self.next = at + 1;
                return Some((at, batch));
            }
        }
        None
    }

    fn write(&mut self, at: usize, count: u64) -> io::Result<()> {
        let client = &mut self.clients[at];
        client.fill(count);
        client.link.flush(&self.poll)
    }

    fn serve(&mut self, ready: Ready) -> io::Result<u64> {
        let client = &mut self.clients[ready.token];
        if ready.writable {
            client.link.flush(&self.poll)?;
        }
        let mut told = 0;
        let mut has_more = ready.readable;
        while has_more {
            client.link.read(&mut self.scratch)?;
            let bytes = self.scratch.bytes();
            let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
            let mut used = 0;
            while let Some((frame, length)) = wire::next_frame(&bytes[used..]).map_err(bad)? {
                told += client.refusals(frame).map_err(bad)?;
                used += length;
            }
            client.link.keep(&mut self.scratch, used);
            has_more = client.link.has_more();
        }
        client.told += told;
        Ok(told)
    }

    /// Whether every refusal was told.
    pub(super) fn is_told(&self) -> bool {
        self.clients.iter().all(|client| client.told >= client.sent)
    }

    pub(super) fn facts(&self) -> Vec<(&'static str, f64)> {
        let sum = |of: fn(&Hostile) -> u64| self.clients.iter().map(of).sum::<u64>() as f64;
        let (sent, told) = (sum(|client| client.sent), sum(|client| client.told));
        if self.clients.is_empty() {
            return Vec::new();
        }
        let mut facts = vec![
            ("hostile_sent", sent),
            ("hostile_told", told),
            ("hostile_per_s", sent / self.elapsed.as_secs_f64().max(1e-9)),
            // What the load generator itself takes for a message, with what the system does for its sockets.
            ("hostile_own_us", self.busy.as_secs_f64() * 1e6 / sent.max(1.0)),
        ];
        // What of the latencies may be its own: how long it looked at one of these sockets instead.
        facts.extend(self.steps.latency().map(|steps| ("hostile_step_p99_us", steps.p99)));
        facts
    }
}
