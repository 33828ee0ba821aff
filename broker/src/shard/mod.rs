//! A shard: the connections, sessions and queues of one core, without a socket, a clock or a thread.
//!
//! ```text
//!  driver --bytes--> receive --> Session --> publish --> router --+--> deliver --> queue, window --> Out --> driver
//!                       |                                         '--> crossing --> another shard
//!                       '--> connect, subscribe, settle
//! ```
//!
//! Only its own thread touches a shard, so nothing in it is locked. What shards have in common is in [`Shared`]: the
//! router and the retained messages, read far more than written. Everything else crosses as a message.
//!
//! **A turn** is: any number of inputs ([`Shard::receive`] and its siblings), then [`Shard::end_turn`], then the effects
//! are carried out: one write per touched connection, one batch per other shard. Where somebody waits for it
//! ([`Shard::has_waiting`]), a turn of its own follows for a slice of what those send who come behind ([`Shard::take_up`]).
//!
//! | concern | where |
//! | --- | --- |
//! | bytes of a connection to its session | `receive` |
//! | a connection: what its session says | [`connection`] |
//! | who a client is | [`door`] |
//! | from CONNECT to a session | [`attach`] |
//! | a session that another connection takes | `takeover` |
//! | that a session is kept | `begin` |
//! | the end of a connection, and of a session | `park` |
//! | the end of the server | [`ending`] |
//! | wills | `wills` |
//! | a message from a client: whether it is taken | [`publish`] |
//! | a message to all who get it, and to the store | `route`, over `routers` |
//! | the shortest way of a message that says nothing more | `pass` |
//! | who gets the next ones, asked before they are passed on | `ahead` |
//! | who gets it, and what was made ready for it | `matched` |
//! | a message to one client: now, or in its queue | [`deliver`] |
//! | messages for another shard | `crossing` |
//! | a message that waits for its acknowledgement | `copies` |
//! | what a subscriber settles, and what is sent again | `settle` |
//! | what a subscriber gives back | [`returned`] |
//! | what becomes of what it rejects | [`dead_letter`] |
//! | what a publisher is told of its subscribers | [`report`] |
//! | PINGREQ, and what a client may do | `may_i` |
//! | how much may be asked | `allowance` |
//! | who comes behind the others, and when it is read on | [`patience`] |
//! | how its client publishes, and what would come of that | `conduct` |
//! | what a subscriber does not get | `losses` |
//! | messages that wait in the store | `fetch` |
//! | what an earlier process owed | [`restore`] |
//! | subscriptions, and the retained messages they bring | [`subscribe`] |
//! | what waits until it is kept | `keeping`, over [`crate::store::keeper`] |
//! | places in queues, where publishers learn that one is full | `room` |
//! | what all shards know of a session | [`roll`], [`shared`] |
//! | refusals and losses | [`verdicts`] |
//! | what becomes of connections, for the ledger | `story` |
//! | what operators ask | [`operator`] |
//! | what a client is shown of a refusal | `answers` |
//! | who is kept out | [`quarantine`] |
//! | rules that changed | [`review`] |
//! | the limit of memory | [`memory`] |
//! | connections without a session | `pending` |
//! | what is published below `$SYS/` | [`sys`] |
//! | the sessions by slot | [`slots`] |
//! | deadlines, and what is done when they fall due | [`timers`], `deadlines` |

mod ahead;
mod allowance;
mod answers;
pub mod attach;
mod begin;
pub mod client;
mod conduct;
pub mod connection;
mod copies;
mod crossing;
pub mod dead_letter;
mod deadlines;
pub mod deliver;
pub mod door;
pub mod ending;
mod fetch;
mod keeping;
mod losses;
mod matched;
mod may_i;
pub mod memory;
pub mod operator;
mod park;
mod pass;
pub mod patience;
mod pending;
pub mod publish;
pub mod quarantine;
mod receive;
pub mod report;
pub mod restore;
pub mod returned;
pub mod review;
pub mod roll;
mod room;
mod route;
mod routers;
pub mod settings;
mod settle;
pub mod shared;
pub mod slots;
mod story;
pub mod subscribe;
pub mod sys;
mod takeover;
pub mod timers;
pub mod verdicts;
mod wills;

pub use attach::Moved;
pub use client::Client;
pub use connection::{Connection, ListenerSettings, Peer, TransportBytes};
pub use crossing::{Crossing, CrossingTarget, Crossings};
pub use dead_letter::DeadLetterSettings;
pub use door::{Admission, Answer, Authenticate};
pub use fetch::{Fetched, Fetching};
pub use operator::Question;
pub use report::ReportSettings;
pub use settings::{PendingLimits, Rights, Settings, StampSettings, Storage, VerificationLimits};
pub use shared::{RetainedMessage, Shared};
pub use sys::SysSettings;

use crate::feedback::{Holes, Ledger, Quarantine, Tally};
use crate::out::{Out, Spare};
use crate::router::Target;
use crate::store::{Batch, Keeper, MessageNumber, Reached};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::property;
use deliver::FrameCache;
use keeping::Then;
use shared::Matches;
use slab::Slab;
use slots::Slots;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use timers::Timers;

/// A connection's place in its shard.
pub type ConnectionKey = usize;

/// Two clocks, read once a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds that never run back.
    pub ms: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

impl Now {
    /// When the interval of a message's dictionary ends that begins now, in milliseconds since 1970.
    fn expiry_of(&self, dictionary: &Dictionary) -> Option<u64> {
        let seconds = dictionary.value(property::MESSAGE_EXPIRY_INTERVAL)?;
        Some(self.unix_ms.saturating_add(seconds.saturating_mul(1000)))
    }
}

/// What a turn leaves for the driver to do.
#[derive(Debug, Default)]
struct Effects {
    touched: Vec<ConnectionKey>,
    authenticate: Vec<ConnectionKey>,
    moves: Vec<(ConnectionKey, u16)>,
    /// By shard.
    crossings: Vec<crossing::Leaving>,
    questions: Vec<Question>,
}

/// The state of one core.
#[derive(Debug)]
pub struct Shard {
    index: u16,
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    /// Each in memory of its own: a slab that grows leaves all that it was before behind.
    connections: Slab<Box<Connection>>,
    pending: pending::Pending,
    clients: Slots,
    directory: HashMap<Arc<str>, u32, foldhash::fast::RandomState>,
    /// Identifiers whose session ended lately for a reason that its client may ask for.
    ended: attach::Ended,
    ledger: Ledger,
    is_ledger_due: bool,
    ledger_kept_ms: u64,
    quarantine: Quarantine,
    holes: Holes,
    account: memory::Account,
    counts: sys::Counts,
    /// Verdicts, by reason.
    refused: Tally,
    sys: sys::Sys,
    timers: Timers,
    random: Random,
    /// How the incarnations begin of all sessions that were begun since this shard runs.
    epoch: u32,
    now: Now,
    effects: Effects,
    /// Not there while a message is routed.
    matches: Option<Box<Matches>>,
    /// What was passed on last, out of the bytes that are being read.
    run: Option<pass::Run>,
    /// Who gets what follows it.
    ahead: ahead::Ahead,
    /// Used again by each message.
    aside: Vec<Target>,
    frames: FrameCache,
    spare: Spare,
    /// Sessions that have subscribed, and get the first of their retained messages in the turn that they are told so.
    more: Vec<u32>,
    /// Sessions that have more of them to get.
    replaying: subscribe::Replaying,
    patience: patience::Patience,
    /// Messages that came to nothing: all who would have got them had full queues.
    futile: u64,
    keeper: Keeper<Then>,
    is_releasing: bool,
    /// Connections that were accepted: what they have sent meanwhile is to be read.
    ready: Vec<ConnectionKey>,
    /// The connection whose bytes are being read.
    reading: Option<ConnectionKey>,
    /// Steps that could not be kept, and are when anything can.
    stalled: Vec<Then>,
    /// Acknowledgements that wait for room in queues.
    held: Vec<(Box<room::Held>, Reached)>,
    /// A queue that was full is not any more.
    has_room: bool,
    reports: report::Reports,
    /// How many questions this turn still answers.
    questions_left: usize,
    /// What is asked of the engine.
    fetching: VecDeque<Fetching>,
    /// When this server ends at the latest, once that is known.
    ends_ms: Option<u64>,
}

/// Random numbers that follow from a seed, so that a simulation can be repeated.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64: every seed gives a sequence without short cycles.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Shard {
    /// `seed` is random in a broker and fixed in a simulation.
    pub fn new(index: u16, settings: Arc<Settings>, shared: Arc<Shared>, seed: u64) -> Self {
        let crossings = (0..settings.shards).map(|_| crossing::Leaving::default()).collect();
        let keeper = match settings.storage {
            Storage::Memory => Keeper::memory(index),
            Storage::Late { turns } => Keeper::late(index, turns),
            Storage::Engine(_) => Keeper::engine(index, shared.durability()),
        };
        let mut shard = Self {
            index,
            ledger: if keeper.can_fetch() { Ledger::kept(settings.ledger) } else { Ledger::new(settings.ledger) },
            is_ledger_due: false,
            ledger_kept_ms: 0,
            quarantine: Quarantine::new(settings.quarantine),
            holes: Holes::default(),
            account: shared.memory.account(),
            counts: sys::Counts::default(),
            refused: Tally::default(),
            sys: sys::Sys::default(),
            settings,
            shared,
            connections: Slab::new(),
            pending: pending::Pending::default(),
            clients: Slots::default(),
            directory: HashMap::default(),
            ended: attach::Ended::default(),
            timers: Timers::default(),
            random: Random::new(seed),
            epoch: (Random::new(!seed).draw() >> 32) as u32,
            now: Now::default(),
            effects: Effects { crossings, ..Effects::default() },
            matches: None,
            run: None,
            ahead: ahead::Ahead::default(),
            aside: Vec::new(),
            frames: FrameCache::default(),
            spare: Spare::default(),
            more: Vec::new(),
            replaying: subscribe::Replaying::default(),
            patience: patience::Patience::default(),
            futile: 0,
            keeper,
            is_releasing: false,
            ready: Vec::new(),
            reading: None,
            stalled: Vec::new(),
            held: Vec::new(),
            has_room: false,
            reports: report::Reports::default(),
            questions_left: may_i::TURN_MAX,
            fetching: VecDeque::new(),
            ends_ms: None,
        };
        shard.schedule_sys();
        shard
    }

    pub fn index(&self) -> u16 {
        self.index
    }

    /// Begins a turn: the time that all of it happens at.
    pub fn begin_turn(&mut self, now: Now) {
        self.now = now;
        self.questions_left = may_i::TURN_MAX;
        self.balance();
        self.patience.begin();
    }

    /// Ends a turn: hands out what waits for nothing but its turn, and meets the deadlines that fell due.
    pub fn end_turn(&mut self) {
        for slot in std::mem::take(&mut self.more) {
            self.replay_retained(slot, subscribe::SLICE);
        }
        self.meet_deadlines();
        self.keeper.end_turn();
        self.release();
        self.tell_reports();
        self.tell_bytes();
    }

    /// Connections whose CONNECT waits for the answer to who it is.
    pub fn take_authenticate(&mut self) -> Vec<ConnectionKey> {
        std::mem::take(&mut self.effects.authenticate)
    }

    /// Connections that belong to another shard.
    pub fn take_moves(&mut self) -> Vec<(ConnectionKey, u16)> {
        std::mem::take(&mut self.effects.moves)
    }

    /// The messages for each other shard that has any.
    pub fn take_crossings(&mut self) -> impl Iterator<Item = (usize, Crossings)> {
        let crossings = self.effects.crossings.iter_mut().enumerate().filter(|(_, crossings)| !crossings.is_empty());
        crossings.map(|(shard, crossings)| (shard, crossings.take()))
    }

    /// Whether the driver has something to do.
    pub fn has_effects(&self) -> bool {
        let effects = &self.effects;
        !(effects.touched.is_empty() && effects.authenticate.is_empty() && effects.moves.is_empty())
    }

    /// Connections with something to write, or to close when it is written.
    pub fn take_touched(&mut self, touched: &mut Vec<ConnectionKey>) {
        touched.append(&mut self.effects.touched);
    }

    /// Whether the next turn should follow at once.
    pub fn has_more(&self) -> bool {
        !self.more.is_empty() || self.keeper.is_late()
    }

    /// Whether so much waits for receipts that nothing more should be read.
    pub fn is_full(&self) -> bool {
        self.keeper.is_full()
    }

    /// Whether there is something for the engine.
    pub fn has_order(&self) -> bool {
        self.keeper.has_batch() || !self.fetching.is_empty()
    }

    /// The records of the turn, for the engine: behind everything else that the turn has come to.
    pub fn take_batch(&mut self) -> Option<Batch> {
        self.keeper.take_batch().map(|batch| Batch { unix_ms: self.now.unix_ms, ..batch })
    }

    /// When the next turn is due at the latest, on the clock that never runs back.
    pub fn deadline(&mut self) -> Option<u64> {
        self.timers.next_ms()
    }

    pub fn connection(&self, key: ConnectionKey) -> Option<&Connection> {
        self.connections.get(key).map(Box::as_ref)
    }

    /// The bytes that wait for a connection.
    pub fn out(&mut self, key: ConnectionKey) -> Option<&mut Out> {
        self.connections.get_mut(key).map(|connection| &mut connection.out)
    }

    /// Asks the listener of a CONNECT that waits for the answer to who it is. `tls_client_name`: the name in the client's verified
    /// certificate.
    pub fn ask(&self, key: ConnectionKey, tls_client_name: Option<Arc<str>>) -> Option<Answer> {
        let connection = self.connections.get(key)?;
        let peer = Peer { address: connection.address, tls_client_name };
        Some(connection.listener.authenticate.authenticate(connection.connect.as_deref()?, &connection.client_id, &peer))
    }

    /// How many connections and sessions there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.connections.len(), self.clients.len())
    }

    fn touch(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && !connection.is_touched
        {
            connection.is_touched = true;
            self.effects.touched.push(key);
        }
    }
}
