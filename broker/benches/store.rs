//! What the embedded engine costs on a real disk: `cargo bench -p candor-broker --bench store`, or with a name for one part
//! (`keep`, `start`, `owed`). The directory is made under the system's temporary one, or under `CANDOR_BENCH_DIR`.
//!
//! CPU is that of the whole process, user and system, and in steps of 10 ms; memory is what the resident set grows by, which is why
//! each case runs in a fresh process.

use candor_broker::message::Envelope;
use candor_broker::store::embedded::{Embedded, Options};
use candor_broker::store::files::Directory;
use candor_broker::store::record::Owed;
use candor_broker::store::{Batch, Engine, MessageNumber, Record, SessionNumber};
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Message, Qos};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const CASES: &[(&str, usize)] = &[("keep", 1), ("keep", 32), ("keep", 512), ("start", 1_000_000), ("owed", 1), ("owed", 10)];

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [case, size] = &arguments[..] {
        let directory = Scratch::new();
        return match case.as_str() {
            "keep" => keep(&directory.0, size.parse()?),
            "start" => start(&directory.0, size.parse()?),
            "owed" => owed(&directory.0, size.parse()?),
            other => Err(format!("there is no case {other}; there are {CASES:?}").into()),
        };
    }
    for (case, size) in CASES.iter().filter(|(case, _)| arguments.is_empty() || arguments.iter().any(|name| name == case)) {
        let status = Command::new(std::env::current_exe()?).args([*case, &size.to_string()]).status()?;
        if !status.success() {
            return Err(format!("{case} {size} ended with {status}").into());
        }
    }
    Ok(())
}

/// Messages of 256 bytes, each owed to a session that settles them 10,000 messages later; batches of some size, a sync each.
fn keep(directory: &Path, batch_len: usize) -> Outcome {
    let mut engine = open(directory)?;
    engine.keep(&[batch(vec![begun(1)])])?;
    let records = if batch_len == 1 { 10_000 } else { 300_000 };
    let (mut number, mut syncs) = (0u64, 0u64);
    let (begin, cpu) = (Instant::now(), cpu_us()?);
    while number < records {
        let mut records = Vec::with_capacity(2 * batch_len);
        for _ in 0..batch_len {
            number += 1;
            records.push(message(number, "site/7/device/12345/temperature", 256, 1));
            if let Some(old) = number.checked_sub(10_000).filter(|old| *old > 0) {
                records.push(Record::Settled { session: SessionNumber(1), message: MessageNumber(old) });
            }
        }
        engine.keep(&[batch(records)])?;
        engine.tidy()?;
        syncs += 1;
    }
    let (elapsed, cpu) = (begin.elapsed(), cpu_us()? - cpu);
    let usage = engine.usage();
    println!(
        "keep, batches of {batch_len}: {:.0} messages/s, {:.2} us CPU a message, {:.0} us a sync; {} MB on the disk for {} MB owed",
        number as f64 / elapsed.as_secs_f64(),
        cpu as f64 / number as f64,
        elapsed.as_micros() as f64 / syncs as f64,
        usage.bytes / 1_000_000,
        usage.owed_bytes / 1_000_000
    );
    Ok(())
}

/// Retained messages of 64 bytes, and a start with all of them.
fn start(directory: &Path, size: usize) -> Outcome {
    if std::env::var_os("CANDOR_BENCH_WRITTEN").is_none() {
        let mut engine = open(directory)?;
        let mut number = 0u64;
        while number < size as u64 {
            let records = (0..500).flat_map(|_| {
                number += 1;
                let topic = format!("site/{}/device/{number}/temperature", number % 97);
                [message(number, &topic, 64, 0), Record::Retained { message: MessageNumber(number), version: number }]
            });
            engine.keep(&[batch(records.collect())])?;
        }
        drop(engine);
        // In a process whose memory holds nothing yet.
        let mut command = Command::new(std::env::current_exe()?);
        let status = command.args(["start", &size.to_string()]).env("CANDOR_BENCH_WRITTEN", directory).status()?;
        return if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) };
    }
    let written = PathBuf::from(std::env::var("CANDOR_BENCH_WRITTEN")?);
    let (begin, cpu, memory) = (Instant::now(), cpu_us()?, resident_bytes()?);
    let engine = open(&written)?;
    println!(
        "start with {size} retained messages ({} MB in {} files): {:.2} s, {:.2} s CPU, {} bytes of memory a message",
        engine.usage().bytes / 1_000_000,
        engine.usage().segments,
        begin.elapsed().as_secs_f64(),
        (cpu_us()? - cpu) as f64 / 1e6,
        (resident_bytes()? - memory) / size as u64
    );
    Ok(())
}

/// Memory of a million entries of queues: of one session, or of ten that are owed the same messages.
fn owed(directory: &Path, sessions: usize) -> Outcome {
    const ENTRIES: u64 = 1_000_000;
    let mut engine = open(directory)?;
    engine.keep(&[batch((1..=sessions as u64).map(begun).collect())])?;
    let memory = resident_bytes()?;
    let messages = ENTRIES / sessions as u64;
    for first in (1..=messages).step_by(500) {
        engine.keep(&[batch((first..first + 500).map(|number| message(number, "t", 64, sessions)).collect())])?;
    }
    let bytes = resident_bytes()? - memory;
    println!("{sessions} sessions owed {messages} messages each: {} bytes of memory an entry", bytes / ENTRIES);
    Ok(())
}

fn open(directory: &Path) -> Result<Embedded<Directory>, Box<dyn std::error::Error>> {
    Ok(Embedded::open(Directory::create(directory)?, Options::default())?)
}

fn batch(records: Vec<Record>) -> Batch {
    Batch { shard: 0, turn: 0, records, ..Batch::default() }
}

fn begun(session: u64) -> Record {
    Record::SessionBegun { session: SessionNumber(session), client_id: "client".into(), principal: "somebody".into(), incarnation: 1 }
}

fn message(number: u64, topic: &str, payload_len: usize, sessions: usize) -> Record {
    // Not all the same, for disks that are clever.
    let payload: Vec<u8> = (0..payload_len as u64).map(|at| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (at % 57)) as u8).collect();
    let message = Message::publish(topic, payload).unwrap_or_else(|error| unreachable!("{error:?}"));
    let envelope = Envelope { message, qos: Qos::AtLeastOnce, retain: false, expires_at_ms: None, stamps: None, hop: Dictionary::EMPTY };
    let owed = |session| Owed { session: SessionNumber(session), qos: Qos::AtLeastOnce, retain: false };
    Record::Message { message: MessageNumber(number), envelope, owed: (1..=sessions as u64).map(owed).collect() }
}

/// User and system time of this process.
fn cpu_us() -> Result<u64, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks * 10_000)
}

fn resident_bytes() -> Result<u64, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    Ok(statm.split_whitespace().nth(1).unwrap_or("0").parse::<u64>()? * 4096)
}

/// A directory that is gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let under = std::env::var_os("CANDOR_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        Self(under.join(format!("candor-bench-store-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
