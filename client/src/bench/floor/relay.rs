//! The relay's loop.

use crate::bench::link::{Link, Poll, Scratch};
use crate::bench::tls::Stream;
use crate::bench::wire::{self, Frame};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LISTENER: usize = usize::MAX;
/// How often a relay that has nothing to do looks whether it shall end.
const LOOK: Duration = Duration::from_millis(200);
/// The longest packet that is passed on.
const PACKET_LEN_MAX: usize = 4 * 1024 * 1024;
/// Bytes that wait for a subscriber who does not read, before he is cut off.
const BACKLOG_MAX: usize = 256 * 1024 * 1024;

/// What a relay does wrong on purpose, to one PUBLISH in every so many: what is counted must be able to be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    Drop(u64),
    Double(u64),
    /// The message is sent behind the next one.
    Swap(u64),
}

/// A relay, bound to its address.
#[derive(Debug)]
pub struct Floor {
    listener: TcpListener,
    fault: Fault,
}

impl Floor {
    /// # Errors
    /// The address cannot be listened on.
    pub fn bind(address: SocketAddr, fault: Fault) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, fault })
    }

    /// # Errors
    /// The socket has no address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Relays until `stop`.
    ///
    /// # Errors
    /// The system has no more sockets or readiness to give.
    pub fn run(self, stop: &Arc<AtomicBool>) -> io::Result<()> {
        let mut poll = Poll::new()?;
        poll.add(&self.listener, LISTENER)?;
        let mut relay = Relay { fault: self.fault, spare: spare(), ..Relay::default() };
        let mut scratch = Scratch::new(PACKET_LEN_MAX);
        while !stop.load(Ordering::Relaxed) {
            for at in 0..poll.wait(LOOK)? {
                let ready = poll.ready(at);
                if ready.token == LISTENER {
                    relay.accept(&self.listener, &poll)?;
                } else if ready.readable && relay.read(ready.token, &mut scratch).is_err() {
                    relay.close(ready.token, &poll);
                } else if ready.writable {
                    relay.touch(ready.token);
                }
            }
            relay.flush(&poll);
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Relay {
    links: Vec<Option<Link>>,
    free: Vec<usize>,
    /// Topic to the connections that subscribed to it, and a place in `routes`.
    topics: HashMap<Vec<u8>, usize>,
    routes: Vec<Vec<usize>>,
    /// The topic of each connection's last PUBLISH: most publishers have one.
    last: Vec<(Vec<u8>, usize)>,
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    fault: Fault,
    seen: u64,
    held: Option<(usize, Vec<u8>)>,
    /// Given up for a connection that is taken only to be closed, when there are no more descriptors.
    spare: Option<File>,
    is_full: bool,
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The peer is gone again before it was taken.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => continue,
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {
                    self.turn_away(listener);
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let token = self.free.pop().unwrap_or(self.links.len());
            if token == self.links.len() {
                self.links.push(None);
                self.last.push((Vec::new(), usize::MAX));
                self.is_touched.push(false);
            }
            self.links[token] = Some(Link::new(poll, Stream::new(socket, None), token)?);
        }
    }

    /// Closes a connection that there is no descriptor for: left alone it would wait for good, and whoever opened it too.
    #[cold]
    fn turn_away(&mut self, listener: &TcpListener) {
        if !std::mem::replace(&mut self.is_full, true) {
            let text = "too many open files, so further connections are closed at once: raise `ulimit -n` of the floor";
            let _ = writeln!(io::stderr(), "candor: {text}");
        }
        drop(self.spare.take());
        drop(listener.accept());
        self.spare = spare();
    }

    fn close(&mut self, token: usize, poll: &Poll) {
        let Some(link) = self.links.get_mut(token).and_then(Option::take) else { return };
        let _ = poll.remove(link.socket());
        self.routes.iter_mut().for_each(|route| route.retain(|to| *to != token));
        self.last[token] = (Vec::new(), usize::MAX);
        self.free.push(token);
    }

    fn touch(&mut self, token: usize) {
        if !std::mem::replace(&mut self.is_touched[token], true) {
            self.touched.push(token);
        }
    }

    fn read(&mut self, token: usize, scratch: &mut Scratch) -> io::Result<()> {
        let Some(link) = self.links.get_mut(token).and_then(Option::as_mut) else { return Ok(()) };
        link.read(scratch)?;
        let bytes = scratch.bytes();
        let mut used = 0;
        let bad = |text: &str| io::Error::new(ErrorKind::InvalidData, text.to_owned());
        while let Some((frame, length)) = wire::next_frame(&bytes[used..]).map_err(bad)? {
            self.frame(token, frame, &bytes[used..used + length]).ok_or_else(|| bad("a packet that is cut short"))?;
            used += length;
        }
        if let Some(link) = &mut self.links[token] {
            link.keep(scratch, used);
        }
        Ok(())
    }

    /// Handles a packet; `None` where it makes no sense.
    fn frame(&mut self, token: usize, frame: Frame<'_>, raw: &[u8]) -> Option<()> {
        match frame.first & 0xF0 {
            0x30 => self.publish(token, frame, raw),
            0x10 => self.answer(token, &[wire::CONNACK, 2, 0, 0]),
            0x80 => self.subscribe(token, frame.body),
            0xC0 => self.answer(token, wire::PINGRESP),
            0xE0 => None,
            _ => Some(()),
        }
    }

    fn answer(&mut self, token: usize, bytes: &[u8]) -> Option<()> {
        self.links[token].as_mut()?.out.extend_from_slice(bytes);
        self.touch(token);
        Some(())
    }

    fn subscribe(&mut self, token: usize, body: &[u8]) -> Option<()> {
        let (id, mut rest) = body.split_first_chunk::<2>()?;
        let mut codes = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (topic, qos) = (after.get(..length)?, *after.get(length)?);
            let route = *self.topics.entry(topic.to_vec()).or_insert(self.routes.len());
            if route == self.routes.len() {
                self.routes.push(Vec::new());
                // Who published to it before it had a subscriber looks again.
                self.last.iter_mut().for_each(|last| last.1 = usize::MAX);
            }
            self.routes[route].push(token);
            codes.push(qos.min(1));
            rest = &after[length + 1..];
        }
        let mut answer = vec![wire::SUBACK];
        wire::put_varint(&mut answer, 2 + codes.len());
        answer.extend_from_slice(id);
        answer.extend_from_slice(&codes);
        self.answer(token, &answer)
    }

    #[inline]
    fn publish(&mut self, token: usize, frame: Frame<'_>, raw: &[u8]) -> Option<()> {
        let (length, rest) = frame.body.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let topic = rest.get(..length)?;
        if frame.first & 0x06 != 0 {
            let id = rest.get(length..length + 2)?;
            self.answer(token, &[wire::PUBACK, 2, id[0], id[1]])?;
        }
        let last = &mut self.last[token];
        if last.1 == usize::MAX || last.0 != topic {
            *last = (topic.to_vec(), self.topics.get(topic).copied().unwrap_or(usize::MAX));
        }
        let route = last.1;
        if self.fault != Fault::None {
            return self.publish_wrong(route, raw);
        }
        self.deliver(route, raw);
        Some(())
    }

    #[inline]
    fn deliver(&mut self, route: usize, raw: &[u8]) {
        let Some(targets) = self.routes.get(route) else { return };
        for &target in targets {
            if let Some(link) = &mut self.links[target] {
                link.out.extend_from_slice(raw);
            }
            if !std::mem::replace(&mut self.is_touched[target], true) {
                self.touched.push(target);
            }
        }
    }

    #[cold]
    fn publish_wrong(&mut self, route: usize, raw: &[u8]) -> Option<()> {
        self.seen += 1;
        let is_due = |every: u64| self.seen.is_multiple_of(every.max(1));
        match self.fault {
            Fault::Drop(every) if is_due(every) => return Some(()),
            Fault::Double(every) if is_due(every) => self.deliver(route, raw),
            Fault::Swap(every) if is_due(every) && self.held.is_none() => {
                self.held = Some((route, raw.to_vec()));
                return Some(());
            }
            _ => {}
        }
        self.deliver(route, raw);
        if let Some((route, held)) = self.held.take() {
            self.deliver(route, &held);
        }
        Some(())
    }

    fn flush(&mut self, poll: &Poll) {
        for at in 0..self.touched.len() {
            let token = self.touched[at];
            self.is_touched[token] = false;
            let Some(link) = &mut self.links[token] else { continue };
            if link.flush(poll).is_err() || link.backlog() > BACKLOG_MAX {
                self.close(token, poll);
            }
        }
        self.touched.clear();
    }
}
