//! The driver of a shard: sockets, time and threads around state that has none of them.
//!
//! ```text
//!   readable socket --> its task --> Core (shard, sockets) <-- mesh <-- other shards
//!                                     |  touched
//!                                     '--> turn task, which runs after all tasks that were ready: one write per socket
//! ```
//! Each shard is one thread with a current-thread runtime. A connection's task reads once and gives its bytes to the
//! shard; the turn task, woken by the first of them, runs behind all others that were ready, ends the turn and carries its
//! effects out. So several publishes share a write, and a message that travels alone waits for nothing. A crowd is written to in
//! slices: see [`writes`]. Some come behind all others: see [`behind`].

pub mod accept;
pub mod behind;
pub mod engine;
pub mod mesh;
pub mod serve;
pub mod turn;
pub mod verify;
pub mod writes;

use crate::shard::{ConnectionKey, Now, Shard, TransportBytes};
use crate::transport::Transport;
use bytes::BytesMut;
use engine::Order;
use mesh::Mesh;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::PollSender;

/// The most bytes that are taken from a socket at once.
pub const READ_BYTES: usize = 64 * 1024;
/// When so many bytes were read within a turn, what came of them is written before its end: with more, the bytes that are written
/// have long left the cache by then, and each is fetched once more.
const WRITE_AFTER: usize = 2 * READ_BYTES;

/// A connection's socket, and the transport that MQTT travels in.
pub struct Socket {
    stream: TcpStream,
    /// `None` over plain TCP, where nothing lies between.
    layers: Option<Box<Layers>>,
    /// Wakes the connection's task.
    waker: Option<Waker>,
    /// The kernel's buffer is full: the task waits until it is not.
    is_blocked: bool,
    /// Nothing more is written; the task sees the connection to its end.
    is_finished: bool,
    /// The transport failed or the connection is to be dropped without further words.
    is_broken: bool,
    /// Nothing more may go through the transport; what it has written still does.
    has_transport_ended: bool,
    /// Reading stopped because the session wanted nothing.
    is_paused: bool,
    /// The shard that the connection belongs to, if it is another one.
    moving_to: Option<u16>,
}

/// With so many bytes that the kernel has not taken, a transport is given no more: they wait where a session's limits hold for them.
const RAW_BYTES: usize = 16 * 1024;

/// A transport above TCP, and what it has not got rid of.
pub struct Layers {
    transport: Transport,
    /// Bytes of the transport that wait to be written.
    raw: BytesMut,
    /// Raw bytes that the transport could not use yet.
    input: BytesMut,
}

impl Layers {
    fn over(transport: Transport) -> Option<Box<Self>> {
        (!transport.is_plain()).then(|| Box::new(Self { transport, raw: BytesMut::new(), input: BytesMut::new() }))
    }

    fn waiting(&self) -> TransportBytes {
        let bytes = |buffer: &BytesMut| u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        TransportBytes { unread: bytes(&self.input), unwritten: bytes(&self.raw) }
    }
}

/// A shard and its sockets. Borrowed for the length of one step, never across an await.
pub struct Core {
    pub shard: Shard,
    sockets: Vec<Option<Socket>>,
    mesh: Mesh,
    /// The way to the engine, where there is one.
    orders: Option<PollSender<Order>>,
    /// The engine has no room for the turn's records.
    is_batch_held: bool,
    clock: Clock,
    is_turn_open: bool,
    turn_waker: Option<Waker>,
    is_turn_due: bool,
    pace: behind::Pace,
    /// The buffer that sockets are read into, one after the other.
    read_buffer: BytesMut,
    touched: Vec<ConnectionKey>,
    row: writes::Row,
    /// Bytes that were read since something was last written.
    unwritten: usize,
    /// Since connections were last woken, some were not read.
    was_held_back: bool,
    /// The tasks that accept connections.
    pub accepting: Vec<tokio::task::AbortHandle>,
    /// The broker is going to end.
    is_draining: bool,
    /// Every connection was told that it ends.
    is_stopping: bool,
    /// Who accepts waits for a turn after which there may be room for one more connection.
    is_waited_for_room: bool,
    room: Rc<Notify>,
}

/// A core that its thread's tasks share.
pub type SharedCore = Rc<RefCell<Core>>;

/// The two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(&self) -> Now {
        // The clock that never runs back starts above 0, so that "long ago" can be said.
        let ms = self.start.elapsed().as_millis() as u64 + 1_000_000;
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Now { ms, unix_ms }
    }

    /// When `ms` of the clock that never runs back is reached.
    pub fn instant(&self, ms: u64) -> Instant {
        self.start + std::time::Duration::from_millis(ms.saturating_sub(1_000_000))
    }
}

impl Core {
    pub fn new(shard: Shard, mesh: Mesh, orders: Option<mpsc::Sender<Order>>, clock: Clock) -> Self {
        Self {
            shard,
            sockets: Vec::new(),
            mesh,
            orders: orders.map(PollSender::new),
            is_batch_held: false,
            clock,
            is_turn_open: false,
            turn_waker: None,
            is_turn_due: false,
            pace: behind::Pace::default(),
            read_buffer: BytesMut::new(),
            touched: Vec::new(),
            row: writes::Row::default(),
            unwritten: 0,
            was_held_back: false,
            accepting: Vec::new(),
            is_draining: false,
            is_stopping: false,
            is_waited_for_room: false,
            room: Rc::default(),
        }
    }

    /// Something goes into the shard: it happens now, in the turn that is open or begins.
    pub(crate) fn open_turn(&mut self) -> &mut Shard {
        if !self.is_turn_open {
            self.is_turn_open = true;
            self.shard.begin_turn(self.clock.now());
        }
        &mut self.shard
    }

    /// Something went in: what follows from it is carried out after the tasks that are ready.
    pub(crate) fn wake_turn(&mut self) {
        if !self.is_turn_due {
            self.is_turn_due = true;
            if let Some(waker) = &self.turn_waker {
                waker.wake_by_ref();
            }
        }
    }

    fn socket(&mut self, key: ConnectionKey) -> Option<&mut Socket> {
        self.sockets.get_mut(key)?.as_mut()
    }

    fn insert_socket(&mut self, key: ConnectionKey, socket: Socket) {
        if self.sockets.len() <= key {
            self.sockets.resize_with(key + 1, || None);
        }
        if let Some(place) = self.sockets.get_mut(key) {
            *place = Some(socket);
        }
    }

    fn remove_socket(&mut self, key: ConnectionKey) -> Option<Socket> {
        self.sockets.get_mut(key)?.take()
    }

    /// Whether connections should be read: not while something for another shard or the engine waits for
    /// room, or too much waits for receipts.
    fn is_held_back(&self) -> bool {
        self.mesh.is_full() || self.is_batch_held || self.shard.is_full()
    }
}

impl std::fmt::Debug for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layers").field("transport", &self.transport).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}
