//! The engine's thread: takes every batch that came while the last ones were being kept, keeps them in one go, and sends one receipt
//! to each shard that had any.
//!
//! ```text
//!  shard --Order--.                          .--> Parcel::Receipt --> shard
//!                  +--> Keeping (one thread) +--> Parcel::Fetched --> shard
//!  shard --Order--'     keep, read, tidy, mend
//! ```
//! **Causes come before their effects.** What a shard sends here before it sends a crossing is received here before anything that
//! follows from the crossing: a shard holds its crossings back until its batch is on its way.

use super::mesh::Parcel;
use crate::shard::{Fetched, Fetching};
use crate::store::{Batch, Engine, Receipt, StoreError};
use candor_protocol::packet::Durability;
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How many orders may wait; the shards read nothing more while there is no room.
const ORDERS_MAX: usize = 256;
/// How long the engine has nothing to do before it tidies up.
const IDLE: Duration = Duration::from_millis(20);
/// How long after a failure the engine is tried again; each time doubles it.
const MEND_AFTER: Duration = Duration::from_millis(100);
const MEND_AFTER_MAX: Duration = Duration::from_secs(10);

/// What a shard wants of the engine.
#[derive(Debug)]
pub enum Order {
    Keep(Batch),
    /// Messages of a session that are kept and not in memory.
    Fetch {
        shard: u16,
        fetching: Fetching,
    },
}

/// The way from all shards to the engine.
pub fn orders() -> (mpsc::Sender<Order>, mpsc::Receiver<Order>) {
    mpsc::channel(ORDERS_MAX)
}

/// Starts the engine's thread, which ends when all that could send it orders have.
///
/// # Errors
/// The system starts no thread.
pub fn start(
    engine: Box<dyn Engine>,
    orders: mpsc::Receiver<Order>,
    shards: Vec<mpsc::Sender<Parcel>>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let keeping = Keeping { engine, orders, shards, failure: None, mend_after: MEND_AFTER, is_untidy: true };
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(keeping.run());
        Ok(())
    })
}

struct Keeping {
    engine: Box<dyn Engine>,
    orders: mpsc::Receiver<Order>,
    shards: Vec<mpsc::Sender<Parcel>>,
    /// Why nothing is kept, while that is so.
    failure: Option<StoreError>,
    mend_after: Duration,
    is_untidy: bool,
}

impl Keeping {
    async fn run(mut self) {
        let mut orders = Vec::new();
        loop {
            let wait = match (&self.failure, self.is_untidy) {
                (Some(_), _) => self.mend_after,
                (None, true) => IDLE,
                (None, false) => Duration::MAX,
            };
            match timeout(wait, self.orders.recv_many(&mut orders, ORDERS_MAX)).await {
                Ok(0) => return,
                Ok(_) => self.carry_out(&mut orders).await,
                Err(_) if self.failure.is_some() => self.mend().await,
                Err(_) => self.tidy().await,
            }
        }
    }

    async fn carry_out(&mut self, orders: &mut Vec<Order>) {
        let (mut batches, mut fetches) = (Vec::new(), Vec::new());
        for order in orders.drain(..) {
            match order {
                Order::Keep(batch) => batches.push(batch),
                Order::Fetch { shard, fetching } => fetches.push((shard, fetching)),
            }
        }
        if !batches.is_empty() {
            let reached = self.engine.keep(&batches);
            self.is_untidy = true;
            if let (Err(error), None) = (&reached, &self.failure) {
                self.failed(error).await;
            }
            self.send_receipts(&batches, &reached).await;
        }
        for (shard, fetching) in fetches {
            let fetched = self.fetch(fetching);
            self.send(shard, Parcel::Fetched(fetched)).await;
        }
    }

    /// One receipt for each shard: for its last batch, and so for those before it.
    async fn send_receipts(&mut self, batches: &[Batch], reached: &Result<Durability, StoreError>) {
        let mut last = vec![None; self.shards.len()];
        for batch in batches {
            if let Some(last) = last.get_mut(usize::from(batch.shard)) {
                *last = Some(batch.turn);
            }
        }
        for (shard, turn) in last.into_iter().enumerate() {
            let Some(turn) = turn else { continue };
            let shard = shard as u16;
            self.send(shard, Parcel::Receipt(Receipt { shard, turn, reached: reached.clone() })).await;
        }
    }

    async fn send(&self, shard: u16, parcel: Parcel) {
        if let Some(sender) = self.shards.get(usize::from(shard)) {
            // A shard that has ended waits for nothing.
            let _ = sender.send(parcel).await;
        }
    }

    /// Tells every shard whether the guarantee holds: a receipt of no turn.
    async fn tell_all(&self, reached: Result<Durability, StoreError>) {
        for shard in 0..self.shards.len() as u16 {
            self.send(shard, Parcel::Receipt(Receipt { shard, turn: 0, reached: reached.clone() })).await;
        }
    }

    async fn failed(&mut self, error: &StoreError) {
        tracing::error!(error = %error, "the store keeps nothing; what has to be kept is refused until it does again");
        self.failure = Some(error.clone());
        self.mend_after = MEND_AFTER;
        self.tell_all(Err(error.clone())).await;
    }

    async fn mend(&mut self) {
        match self.engine.mend() {
            Ok(()) => {
                tracing::warn!("the store keeps again");
                self.failure = None;
                self.tell_all(Ok(self.engine.durability())).await;
            }
            Err(error) => {
                tracing::debug!(error = %error, "the store still keeps nothing");
                self.mend_after = (self.mend_after * 2).min(MEND_AFTER_MAX);
            }
        }
    }

    async fn tidy(&mut self) {
        match self.engine.tidy() {
            Ok(has_more) => self.is_untidy = has_more,
            Err(error) => {
                self.is_untidy = false;
                self.failed(&error).await;
            }
        }
    }

    fn fetch(&mut self, fetching: Fetching) -> Fetched {
        let Fetching { slot, life, messages } = fetching;
        let read = |number| {
            let message = self.engine.read(number).unwrap_or_else(|error| {
                tracing::error!(message = number.0, error = %error, "a message that is kept cannot be read; it is lost");
                None
            });
            (number, message)
        };
        Fetched { slot, life, messages: messages.into_iter().map(read).collect() }
    }
}
