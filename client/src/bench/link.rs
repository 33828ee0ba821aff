//! A connection of the load generator, and the readiness of many: sockets that never block, one read and one write a turn.

use super::tls::Stream;
use rustix::event::epoll;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Bytes that one read takes at most.
const READ_LEN: usize = 256 * 1024;
/// Bytes that wait to be written before a publisher waits.
pub(super) const WRITE_LEN_MAX: usize = 4 * 1024 * 1024;

/// Readiness of sockets.
pub(super) struct Poll {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

/// Which socket is ready, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ready {
    pub(super) token: usize,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(1024) })
    }

    pub(super) fn add(&self, socket: &impl std::os::fd::AsFd, token: usize) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token as u64), epoll::EventFlags::IN)?)
    }

    pub(super) fn remove(&self, socket: &impl std::os::fd::AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    fn set(&self, socket: &TcpStream, token: usize, writable: bool) -> io::Result<()> {
        let out = if writable { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        Ok(epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(token as u64), epoll::EventFlags::IN | out)?)
    }

    /// Waits for at most `timeout`; what is ready is asked for with [`Poll::ready`].
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        self.events.clear();
        let timeout = rustix::event::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) => Ok(self.events.len()),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn ready(&self, at: usize) -> Ready {
        let event = self.events[at];
        let flags = event.flags;
        let ended = epoll::EventFlags::HUP | epoll::EventFlags::ERR | epoll::EventFlags::RDHUP;
        Ready {
            token: event.data.u64() as usize,
            readable: flags.intersects(epoll::EventFlags::IN | ended),
            writable: flags.contains(epoll::EventFlags::OUT),
        }
    }
}

/// The buffer that all connections read into, one after the other.
#[derive(Debug)]
pub(super) struct Scratch {
    buffer: Vec<u8>,
    /// The packet of the connection that was read last, where it is too long to be copied for every read.
    long: Vec<u8>,
    /// Bytes of `buffer` that were read.
    len: usize,
    packet_len: usize,
}

impl Scratch {
    /// For packets of up to `packet_len` bytes.
    pub(super) fn new(packet_len: usize) -> Self {
        Self { buffer: vec![0; 2 * READ_LEN], long: Vec::new(), len: 0, packet_len }
    }

    /// What the last read has left to be handled; it begins at a packet.
    pub(super) fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.buffer[..self.len] } else { &self.long }
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    token: usize,
    /// What waits to be written.
    pub(super) out: Vec<u8>,
    written: usize,
    /// The beginning of a packet whose end has not come.
    carry: Vec<u8>,
    wants_write: bool,
}

impl Link {
    /// Takes a connected socket, which from now on does not block.
    pub(super) fn new(poll: &Poll, stream: Stream, token: usize) -> io::Result<Self> {
        stream.socket.set_nonblocking(true)?;
        stream.socket.set_nodelay(true)?;
        poll.add(&stream.socket, token)?;
        Ok(Self { stream, token, out: Vec::new(), written: 0, carry: Vec::new(), wants_write: false })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.stream.socket
    }

    /// Bytes that wait to be written.
    pub(super) fn backlog(&self) -> usize {
        self.out.len() - self.written
    }

    /// Reads once, into `scratch`, whose bytes are then to be handled; what of them is not used is kept by [`Link::keep`]. Tells
    /// how many were read.
    ///
    /// # Errors
    /// `UnexpectedEof`: the peer has closed.
    pub(super) fn read(&mut self, scratch: &mut Scratch) -> io::Result<usize> {
        let kept = self.carry.len();
        if kept > READ_LEN + scratch.packet_len {
            return Err(io::Error::new(ErrorKind::InvalidData, "a packet is longer than any that was sent"));
        }
        let room = if kept < READ_LEN {
            scratch.long.clear();
            scratch.buffer[..kept].copy_from_slice(&self.carry);
            self.carry.clear();
            &mut scratch.buffer[kept..kept + READ_LEN]
        } else {
            scratch.long = std::mem::take(&mut self.carry);
            scratch.long.resize(kept + READ_LEN, 0);
            &mut scratch.long[kept..]
        };
        let read = match self.stream.read(room) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Err(error) => return Err(error),
        };
        scratch.len = kept + read;
        scratch.long.truncate(kept + read);
        Ok(read)
    }

    /// Whether bytes that were read already wait to be decrypted.
    pub(super) fn has_more(&mut self) -> bool {
        self.stream.has_more()
    }

    /// Keeps the beginning of a packet until the rest comes: what stands behind `used` bytes.
    pub(super) fn keep(&mut self, scratch: &mut Scratch, used: usize) {
        if scratch.long.is_empty() {
            return self.carry.extend_from_slice(&scratch.buffer[used..scratch.len]);
        }
        scratch.long.drain(..used);
        self.carry = std::mem::take(&mut scratch.long);
    }

    /// Writes what waits, as far as the kernel takes it; the rest goes when it says so.
    pub(super) fn flush(&mut self, poll: &Poll) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.want_write(poll, true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        if self.stream.wants_write() {
            return match self.stream.push() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.want_write(poll, true),
                other => other,
            };
        }
        if self.wants_write { self.want_write(poll, false) } else { Ok(()) }
    }

    fn want_write(&mut self, poll: &Poll, wants: bool) -> io::Result<()> {
        if self.written > WRITE_LEN_MAX / 4 {
            self.out.drain(..self.written);
            self.written = 0;
        }
        if self.wants_write == wants {
            return Ok(());
        }
        self.wants_write = wants;
        poll.set(&self.stream.socket, self.token, wants)
    }
}
