//! A broker, its clients, the network between them and the disk below it, all in one thread of events that follows from a seed.

use super::actor::{Actor, Speech};
use super::dice::Dice;
use super::house::{House, Link, Mutant, SHARDS};
use super::ledger::Ledger;
use candor_broker::shard::Now;
use candor_broker::store::files::{Mishap, SimDisk};
use candor_protocol::packet::Qos;

/// How many events there are before everything comes to rest.
const EVENTS: usize = 2500;
/// How many rounds it is given to come to rest.
const ROUNDS_MAX: usize = 20_000;

/// The clock on the wall when the one that never runs back stood at 0.
const UNIX_MS: u64 = 1_700_000_000_000;

const READERS: usize = 3;
const PUBLISHERS: usize = 3;
const FILTERS: [&str; 3] = ["owed/#", "kept/#", "will/#"];

pub struct World {
    seed: u64,
    dice: Dice,
    now: Now,
    disk: SimDisk,
    /// There is none between a loss of power and the next start.
    house: Option<House>,
    /// Readers, then publishers, then those with a will.
    actors: Vec<Actor>,
    /// Where each of them has its connection in `links`.
    wires: Vec<Option<usize>>,
    /// Connections, of which some belong to nobody any more.
    links: Vec<Option<Link>>,
    pub ledger: Ledger,
    mutant: Mutant,
    /// The operation of the disk that the power is lost in.
    loss: Option<u64>,
    wills: usize,
    is_calm: bool,
}

/// Runs a seed.
///
/// # Errors
/// What is wrong, with the seed.
pub fn run(seed: u64, mutant: Mutant) -> Result<Ledger, String> {
    let mut world = World::new(seed, mutant);
    world.ledger.is_loud = std::env::var_os("CANDOR_HISTORY").is_some();
    let done = world.run();
    let counts = &world.ledger.counts;
    match (done, counts.is_clean()) {
        (Ok(()), true) => Ok(world.ledger),
        (done, _) => {
            let complaints = world.ledger.complaints.join("\n  ");
            Err(format!("seed {seed}: {}\n{counts}\n  {complaints}", done.err().unwrap_or_default()))
        }
    }
}

impl World {
    fn new(seed: u64, mutant: Mutant) -> Self {
        let disk = SimDisk::new(seed);
        match mutant {
            Mutant::NoSync => disk.ignore_sync(),
            Mutant::AcknowledgesBeforeSync => disk.sync_late(),
            Mutant::NoDirectorySync => disk.ignore_sync_directory(),
            Mutant::None | Mutant::ForgetsTakenIdentifiers | Mutant::ReceiptBeforeKeeping => {}
        }
        let mut dice = Dice::new(seed);
        let speech = |n: usize| Speech::ALL[n % Speech::ALL.len()];
        let turn = dice.below(3);
        let readers = (0..READERS).map(|n| Actor::new(&format!("reader-{n}"), speech(n + turn), true));
        let publishers = (0..PUBLISHERS).map(|n| Actor::new(&format!("publisher-{n}"), speech(n + turn), true));
        let actors: Vec<Actor> = readers.chain(publishers).collect();
        let wires = actors.iter().map(|_| None).collect();
        let mut ledger = Ledger::default();
        ledger.is_disk_failing = seed % 2 == 1;
        if ledger.is_disk_failing {
            let extended = actors[READERS..].iter().filter(|actor| actor.speech != Speech::Plain);
            extended.for_each(|actor| ledger.may_reorder(&actor.name));
        }
        let now = Now { ms: 1_000_000, unix_ms: UNIX_MS + 1_000_000 };
        Self { seed, dice, now, disk, house: None, actors, wires, links: Vec::new(), ledger, mutant, loss: None, wills: 0, is_calm: false }
    }

    fn run(&mut self) -> Result<(), String> {
        self.start()?;
        self.settle_in()?;
        for _ in 0..EVENTS {
            self.event()?;
        }
        self.come_to_rest()?;
        self.look_at_retained()
    }

    fn start(&mut self) -> Result<(), String> {
        let house = House::start(&self.disk, self.now, &mut self.dice, self.mutant);
        self.house = Some(house.map_err(|error| format!("it does not start: {error}"))?);
        Ok(())
    }

    /// Every reader is there and has subscribed before anything is published.
    fn settle_in(&mut self) -> Result<(), String> {
        self.is_calm = true;
        for _ in 0..ROUNDS_MAX {
            self.round()?;
            for reader in &mut self.actors[..READERS] {
                if reader.is_open && !reader.has_subscribed && reader.came.contains(&2) {
                    reader.came.clear();
                    reader.subscribe(&FILTERS, &mut self.ledger);
                }
            }
            if self.actors[..READERS].iter().all(|reader| reader.has_subscribed) && self.actors.iter().all(|actor| actor.is_open) {
                // What is retained follows SUBACK: nothing may become so before it has been looked for.
                for _ in 0..50 {
                    self.round()?;
                }
                self.actors[..READERS].iter().for_each(|reader| self.ledger.reads(&reader.name, &FILTERS));
                self.is_calm = false;
                return Ok(());
            }
        }
        Err("the clients did not come in".to_owned())
    }

    fn event(&mut self) -> Result<(), String> {
        match self.dice.below(1000) {
            0..300 => self.shard(),
            300..420 => return self.engine(),
            420..440 => return self.idle_engine(),
            440..640 => self.actor(),
            640..900 => self.publish(),
            900..930 => self.cut(),
            930..960 if self.ledger.is_disk_failing => self.fault(),
            960..964 => self.plan_loss(),
            964..966 => return self.power_loss(),
            966..974 => self.add_will(),
            974 => self.set_clock(),
            975..985 => self.leave(),
            _ => self.pass(),
        }
        Ok(())
    }

    /// Everybody does something, and nothing goes wrong.
    fn round(&mut self) -> Result<(), String> {
        for index in 0..SHARDS {
            self.turn(index);
        }
        self.engine()?;
        self.idle_engine()?;
        for n in 0..self.actors.len() {
            self.act(n);
        }
        self.pass();
        Ok(())
    }

    fn pass(&mut self) {
        let ms = 1 + self.dice.below(3) as u64;
        self.now = Now { ms: self.now.ms + ms, unix_ms: self.now.unix_ms + ms };
    }

    /// The clock on the wall jumps: it is right, or ten minutes behind or ahead.
    fn set_clock(&mut self) {
        let right_ms = UNIX_MS + self.now.ms;
        self.now.unix_ms = [right_ms - 600_000, right_ms, right_ms + 600_000][self.dice.below(3)];
    }

    fn shard(&mut self) {
        let index = self.dice.below(usize::from(SHARDS)) as u16;
        self.turn(index);
    }

    fn turn(&mut self, index: u16) {
        if let Some(house) = &mut self.house {
            house.turn(index, self.now, &mut self.links, &mut self.dice);
        }
    }

    fn engine(&mut self) -> Result<(), String> {
        let (disk, loss) = (self.disk.clone(), self.loss);
        let has_power = move || loss.is_none_or(|at| disk.operations() <= at);
        if let (true, Some(house)) = (self.ledger.is_loud, &mut self.house) {
            house.is_loud = true;
        }
        match self.house.as_mut().map(|house| house.engine_turn(&mut self.dice, &has_power)) {
            Some(false) => self.power_loss(),
            _ => Ok(()),
        }
    }

    fn idle_engine(&mut self) -> Result<(), String> {
        let (disk, loss) = (self.disk.clone(), self.loss);
        let has_power = move || loss.is_none_or(|at| disk.operations() <= at);
        match self.house.as_mut().map(|house| house.idle_engine(&has_power)) {
            Some(false) => self.power_loss(),
            _ => Ok(()),
        }
    }

    fn actor(&mut self) {
        let n = self.dice.below(self.actors.len());
        self.act(n);
    }

    /// A client connects, or reads any part of what came to it and answers.
    fn act(&mut self, n: usize) {
        if self.house.is_none() {
            return;
        }
        let (actor, ledger) = (&mut self.actors[n], &mut self.ledger);
        let Some(link) = wired(&mut self.links, self.wires[n]) else {
            // One with a will dies once.
            if n < READERS + PUBLISHERS && (actor.is_connected() || self.is_calm || self.dice.one_in(4)) {
                actor.connect(self.now.ms, ledger);
                self.wires[n] = self.open();
            }
            return;
        };
        let count = if self.is_calm { link.down.len() } else { self.dice.below(link.down.len() + 1) };
        let bytes = link.down.split_to(count);
        let stands = actor.receive(&bytes, self.now.ms, ledger);
        link.up.extend_from_slice(&actor.out.split());
        if !stands || (link.is_closed && link.down.is_empty()) {
            actor.lost(ledger);
            (link.is_cut, self.wires[n]) = (true, None);
        }
    }

    /// A new connection to the broker, if there is one.
    fn open(&mut self) -> Option<usize> {
        let link = self.house.as_mut()?.accept(self.now);
        let free = self.links.iter().position(Option::is_none);
        let at = free.unwrap_or(self.links.len());
        if free.is_none() {
            self.links.push(None);
        }
        self.links[at] = Some(link);
        Some(at)
    }

    fn publish(&mut self) {
        let n = self.dice.below(PUBLISHERS);
        let (kind, pad) = (self.dice.below(8), [1, 1, 1, 200][self.dice.below(4)]);
        let (topic, qos, is_retained) = match kind {
            0..3 => ("owed/1".to_owned(), Qos::AtLeastOnce, false),
            3..6 => ("owed/2".to_owned(), Qos::ExactlyOnce, false),
            6 => (format!("kept/1/{n}"), Qos::AtLeastOnce, true),
            _ => (format!("kept/2/{n}"), Qos::ExactlyOnce, true),
        };
        let actor = &mut self.actors[READERS + n];
        if actor.in_flight() < 20 {
            actor.publish(&topic, qos, is_retained, pad, &mut self.ledger);
        }
        if let Some(link) = wired(&mut self.links, self.wires[READERS + n]) {
            link.up.extend_from_slice(&actor.out.split());
        }
    }

    /// A connection breaks, with what was under way in any part of it.
    fn cut(&mut self) {
        let n = self.dice.below(self.actors.len());
        let Some(link) = wired(&mut self.links, self.wires[n]) else { return };
        link.is_cut = true;
        let has_died = !link.is_closed && n >= READERS + PUBLISHERS && self.actors[n].is_open;
        self.wires[n] = None;
        if has_died {
            let name = self.actors[n].name.clone();
            self.ledger.will_owed(&name, 0);
        }
        self.actors[n].lost(&mut self.ledger);
    }

    /// A client loses patience and takes another connection. What it had sent on this one is read late, perhaps behind what it sends on
    /// the next.
    fn leave(&mut self) {
        let n = self.dice.below(READERS + PUBLISHERS);
        let Some(link) = wired(&mut self.links, self.wires[n]) else { return };
        link.is_left = true;
        self.wires[n] = None;
        self.actors[n].lost(&mut self.ledger);
    }

    /// The disk fails once, is full, or is mended.
    fn fault(&mut self) {
        match self.dice.below(8) {
            0 if self.loss.is_none() => self.disk.plan(self.disk.operations() + self.dice.below(6) as u64, Mishap::Fails),
            1 => self.disk.limit(Some(self.disk.bytes() + self.dice.below(2000) as u64)),
            2 if self.loss.is_none() => self.disk.plan(self.disk.operations() + self.dice.below(6) as u64, Mishap::FailsForEver),
            _ => {
                self.disk.repair();
                self.loss = None;
            }
        }
    }

    fn plan_loss(&mut self) {
        let at = self.disk.operations() + self.dice.below(8) as u64;
        self.loss = Some(at);
        self.disk.plan(at, Mishap::PowerLoss);
    }

    /// The power goes, and the broker comes back on what the disk has kept.
    fn power_loss(&mut self) -> Result<(), String> {
        self.ledger.counts.kills += 1;
        self.ledger.note(|| "the power is lost".to_owned());
        if self.actors.iter().any(Actor::is_in_exchange) {
            self.ledger.counts.kills_in_exchange += 1;
        }
        self.house = None;
        self.disk.repair();
        self.disk.restart();
        self.loss = None;
        self.links.clear();
        for (n, actor) in self.actors.iter_mut().enumerate() {
            self.wires[n] = None;
            if n >= READERS + PUBLISHERS && actor.is_open {
                self.ledger.will_owed(&actor.name, 0);
            }
            actor.lost(&mut self.ledger);
        }
        self.actors.truncate(READERS + PUBLISHERS);
        self.wires.truncate(READERS + PUBLISHERS);
        self.pass();
        // Whoever mends a machine may set its clock.
        if self.dice.one_in(4) {
            self.set_clock();
        }
        loop {
            // It may go again while what was left is read.
            self.loss = self.dice.one_in(4).then(|| self.disk.operations() + self.dice.below(6) as u64);
            self.loss.into_iter().for_each(|at| self.disk.plan(at, Mishap::PowerLoss));
            match self.start() {
                Err(_) if self.loss.is_some_and(|at| self.disk.operations() > at) => {
                    self.disk.repair();
                    self.disk.restart();
                }
                done => return done,
            }
        }
    }

    /// A client that ends with the broker, and whose will is then owed.
    fn add_will(&mut self) {
        let Some(wire) = self.open() else { return };
        self.wills += 1;
        let name = format!("mortal-{}", self.wills);
        let speech = Speech::ALL[self.wills % 3];
        let mut actor = Actor::new(&name, speech, false).with_will("will/all", &mut self.ledger);
        actor.connect(self.now.ms, &mut self.ledger);
        self.actors.push(actor);
        self.wires.push(Some(wire));
    }

    /// The disk is whole, the network holds, and everything that is owed arrives.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.power_loss()?;
        self.is_calm = true;
        for _ in 0..ROUNDS_MAX {
            self.round()?;
            let is_settled = self.actors.iter().all(|actor| actor.is_open && actor.in_flight() == 0);
            let is_quiet = self.links.iter().flatten().all(|link| link.up.is_empty() && link.down.is_empty());
            if is_settled && is_quiet && self.house.as_ref().is_some_and(|house| house.is_idle() && !house.has_failed()) {
                for _ in 0..20 {
                    self.round()?;
                }
                if self.ledger.missing().is_empty() {
                    break;
                }
            }
        }
        self.ledger.close();
        let unsettled: Vec<_> =
            self.actors.iter().filter(|actor| actor.in_flight() > 0 || !actor.is_open).map(|actor| &actor.name).collect();
        if unsettled.is_empty() { Ok(()) } else { Err(format!("not settled in the end: {unsettled:?}")) }
    }

    fn look_at_retained(&mut self) -> Result<(), String> {
        let mut late = Actor::new("late", Speech::ALL[self.seed as usize % 3], false);
        late.connect(self.now.ms, &mut self.ledger);
        self.actors.push(late);
        let wire = self.open().ok_or("there is no broker")?;
        self.wires.push(Some(wire));
        for round in 0..400 {
            self.round()?;
            let late = self.actors.last_mut().ok_or("nobody is late")?;
            if round == 200 {
                late.subscribe(&["kept/#"], &mut self.ledger);
            }
        }
        let seen = self.actors.last().map(|late| late.retained.clone()).unwrap_or_default();
        self.ledger.retained(&seen);
        Ok(())
    }
}

/// A client's connection, if it has one.
fn wired(links: &mut [Option<Link>], wire: Option<usize>) -> Option<&mut Link> {
    links.get_mut(wire?)?.as_mut()
}
