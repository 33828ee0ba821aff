//! What crosses between shards: one bounded queue for each pair. When one is full, the shard that fills it stops reading
//! its sockets until there is room; what it has already read waits here.

use super::{Layers, Socket};
use crate::shard::{Crossings, Fetched, Moved, Question};
use crate::store::Receipt;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// How many batches may wait between two shards.
const BATCHES_MAX: usize = 256;

/// A thing that crosses.
pub enum Parcel {
    Messages(Crossings),
    Connection(Box<Travelling>),
    /// An operator asks.
    Question(Question),
    /// A queue that was full has room again.
    Room,
    /// From the engine: what became of what was kept.
    Receipt(Receipt),
    /// From the engine: messages that were asked for.
    Fetched(Fetched),
    /// Rules have changed: what clients may do is asked again.
    RightsChanged,
    /// The broker ends.
    Stop,
}

/// A connection that moves to another shard, with its socket.
pub struct Travelling {
    pub moved: Moved,
    pub stream: std::net::TcpStream,
    pub layers: Option<Box<Layers>>,
}

impl Travelling {
    /// Takes a socket out of its runtime.
    pub fn pack(moved: Moved, socket: Socket) -> std::io::Result<Self> {
        Ok(Self { moved, stream: socket.stream.into_std()?, layers: socket.layers })
    }
}

/// The queues from one shard to all others.
pub struct Mesh {
    to: Vec<PollSender<Parcel>>,
    waiting: Vec<Vec<Parcel>>,
}

/// The queues between `shards` shards: what each sends with, and what it receives from.
pub fn mesh(shards: usize) -> Vec<(Mesh, mpsc::Receiver<Parcel>)> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::channel(BATCHES_MAX)).unzip();
    let mesh = || Mesh {
        to: senders.iter().map(|sender| PollSender::new(sender.clone())).collect(),
        waiting: (0..shards).map(|_| Vec::new()).collect(),
    };
    receivers.into_iter().map(|receiver| (mesh(), receiver)).collect()
}

impl Mesh {
    /// A way to send to one shard from outside of all of them.
    pub fn sender(&self, shard: usize) -> Option<mpsc::Sender<Parcel>> {
        self.to.get(shard)?.get_ref().cloned()
    }

    pub fn send(&mut self, shard: usize, parcel: Parcel) {
        if let Some(waiting) = self.waiting.get_mut(shard) {
            waiting.push(parcel);
        }
    }

    /// Sends every other shard than `from` word that a queue has room.
    pub fn send_room(&mut self, from: usize) {
        let others = self.waiting.iter_mut().enumerate().filter(|(shard, _)| *shard != from);
        others.for_each(|(_, waiting)| waiting.push(Parcel::Room));
    }

    /// Sends every other shard than `from` an operator's question.
    pub fn send_question(&mut self, from: usize, question: &Question) {
        let others = self.waiting.iter_mut().enumerate().filter(|(shard, _)| *shard != from);
        others.for_each(|(_, waiting)| waiting.push(Parcel::Question(question.clone())));
    }

    /// Moves on what can be moved on; what cannot wakes the task when it can.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) {
        for (sender, waiting) in self.to.iter_mut().zip(&mut self.waiting) {
            let mut parcels = std::mem::take(waiting).into_iter();
            while parcels.len() > 0 {
                match sender.poll_reserve(cx) {
                    Poll::Ready(Ok(())) => {
                        // The other shard has ended with the broker: nothing is owed to it any more.
                        let Some(parcel) = parcels.next() else { break };
                        let _ = sender.send_item(parcel);
                    }
                    Poll::Ready(Err(_)) => parcels = Vec::new().into_iter(),
                    Poll::Pending => break,
                }
            }
            waiting.extend(parcels);
        }
    }

    /// Whether something waits for room.
    pub fn is_full(&self) -> bool {
        self.waiting.iter().any(|waiting| !waiting.is_empty())
    }
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Travelling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Travelling").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").finish_non_exhaustive()
    }
}
