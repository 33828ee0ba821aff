//! A whole broker on one thread: its shards, its engine on a simulated disk, and what crosses between them, in the order that the
//! driver promises: a batch is on its way before what follows from it.

use super::dice::Dice;
use bytes::BytesMut;
use candor_broker::access::Door;
use candor_broker::shard::{ConnectionKey, Crossings, Fetched, Fetching, ListenerSettings, Moved, Now, Settings, Shard, Shared, restore};
use candor_broker::store::embedded::{Embedded, Options};
use candor_broker::store::files::{SimDisk, SimFiles};
use candor_broker::store::state::State;
use candor_broker::store::{Batch, Engine, MessageNumber, Receipt, StoreError, Usage};
use candor_protocol::packet::Durability;
use candor_protocol::session::ServerPolicy;
use std::collections::VecDeque;
use std::sync::Arc;

pub const SHARDS: u16 = 3;

/// What waits for a shard.
enum Parcel {
    Messages(Crossings),
    Connection(Box<Moved>, usize),
    Room,
    Receipt(Receipt),
    Fetched(Fetched),
}

enum Order {
    Keep(Batch),
    Fetch(u16, Fetching),
}

/// A client's connection, as byte queues.
#[derive(Debug, Default)]
pub struct Link {
    /// Where it is served; `None`: it is on its way to another shard.
    at: Option<(u16, ConnectionKey)>,
    /// From the client.
    pub up: BytesMut,
    /// To the client.
    pub down: BytesMut,
    /// The client's end is gone, and what was under way with it.
    pub is_cut: bool,
    /// The client has given it up, and what is under way comes late.
    pub is_left: bool,
    /// The broker's end is gone.
    pub is_closed: bool,
}

/// An engine that has forgotten which identifiers of QoS 2 were taken: a mutant.
#[derive(Debug)]
struct Forgetful<'a>(&'a mut Embedded<SimFiles>, State);

impl Engine for Forgetful<'_> {
    fn durability(&self) -> Durability {
        self.0.durability()
    }

    fn keep(&mut self, batches: &[Batch]) -> Result<Durability, StoreError> {
        self.0.keep(batches)
    }

    fn mend(&mut self) -> Result<(), StoreError> {
        self.0.mend()
    }

    fn read(&mut self, message: MessageNumber) -> Result<Option<candor_broker::message::Envelope>, StoreError> {
        self.0.read(message)
    }

    fn state(&self) -> &State {
        &self.1
    }

    fn tidy(&mut self) -> Result<bool, StoreError> {
        self.0.tidy()
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }
}

/// What a broker that is wrong does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    None,
    NoSync,
    AcknowledgesBeforeSync,
    NoDirectorySync,
    ForgetsTakenIdentifiers,
    /// A receipt is sent before the engine was asked.
    ReceiptBeforeKeeping,
}

pub struct House {
    shards: Vec<Shard>,
    engine: Embedded<SimFiles>,
    inboxes: Vec<VecDeque<Parcel>>,
    orders: VecDeque<Order>,
    listener: Arc<ListenerSettings>,
    has_failed: bool,
    mutant: Mutant,
    next_shard: u16,
    /// What the engine does is printed.
    pub is_loud: bool,
}

fn policy() -> ServerPolicy {
    let mut policy = ServerPolicy::default();
    policy.profile.durability = Durability::Disk;
    policy.profile.session_durability = Durability::Disk;
    policy
}

impl House {
    /// Starts on a disk: the first time, or with what an earlier one has left.
    pub fn start(disk: &SimDisk, now: Now, dice: &mut Dice, mutant: Mutant) -> Result<Self, StoreError> {
        let mut options = Options::default();
        options.segment_bytes = 4096;
        let mut engine = Embedded::open(disk.files(), options)?;
        let settings =
            Arc::new(Settings { shards: SHARDS, storage: candor_broker::shard::Storage::Engine(Arc::new(Nothing)), ..Settings::default() });
        let mut shared = Shared::new(SHARDS);
        let mut legacies = if mutant == Mutant::ForgetsTakenIdentifiers {
            let mut state = engine.state().clone();
            state.sessions.values_mut().for_each(|session| session.taken.clear());
            restore::read(&mut Forgetful(&mut engine, state), &settings, &mut shared)?
        } else {
            restore::read(&mut engine, &settings, &mut shared)?
        };
        let shared = Arc::new(shared);
        let mut shards = Vec::new();
        for (index, legacy) in legacies.iter_mut().enumerate() {
            let mut shard = Shard::new(index as u16, Arc::clone(&settings), Arc::clone(&shared), dice.draw());
            shard.begin_turn(now);
            shard.restore(legacy);
            shards.push(shard);
        }
        shards.iter_mut().zip(&mut legacies).for_each(|(shard, legacy)| shard.publish_wills(legacy));
        let listener = ListenerSettings {
            name: "simulation".into(),
            policy: Arc::new(policy()),
            acknowledges_refused: false,
            authenticate: Arc::new(Door::open()),
        };
        let inboxes = (0..SHARDS).map(|_| VecDeque::new()).collect();
        Ok(Self {
            shards,
            engine,
            inboxes,
            orders: VecDeque::new(),
            listener: Arc::new(listener),
            has_failed: false,
            mutant,
            next_shard: 0,
            is_loud: false,
        })
    }

    pub fn accept(&mut self, now: Now) -> Link {
        let index = self.next_shard;
        self.next_shard = (index + 1) % SHARDS;
        let shard = &mut self.shards[usize::from(index)];
        shard.begin_turn(now);
        let key = shard.accepted("127.0.0.1:1".parse().unwrap(), Arc::clone(&self.listener));
        Link { at: Some((index, key)), ..Link::default() }
    }

    /// Whether nothing is under way inside.
    pub fn is_idle(&self) -> bool {
        self.orders.is_empty()
            && self.inboxes.iter().all(VecDeque::is_empty)
            && !self.shards.iter().any(|shard| shard.has_more() || shard.has_waiting())
    }

    /// A turn of one shard, with any part of what waits for it.
    pub fn turn(&mut self, index: u16, now: Now, links: &mut [Option<Link>], dice: &mut Dice) {
        let at = usize::from(index);
        self.shards[at].begin_turn(now);
        let count = dice.below(self.inboxes[at].len() + 1);
        let parcels: Vec<Parcel> = self.inboxes[at].drain(..count).collect();
        for parcel in parcels {
            self.take_in(index, parcel, links);
        }
        let shard = &mut self.shards[at];
        for link in links.iter_mut() {
            let Some(open) = link else { continue };
            let Some((_, key)) = open.at.filter(|(shard, _)| *shard == index) else { continue };
            if open.is_left {
                open.down.clear();
                if dice.below(3) > 0 {
                    continue;
                }
            }
            if open.is_cut || (open.is_left && open.up.is_empty()) {
                shard.lost(key);
                *link = None;
            } else if !open.up.is_empty() && !shard.is_full() && shard.connection(key).is_some_and(|connection| connection.wants_bytes()) {
                let mut bytes = open.up.split_to(1 + dice.below(open.up.len()));
                shard.receive(key, &mut bytes);
            }
        }
        shard.end_turn();
        self.carry_out(index, links);
        let shard = &mut self.shards[at];
        if shard.has_waiting() && !shard.is_full() {
            shard.begin_turn(now);
            shard.begin_slice();
            while shard.take_up().is_some() {}
            shard.end_turn();
            self.carry_out(index, links);
        }
        links.iter_mut().for_each(|link| drop(link.take_if(|link| link.is_closed && (link.is_cut || link.is_left))));
    }

    fn take_in(&mut self, index: u16, parcel: Parcel, links: &mut [Option<Link>]) {
        let shard = &mut self.shards[usize::from(index)];
        match parcel {
            Parcel::Messages(crossings) => shard.receive_crossings(crossings),
            Parcel::Connection(moved, link) => {
                let key = shard.adopt(*moved);
                match &mut links[link] {
                    Some(link) => link.at = Some((index, key)),
                    None => shard.lost(key),
                }
            }
            Parcel::Room => shard.look_for_room(),
            Parcel::Receipt(receipt) => shard.receive_receipt(&receipt),
            Parcel::Fetched(fetched) => shard.receive_fetched(fetched),
        }
    }

    fn carry_out(&mut self, index: u16, links: &mut [Option<Link>]) {
        let at = usize::from(index);
        let mut has_room = false;
        for _ in 0..8 {
            let shard = &mut self.shards[at];
            has_room |= shard.take_room();
            for key in shard.take_authenticate() {
                if let (Some(answer), Some(of)) = (shard.ask(key, None), shard.asks(key)) {
                    shard.authenticated(key, of, answer.wait());
                }
            }
            let mut touched = Vec::new();
            shard.take_touched(&mut touched);
            for key in touched {
                write(shard, index, key, links);
            }
            for (key, home) in shard.take_moves() {
                let link = links.iter().position(|link| link.as_ref().is_some_and(|link| link.at == Some((index, key))));
                if let (Some(link), Some(moved)) = (link, shard.remove_moved(key)) {
                    links[link].as_mut().unwrap().at = None;
                    self.inboxes[usize::from(home)].push_back(Parcel::Connection(Box::new(moved), link));
                }
            }
            if !shard.has_effects() {
                break;
            }
        }
        if has_room | self.shards[at].take_room() {
            let others = self.inboxes.iter_mut().enumerate().filter(|(other, _)| *other != at);
            others.for_each(|(_, inbox)| inbox.push_back(Parcel::Room));
        }
        let shard = &mut self.shards[at];
        while shard.has_order() {
            let order = shard.take_batch().map(Order::Keep).or_else(|| Some(Order::Fetch(index, shard.take_fetching()?)));
            let Some(order) = order else { break };
            if let (Mutant::ReceiptBeforeKeeping, Order::Keep(batch)) = (self.mutant, &order) {
                let receipt = Receipt { shard: index, turn: batch.turn, reached: Ok(Durability::Disk) };
                self.inboxes[at].push_back(Parcel::Receipt(receipt));
            }
            self.orders.push_back(order);
        }
        for (to, crossings) in shard.take_crossings() {
            self.inboxes[to].push_back(Parcel::Messages(crossings));
        }
    }

    /// The engine takes any part of what waits for it; `false`: the power went while it did, so that it says nothing.
    pub fn engine_turn(&mut self, dice: &mut Dice, has_power: &dyn Fn() -> bool) -> bool {
        let count = dice.below(self.orders.len() + 1);
        let orders: Vec<Order> = self.orders.drain(..count).collect();
        let (mut batches, mut fetches) = (Vec::new(), Vec::new());
        for order in orders {
            match order {
                Order::Keep(batch) => batches.push(batch),
                Order::Fetch(shard, fetching) => fetches.push((shard, fetching)),
            }
        }
        if !batches.is_empty() {
            let reached = self.engine.keep(&batches);
            if self.is_loud {
                batches.iter().for_each(|batch| println!("shard {} turn {}: {:?}", batch.shard, batch.turn, batch.records));
                println!("  kept: {reached:?}");
            }
            if !has_power() {
                return false;
            }
            self.hear(&reached);
            for shard in 0..SHARDS {
                let last = batches.iter().rev().find(|batch| batch.shard == shard);
                if let (Some(batch), true) = (last, self.mutant != Mutant::ReceiptBeforeKeeping) {
                    self.receipt(Receipt { shard, turn: batch.turn, reached: reached.clone() });
                }
            }
        }
        for (shard, Fetching { slot, life, messages }) in fetches {
            let messages = messages.into_iter().map(|number| (number, self.engine.read(number).unwrap())).collect();
            self.inboxes[usize::from(shard)].push_back(Parcel::Fetched(Fetched { slot, life, messages }));
        }
        true
    }

    fn receipt(&mut self, receipt: Receipt) {
        self.inboxes[usize::from(receipt.shard)].push_back(Parcel::Receipt(receipt));
    }

    /// As the engine's thread: every shard is told when it begins to fail.
    fn hear(&mut self, reached: &Result<Durability, StoreError>) {
        if reached.is_err() && !std::mem::replace(&mut self.has_failed, reached.is_err()) {
            self.tell_all(reached);
        }
    }

    fn tell_all(&mut self, reached: &Result<Durability, StoreError>) {
        (0..SHARDS).for_each(|shard| self.receipt(Receipt { shard, turn: 0, reached: reached.clone() }));
    }

    /// What the engine does when it has nothing to do; `false` as of [`House::engine_turn`].
    pub fn idle_engine(&mut self, has_power: &dyn Fn() -> bool) -> bool {
        // The driver waits 100 ms before it mends, so that every shard has heard of the failure before anything is kept again.
        if self.has_failed && !self.has_everybody_heard() {
            return true;
        }
        let done = if self.has_failed { self.engine.mend() } else { self.engine.tidy().map(|_| ()) };
        if !has_power() {
            return false;
        }
        if self.is_loud && self.has_failed {
            println!("  mended: {done:?}");
        }
        match done {
            Ok(()) if self.has_failed => {
                self.has_failed = false;
                self.tell_all(&Ok(Durability::Disk));
            }
            Ok(()) => {}
            Err(error) => self.hear(&Err(error)),
        }
        true
    }

    /// Whether every shard knows of the failure, and what they sent before they did has been answered.
    fn has_everybody_heard(&self) -> bool {
        let is_failure = |parcel: &Parcel| matches!(parcel, Parcel::Receipt(Receipt { reached: Err(_), .. }));
        self.orders.is_empty() && !self.inboxes.iter().flatten().any(is_failure)
    }

    pub fn has_failed(&self) -> bool {
        self.has_failed
    }
}

/// The settings name an engine, which is opened here and not by them.
#[derive(Debug)]
struct Nothing;

impl candor_broker::store::OpenEngine for Nothing {
    fn open(&self) -> Result<Box<dyn Engine>, StoreError> {
        Err(StoreError::NotMended)
    }
}

fn write(shard: &mut Shard, index: u16, key: ConnectionKey, links: &mut [Option<Link>]) {
    let link = links.iter_mut().flatten().find(|link| link.at == Some((index, key)));
    let Some(out) = shard.out(key) else { return };
    let mut bytes = BytesMut::new();
    out.take_into(&mut bytes);
    shard.flushed(key);
    let is_closing = shard.connection(key).is_some_and(|connection| connection.is_closing());
    let has_more = shard.out(key).is_some_and(|out| !out.is_empty());
    if let Some(link) = link {
        link.down.extend_from_slice(&bytes);
        if is_closing && !has_more {
            (link.is_closed, link.at) = (true, None);
        }
    }
    if is_closing && !has_more {
        shard.closed(key);
    }
}
