//! What the engine's thread does while orders never cease.

use super::*;
use crate::store::embedded::{Embedded, Options};
use crate::store::files::{Mishap, SimDisk};
use crate::store::record::{Record, Whose};
use std::time::Instant;

const SEGMENT: u64 = 256 * 1024;
const DEADLINE: Duration = Duration::from_secs(30);

/// An engine's thread on a disk, with a shard that has sent `turn` batches.
struct Desk {
    disk: SimDisk,
    orders: mpsc::Sender<Order>,
    parcels: mpsc::Receiver<Parcel>,
    thread: JoinHandle<io::Result<()>>,
    turn: u64,
}

impl Desk {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let mut options = Options::default();
        options.segment_bytes = SEGMENT;
        let engine = Box::new(Embedded::open(disk.files(), options).unwrap());
        let (orders, receiver) = orders();
        let (sender, parcels) = mpsc::channel(1024);
        let thread = start(engine, receiver, vec![sender]).unwrap();
        Self { disk, orders, parcels, thread, turn: 0 }
    }

    /// Hands over a batch that replaces what the one before it kept, so that nothing but the last is owed.
    fn send(&mut self, bytes: usize, knows_failure: bool) {
        self.turn += 1;
        let whose = Whose { principal: "p".into(), client_id: "c".into() };
        let replaces = if self.turn > 1 { vec![self.turn - 1] } else { Vec::new() };
        let records = vec![Record::Verdict { whose, number: self.turn, replaces, verdict: vec![1; bytes].into() }];
        self.orders.blocking_send(Order::Keep(Batch { shard: 0, turn: self.turn, records, knows_failure, ..Batch::default() })).unwrap();
    }

    /// What became of the batches, as far as it is known.
    fn receipts(&mut self) -> Vec<Receipt> {
        let receipt = |parcel| if let Parcel::Receipt(receipt) = parcel { Some(receipt) } else { None };
        std::iter::from_fn(|| self.parcels.try_recv().ok()).filter_map(receipt).collect()
    }

    fn end(self) -> SimDisk {
        drop((self.orders, self.parcels));
        self.thread.join().unwrap().unwrap();
        self.disk
    }
}

#[test]
fn space_is_given_back_while_orders_never_cease() {
    const BATCH: usize = 16 * 1024;
    let mut desk = Desk::new();
    for _ in 0..1000 {
        desk.send(BATCH, false);
        desk.receipts();
    }
    let bytes = desk.end().bytes();
    let group = (ORDERS_MAX * BATCH) as u64;
    assert!(bytes < 2 * group + 4 * SEGMENT, "{bytes} bytes stand in the log of 16 MB, and {BATCH} of them are owed");
}

#[test]
fn a_disk_that_failed_is_mended_while_orders_never_cease() {
    let mut desk = Desk::new();
    desk.disk.plan(desk.disk.operations(), Mishap::FailsForEver);
    let deadline = Instant::now() + DEADLINE;
    let mut is_repaired = false;
    loop {
        assert!(Instant::now() < deadline, "the disk is whole, and nothing is kept");
        desk.send(1, is_repaired);
        for receipt in desk.receipts() {
            match receipt.reached {
                Err(_) if !is_repaired => {
                    desk.disk.repair();
                    is_repaired = true;
                }
                Ok(_) if is_repaired => return drop(desk.end()),
                _ => {}
            }
        }
    }
}

/// Nothing may be kept that was made before its shard heard of the failure: it may rest on what failed.
#[test]
fn a_disk_that_failed_is_not_mended_before_the_shards_have_heard() {
    let is_conclusive = (0..20).any(|_| {
        let mut desk = Desk::new();
        desk.disk.plan(desk.disk.operations(), Mishap::Fails);
        let (begin, mut before) = (Instant::now(), Instant::now());
        let (mut kept, mut gap_max) = (Vec::new(), Duration::ZERO);
        while begin.elapsed() < 3 * MEND_AFTER {
            let now = Instant::now();
            desk.send(1, false);
            gap_max = gap_max.max(before.elapsed());
            before = now;
            std::thread::sleep(Duration::from_millis(1));
            kept.extend(desk.receipts().into_iter().filter(|receipt| receipt.reached.is_ok()));
        }
        // On a machine that gave this thread no time, the shard may well have heard.
        let is_conclusive = gap_max < MEND_AFTER && before.elapsed() < MEND_AFTER;
        assert!(!is_conclusive || kept.is_empty(), "{kept:?}");
        while kept.is_empty() {
            assert!(begin.elapsed() < DEADLINE, "the disk is whole, the shard sends nothing, and nothing is kept");
            std::thread::sleep(Duration::from_millis(1));
            kept.extend(desk.receipts().into_iter().filter(|receipt| receipt.reached.is_ok()));
        }
        is_conclusive
    });
    assert!(is_conclusive, "this machine is too busy");
}
