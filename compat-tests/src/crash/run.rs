//! A run: one data directory, one port, and a broker that is killed at moments that follow from a seed.

use super::actor::{Actor, Speech, kind};
use super::ledger::Ledger;
use super::plan::{Disk, Plan, copy, roll_back};
use super::socket::Online;
use super::volatile::Fault;
use crate::ensure;
use crate::outcome::{Checked, Stop};
use crate::peer::process::Process;
use crate::peer::scratch::Scratch;
use candor_protocol::packet::Qos;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const READERS: usize = 3;
const PUBLISHERS: usize = 3;
const FILTERS: [&str; 3] = ["owed/#", "kept/#", "will/#"];
/// How many messages of a publisher may be unsettled.
const IN_FLIGHT: usize = 20;
/// With so many messages that a reader is owed, nothing is published until it has some of them.
const BACKLOG_MAX: u64 = 100;
/// How long anything that is promised may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A kill whose moment does not come falls then.
const AIM_PATIENCE: Duration = Duration::from_secs(2);
/// How long nothing happens before the processor is given to others.
const BREATH: Duration = Duration::from_micros(200);
/// The state of the data directory is looked at with every so-manieth kill.
const LOOK_EVERY: u64 = 5;

/// Kills a broker as planned.
///
/// # Errors
/// The broker does not start or answer. What it lost is no error but counted, with words in the ledger.
pub fn run(plan: &Plan) -> Checked<Ledger> {
    let mut run = Run::new(plan)?;
    run.settle_in()?;
    for n in 1..=plan.kills {
        if plan.has_faults {
            run.fail_and_mend(Fault::ALL[n as usize % Fault::ALL.len()])?;
        }
        run.aim_and_kill(n)?;
        if plan.disk.must_fail() && !run.ledger.counts.is_clean() {
            return Ok(run.ledger);
        }
    }
    run.come_to_rest()?;
    Ok(run.ledger)
}

pub(super) struct Run {
    plan: Plan,
    dice: u64,
    // Before its folder, as fields are dropped in this order.
    pub(super) process: Option<Process>,
    scratch: Scratch,
    address: SocketAddr,
    start: Instant,
    /// Readers, then publishers, then who ends with the broker.
    pub(super) online: Vec<Online>,
    /// Clients that stay away until this kill.
    away: Vec<u64>,
    mortals: u64,
    pub(super) ledger: Ledger,
}

impl Run {
    fn new(plan: &Plan) -> Checked<Self> {
        let scratch = Scratch::new("crash")?;
        let actor = |n: usize| {
            let name = if n < READERS { format!("reader-{n}") } else { format!("publisher-{}", n - READERS) };
            Online::new(Actor::new(&name, Speech::ALL[(n + plan.seed as usize) % Speech::ALL.len()], true))
        };
        let online: Vec<Online> = (0..READERS + PUBLISHERS).map(actor).collect();
        let mut ledger = Ledger::default();
        ledger.is_disk_failing = plan.has_faults;
        ledger.keeps_history = true;
        if plan.has_faults {
            let refusable = online[READERS..].iter().filter(|online| online.actor.speech != Speech::Plain);
            refusable.for_each(|online| ledger.may_reorder(&online.actor.name));
        }
        let away = vec![0; online.len()];
        let mut run = Self {
            plan: plan.clone(),
            dice: plan.seed,
            scratch,
            process: None,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            start: Instant::now(),
            online,
            away,
            mortals: 0,
            ledger,
        };
        run.start_broker()?;
        Ok(run)
    }

    /// SplitMix64.
    fn below(&mut self, n: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    /// The first time on a port of the system's choice, then on that one.
    fn start_broker(&mut self) -> Checked {
        let mut command = self.plan.disk.command(self.plan.seed + self.ledger.counts.kills)?;
        command.args(["--listen", &format!("mqtt://{}", self.address), "--threads", &self.plan.threads.to_string(), "--data-dir"]);
        command.arg(self.scratch.path().join("data"));
        // What a full queue drops is declared, and is not what is looked for here; nor is who is kept out for refusals that the disk caused.
        command.args(["--queue-length-max", "10000000", "--queue-bytes-max", "1GiB", "--quarantine-refusals", "0"]);
        let process = Process::spawn("broker", &mut command, Box::new(|_| false))?;
        let url = process.log().wait_for("the broker listens", PATIENCE, |lines| {
            lines.iter().find_map(|line| line.strip_prefix("listening mqtt://")).map(str::to_owned)
        })?;
        self.address = url.parse().map_err(|_| Stop::failed(format!("{url} is no address")))?;
        self.process = Some(process);
        Ok(())
    }

    /// One round of everybody; whether anything moved.
    pub(super) fn pump(&mut self, kill: u64) -> bool {
        let (now_ms, mut moved) = (self.now_ms(), false);
        for n in 0..self.online.len() {
            if !self.online[n].is_connected() && n < self.away.len() && self.away[n] <= kill {
                self.online[n].connect(self.address, now_ms, &mut self.ledger);
            }
            moved |= self.online[n].pump(now_ms, &mut self.ledger);
        }
        if !moved {
            std::thread::park_timeout(BREATH);
        }
        moved
    }

    /// Every reader has subscribed before anything is published.
    fn settle_in(&mut self) -> Checked {
        let deadline = Instant::now() + PATIENCE;
        let mut has_asked = [false; READERS];
        while !self.online[..READERS].iter().all(|reader| reader.actor.has_subscribed) {
            ensure!(Instant::now() < deadline, "the readers did not come in");
            self.pump(u64::MAX);
            for (reader, has_asked) in self.online.iter_mut().zip(&mut has_asked) {
                if reader.actor.is_open && !std::mem::replace(has_asked, reader.actor.is_open) {
                    reader.actor.subscribe(&FILTERS, &mut self.ledger);
                }
            }
        }
        self.online[..READERS].iter().for_each(|reader| self.ledger.reads(&reader.actor.name, &FILTERS));
        Ok(())
    }

    pub(super) fn publish(&mut self) {
        let n = self.below(PUBLISHERS as u64) as usize;
        let (what, pad) = (self.below(10), [1, 1, 1, 300][self.below(4) as usize]);
        let (topic, qos, is_retained) = match what {
            0..3 => ("owed/1".to_owned(), Qos::AtLeastOnce, false),
            3..8 => ("owed/2".to_owned(), Qos::ExactlyOnce, false),
            8 => (format!("kept/1/{n}"), Qos::AtLeastOnce, true),
            _ => (format!("kept/2/{n}"), Qos::ExactlyOnce, true),
        };
        let publisher = &mut self.online[READERS + n].actor;
        if publisher.in_flight() < IN_FLIGHT {
            publisher.publish(&topic, qos, is_retained, pad, &mut self.ledger);
        }
    }

    /// Readers are to be killed in the middle of what is new, too, and not only of what is old.
    fn is_reader_behind(&self) -> bool {
        let mut there = self.online[..READERS].iter().filter(|reader| reader.is_connected());
        there.any(|reader| self.ledger.backlog(&reader.actor.name) > BACKLOG_MAX)
    }

    /// Runs until the moment that this kill is aimed at, and kills.
    fn aim_and_kill(&mut self, n: u64) -> Checked {
        let aims = [kind::PUBREC, kind::PUBREC, kind::PUBREL, kind::PUBLISH, kind::PUBACK, kind::PUBCOMP];
        let (aim, mut count) = (aims[self.below(6) as usize], 1 + self.below(40));
        let (cut_at, absent) = (self.below(40), self.below(READERS as u64 * 4) as usize);
        if absent < READERS {
            self.away[absent] = n + 1 + self.below(3);
            self.online[absent].drop_connection(&mut self.ledger);
        }
        self.mortals += 1;
        let mortal = format!("mortal-{}", self.mortals);
        let mut mortal = Online::new(Actor::new(&mortal, Speech::ALL[n as usize % 3], false).with_will("will/all", &mut self.ledger));
        mortal.connect(self.address, self.now_ms(), &mut self.ledger);
        self.online.push(mortal);
        let until = Instant::now() + AIM_PATIENCE;
        while count > 0 && Instant::now() < until {
            if !self.is_reader_behind() {
                (0..3).for_each(|_| self.publish());
            }
            self.pump(n);
            for online in &mut self.online {
                let came = std::mem::take(&mut online.actor.came);
                count = count.saturating_sub(came.into_iter().filter(|kind| *kind == aim).count() as u64);
            }
            if count == cut_at {
                let n = self.below(self.away.len() as u64) as usize;
                self.online[n].drop_connection(&mut self.ledger);
            }
        }
        self.kill(n)
    }

    /// What a life of the broker found worth an operator's attention.
    fn note_log(&mut self, process: &Process) {
        let worth = process.log().tail_of(|line| ["WARN", "ERROR", "panicked"].iter().any(|level| line.contains(level)));
        self.ledger.note(|| format!("the broker ends here; it warned of{}", if worth.is_empty() { " nothing" } else { &worth }));
    }

    fn kill(&mut self, n: u64) -> Checked {
        if let Some(mut process) = self.process.take() {
            process.kill();
            self.note_log(&process);
        }
        self.ledger.counts.kills += 1;
        if self.online.iter().any(|online| online.actor.is_in_exchange()) {
            self.ledger.counts.kills_in_exchange += 1;
        }
        for online in self.online.split_off(READERS + PUBLISHERS) {
            if online.actor.is_open {
                self.ledger.will_owed(&online.actor.name, 0);
            }
        }
        // What is still under way from a broker that is dead is lost with it, or read, as it comes.
        let reads_on = self.below(2) == 0;
        for online in &mut self.online {
            if reads_on {
                online.pump(0, &mut self.ledger);
            }
            online.drop_connection(&mut self.ledger);
        }
        if let Some(leaves) = self.plan.leaves.as_ref().filter(|_| n == self.plan.kills) {
            copy(&self.scratch.path().join("data"), leaves)?;
        }
        if self.plan.disk == Disk::RolledBack {
            roll_back(&self.scratch.path().join("data"), &self.scratch.path().join("before"))?;
        }
        self.start_broker()?;
        if n.is_multiple_of(LOOK_EVERY) { self.look_at_retained() } else { Ok(()) }
    }

    /// A newcomer asks for the retained messages while nobody publishes.
    fn look_at_retained(&mut self) -> Checked {
        let mut late = Online::new(Actor::new("late", Speech::Plain, false));
        late.connect(self.address, self.now_ms(), &mut self.ledger);
        let deadline = Instant::now() + self.patience() / 3;
        let mut has_asked = false;
        let wanted = self.ledger.must_be_retained();
        while Instant::now() < deadline && !wanted.iter().all(|topic| late.actor.retained.contains_key(topic)) {
            if late.actor.is_open && !std::mem::replace(&mut has_asked, late.actor.is_open) {
                late.actor.subscribe(&["kept/#"], &mut self.ledger);
            }
            if !late.pump(0, &mut self.ledger) {
                std::thread::park_timeout(BREATH);
            }
        }
        // A topic that need not be retained may be; what came is judged, what did not come only where it had to.
        let seen = late.actor.retained.clone();
        self.ledger.retained(&seen);
        Ok(())
    }

    /// A run that must fail does not wait long for what cannot come.
    pub(super) fn patience(&self) -> Duration {
        if self.plan.disk.must_fail() { PATIENCE / 20 } else { PATIENCE }
    }

    fn come_to_rest(&mut self) -> Checked {
        let deadline = Instant::now() + self.patience();
        loop {
            if self.pump(u64::MAX) && Instant::now() < deadline {
                continue;
            }
            let is_settled = self.online.iter().all(|online| online.actor.is_open && online.actor.in_flight() == 0);
            if (is_settled && self.ledger.missing().is_empty()) || Instant::now() > deadline {
                break;
            }
        }
        // A round trip more, for what should not come.
        let quiet = Instant::now() + Duration::from_millis(200);
        while Instant::now() < quiet {
            self.pump(u64::MAX);
        }
        self.look_at_retained()?;
        if let Some(process) = self.process.take() {
            self.note_log(&process);
            self.process = Some(process);
        }
        self.ledger.close();
        let open: Vec<_> = self.online.iter().filter(|online| online.actor.in_flight() > 0).map(|online| &online.actor.name).collect();
        ensure!(open.is_empty() || !self.ledger.counts.is_clean(), "messages of {open:?} were never settled");
        Ok(())
    }
}
