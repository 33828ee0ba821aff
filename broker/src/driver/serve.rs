//! The task of one connection: reads when there is something to read and it is wanted, waits for room to write when the
//! kernel has none, and sees the connection to its end.

use super::{Core, Layers, RAW_BYTES, READ_BYTES, SharedCore, Socket};
use crate::shard::{Connection, ConnectionKey, ListenerSettings};
use crate::transport::{Progress, Transport};
use bytes::{Buf, BufMut, BytesMut};
use candor_protocol::shown::Shown;
use std::future::{Future, poll_fn};
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

/// How long a connection that is to be closed is given to take what is owed, and then to close its side.
const LINGER: Duration = Duration::from_secs(2);
/// The most bytes that are read, and thrown away, from a connection that is being closed.
const LINGER_BYTES: usize = 1024 * 1024;

/// How the reading part of a connection's life ended.
enum End {
    /// The peer is gone, or has said that it goes; or the transport failed.
    Gone,
    /// This end closes: everything owed has been handed to the transport.
    Closing,
    /// The connection belongs to another shard now.
    Moved,
}

/// Takes up a connection that was just accepted.
pub fn start(core: &SharedCore, stream: TcpStream, address: SocketAddr, listener: Arc<ListenerSettings>, transport: Transport) {
    let key = core.borrow_mut().open_turn().accepted(address, listener);
    // The turn sees to the deadline of the opening.
    core.borrow_mut().wake_turn();
    attach(core, key, stream, Layers::over(transport));
}

/// Gives a connection of the shard its socket and its task.
pub fn attach(core: &SharedCore, key: ConnectionKey, stream: TcpStream, layers: Option<Box<Layers>>) {
    let socket = Socket {
        stream,
        layers,
        waker: None,
        is_blocked: false,
        is_finished: false,
        is_broken: false,
        is_paused: false,
        has_transport_ended: false,
        moving_to: None,
    };
    core.borrow_mut().insert_socket(key, socket);
    tokio::task::spawn_local(Serve { core: core.clone(), key, farewell: None });
}

/// The task of one connection. It is written by hand because every idle connection has one: with more than three words in it, what
/// the runtime allocates for a task is twice as large.
struct Serve {
    core: SharedCore,
    key: ConnectionKey,
    /// What it does once reading has ended.
    farewell: Option<Box<Farewell>>,
}

type Farewell = Pin<Box<dyn Future<Output = ()>>>;

impl Future for Serve {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { core, key, farewell } = self.get_mut();
        if farewell.is_none() {
            let end = ready!(core.borrow_mut().poll_connection(*key, cx));
            match end {
                End::Moved => {
                    core.borrow_mut().pack(*key);
                    return Poll::Ready(());
                }
                End::Gone => {}
                // The other end reads why before the connection goes: a close with unread input would erase it.
                End::Closing => *farewell = Some(Box::new(Box::pin(say_farewell(core.clone(), *key)))),
            }
        }
        if let Some(farewell) = farewell {
            ready!(farewell.as_mut().as_mut().poll(cx));
        }
        let mut core = core.borrow_mut();
        // Closed at the end, which ends both sides: a peer that sees it knows that its session is not attached any more.
        let socket = core.remove_socket(*key);
        core.open_turn().lost(*key);
        core.wake_turn();
        drop(socket);
        Poll::Ready(())
    }
}

/// Gives the peer its time to read what was written last.
async fn say_farewell(core: SharedCore, key: ConnectionKey) {
    let heard = async {
        tokio::select! {
            biased;
            // Who goes for a newer connection is not waited for.
            () = poll_fn(|_| core.borrow().poll_evicted(key)) => {}
            () = linger(&core, key) => {}
        }
    };
    let _ = tokio::time::timeout(LINGER, heard).await;
}

/// Lets others go first, those as well whose sockets have become ready meanwhile: the task is woken when they have been looked at. A
/// task that wakes itself would go on many times before anybody looks.
fn yield_to_others(cx: &mut Context<'_>) {
    let yielding = pin!(tokio::task::yield_now());
    let _ = yielding.poll(cx);
}

/// Writes what is owed, ends this side, and reads on for a bounded time and amount.
async fn linger(core: &SharedCore, key: ConnectionKey) {
    poll_fn(|cx| core.borrow_mut().poll_flush_to_end(key, cx)).await;
    let mut discarded = 0;
    let mut buffer = BytesMut::new();
    while discarded < LINGER_BYTES {
        buffer.clear();
        buffer.reserve(4096);
        match poll_fn(|cx| core.borrow_mut().poll_read(key, &mut buffer, 4096, cx)).await {
            Ok(0) | Err(_) => return,
            Ok(len) => discarded += len,
        }
    }
}

impl Core {
    /// Reads what is there, `most` bytes at most; 0: the peer has ended its side.
    fn poll_read(&mut self, key: ConnectionKey, buffer: &mut BytesMut, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = self.socket(key) else { return Poll::Ready(Ok(0)) };
        poll_read_buf(Pin::new(&mut socket.stream), cx, &mut buffer.limit(most))
    }

    /// Reads once, `most` bytes at most, and hands what came to the shard; 0: the peer has ended its side.
    pub(super) fn poll_receive(&mut self, key: ConnectionKey, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        buffer.reserve(READ_BYTES);
        let outcome = self.poll_read(key, &mut buffer, most, cx);
        if let Poll::Ready(Ok(len @ 1..)) = outcome {
            self.received(key, &mut buffer);
            self.count_unwritten(len);
        }
        buffer.clear();
        self.read_buffer = buffer;
        outcome
    }

    fn poll_connection(&mut self, key: ConnectionKey, cx: &mut Context<'_>) -> Poll<End> {
        let is_held_back = self.is_held_back();
        let Some(socket) = self.socket(key) else { return Poll::Ready(End::Gone) };
        if !socket.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            socket.waker = Some(cx.waker().clone());
        }
        if socket.moving_to.is_some() {
            return Poll::Ready(End::Moved);
        }
        if socket.is_broken {
            return Poll::Ready(End::Gone);
        }
        if socket.is_finished {
            let is_evicted = self.shard.connection(key).is_some_and(Connection::is_evicted);
            return Poll::Ready(if is_evicted || self.has_left(key) { End::Gone } else { End::Closing });
        }
        if socket.is_blocked && socket.stream.poll_write_ready(cx).is_ready() {
            socket.is_blocked = false;
            // The turn writes, and then asks the shard for more.
            self.touched.push(key);
            self.wake_turn();
        }
        if is_held_back {
            // It may end before a turn sees that it began: what waits for a wake says so itself.
            self.was_held_back = true;
            return Poll::Pending;
        }
        let mut taken = 0;
        loop {
            let wants = self.shard.connection(key).is_some_and(|connection| connection.wants_bytes());
            if let Some(socket) = self.socket(key) {
                socket.is_paused = !wants;
            }
            if !wants {
                if self.has_left(key) && self.shard.out(key).is_none_or(|out| out.is_empty()) {
                    return Poll::Ready(End::Gone);
                }
                break;
            }
            if self.shard.comes_behind(key) {
                self.wait_behind(key, cx);
                break;
            }
            match self.poll_receive(key, READ_BYTES, cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(End::Gone),
                Poll::Ready(Ok(len)) if taken + len >= READ_BYTES => {
                    // There may be more, but others get their turn first.
                    yield_to_others(cx);
                    break;
                }
                // The socket is empty, and the next attempt only registers for more, without a syscall.
                Poll::Ready(Ok(len)) => taken += len,
            }
        }
        Poll::Pending
    }

    /// Whether the peer has said goodbye: it waits for no word of this end, so there is nothing to linger for.
    fn has_left(&mut self, key: ConnectionKey) -> bool {
        let is_plain = self.socket(key).is_some_and(|socket| socket.layers.is_none());
        is_plain && self.shard.connection(key).is_some_and(Connection::has_peer_left)
    }

    fn poll_evicted(&self, key: ConnectionKey) -> Poll<()> {
        if self.shard.connection(key).is_none_or(Connection::is_evicted) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Hands bytes from the socket to the shard, through the transport.
    fn received(&mut self, key: ConnectionKey, bytes: &mut BytesMut) {
        self.wake_turn();
        let Some(socket) = self.sockets.get_mut(key).and_then(Option::as_mut) else { return bytes.clear() };
        let Some(layers) = &mut socket.layers else { return self.open_turn().receive(key, bytes) };
        let mut mqtt = BytesMut::new();
        let progress = if layers.input.is_empty() {
            let progress = layers.transport.receive(bytes, &mut mqtt, &mut layers.raw);
            if !bytes.is_empty() {
                layers.input.extend_from_slice(bytes);
            }
            progress
        } else {
            layers.input.extend_from_slice(bytes);
            layers.transport.receive(&mut layers.input, &mut mqtt, &mut layers.raw)
        };
        bytes.clear();
        if layers.input.is_empty() {
            layers.input = BytesMut::new();
        }
        let waiting = layers.waiting();
        let has_raw = !layers.raw.is_empty();
        if !mqtt.is_empty() {
            self.open_turn().receive(key, &mut mqtt);
        }
        if has_raw {
            self.touched.push(key);
        }
        self.open_turn().count_transport(key, waiting);
        match progress {
            Ok(Progress::Handshaking | Progress::Open) => {}
            Ok(Progress::PeerClosed) => self.break_off(key),
            Err(error) => {
                let peer = self.shard.connection(key).map(|connection| connection.address);
                tracing::info!(peer = ?peer, error = %Shown::new(&error.to_string()), "transport failed");
                self.break_off(key);
            }
        }
    }

    /// The transport has ended: what it still has to say is written, then the connection goes.
    fn break_off(&mut self, key: ConnectionKey) {
        if let Some(socket) = self.socket(key) {
            if let Some(Layers { transport, raw, .. }) = socket.layers.as_deref_mut() {
                transport.close(raw);
            }
            socket.has_transport_ended = true;
            socket.is_finished = true;
            if let Some(waker) = &socket.waker {
                waker.wake_by_ref();
            }
        }
        self.open_turn().broken(key);
    }

    /// Writes as much as the kernel takes. The connection's task waits for room if there is more.
    pub(super) fn flush(&mut self, key: ConnectionKey) {
        let Some(socket) = self.sockets.get_mut(key).and_then(Option::as_mut) else { return };
        if socket.is_broken {
            return;
        }
        if socket.is_blocked && !self.shard.connection(key).is_some_and(Connection::is_evicted) {
            // A connection that is to be closed gets its time to take what is owed, and no more, although nobody reads at its other end.
            if self.shard.connection(key).is_none_or(Connection::is_closing) && !std::mem::replace(&mut socket.is_finished, true) {
                socket.waker.iter().for_each(std::task::Waker::wake_by_ref);
            }
            return;
        }
        let outcome = if socket.layers.is_none() { self.flush_plain(key) } else { self.flush_layered(key) };
        let is_evicted = self.shard.connection(key).is_some_and(Connection::is_evicted);
        let Some(socket) = self.sockets.get_mut(key).and_then(Option::as_mut) else { return };
        if let Some(layers) = &socket.layers {
            self.shard.count_transport(key, layers.waiting());
        }
        if is_evicted && !socket.is_broken {
            (socket.is_finished, socket.is_broken) = (true, !matches!(outcome, Ok(true)));
            return socket.waker.iter().for_each(std::task::Waker::wake_by_ref);
        }
        match outcome {
            Ok(true) => {
                let is_closing = self.shard.connection(key).is_none_or(|connection| connection.is_closing());
                if is_closing {
                    socket.is_finished = true;
                    if let Some(waker) = &socket.waker {
                        waker.wake_by_ref();
                    }
                }
            }
            Ok(false) => {
                socket.is_blocked = true;
                socket.is_finished |= self.shard.connection(key).is_none_or(Connection::is_closing);
                if let Some(waker) = &socket.waker {
                    waker.wake_by_ref();
                }
            }
            Err(error) => {
                tracing::trace!(connection = key, error = %error, "write failed");
                socket.is_broken = true;
                if let Some(waker) = &socket.waker {
                    waker.wake_by_ref();
                }
            }
        }
    }

    /// Whether everything was written.
    fn flush_plain(&mut self, key: ConnectionKey) -> io::Result<bool> {
        let Some(socket) = self.sockets.get_mut(key).and_then(Option::as_mut) else { return Ok(true) };
        let Some(out) = self.shard.out(key) else { return Ok(true) };
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 32];
            let count = out.slices(&mut slices);
            let written = match slices.get(..count) {
                Some([only]) => socket.stream.try_write(only),
                Some(several) => socket.stream.try_write_vectored(several),
                None => Ok(0),
            };
            match written {
                Ok(len) => out.advance(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn flush_layered(&mut self, key: ConnectionKey) -> io::Result<bool> {
        let Some(socket) = self.sockets.get_mut(key).and_then(Option::as_mut) else { return Ok(true) };
        let Some(Layers { transport, raw, .. }) = socket.layers.as_deref_mut() else { return Ok(true) };
        let is_closing = self.shard.connection(key).is_some_and(|connection| connection.is_closing());
        loop {
            let takes_more = raw.len() < RAW_BYTES && !socket.has_transport_ended;
            if let Some(out) = self.shard.out(key)
                && !out.is_empty()
                && takes_more
                && !transport.is_handshaking()
            {
                let mut mqtt = BytesMut::new();
                out.take_into(&mut mqtt);
                // Words of the transport's own that it has written by then are still sent.
                socket.has_transport_ended = transport.send(&mut mqtt, raw).is_err();
            }
            if is_closing && takes_more && !socket.has_transport_ended {
                transport.close(raw);
                socket.has_transport_ended = true;
            }
            if raw.is_empty() {
                break;
            }
            match socket.stream.try_write(raw) {
                Ok(len) => raw.advance(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        *raw = BytesMut::new();
        Ok(true)
    }

    /// Writes everything that is owed and ends this side.
    fn poll_flush_to_end(&mut self, key: ConnectionKey, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let outcome = match self.socket(key) {
                None => return Poll::Ready(()),
                Some(socket) if socket.layers.is_none() => self.flush_plain(key),
                Some(_) => self.flush_layered(key),
            };
            let Some(socket) = self.socket(key) else { return Poll::Ready(()) };
            match outcome {
                Ok(true) => {
                    let _ = ready!(Pin::new(&mut socket.stream).poll_shutdown(cx));
                    return Poll::Ready(());
                }
                Ok(false) => match socket.stream.poll_write_ready(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                },
                Err(_) => return Poll::Ready(()),
            }
        }
    }
}
