//! The real process on a disk that is full, read-only, somebody else's or damaged: it says what is wrong, refuses what it cannot keep,
//! and loses nothing that it acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_broker::store::inspect::inspect;
use candor_protocol::codec::dictionary::Dictionary;
use candor_protocol::packet::{Durability, Notice, Profile, Qos, Reason, property};
use candor_protocol::session::Parked;
use candor_protocol::sim::Way;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use support::{Client, Folder, stored_everywhere};

fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candor-broker"));
    command.args(["--listen", "mqtt://127.0.0.1:0", "--threads", "2", "--data-dir"]).arg(data_dir);
    command
}

/// A broker in a process of its own, killed at the end.
struct Process(Child, String);

impl Process {
    fn start(data_dir: &Path) -> Self {
        let mut child = command(data_dir).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening mqtt://").expect("the broker listens").to_owned();
        Self(child, address)
    }

    fn resume(&self, way: Way, id: &str, parked: Parked) -> Client {
        Client::resume(&self.1, stored_everywhere(way, id), parked)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Why a broker does not start.
fn why_not(data_dir: &Path) -> String {
    let Output { status, stderr, .. } = command(data_dir).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(!status.success(), "{said}");
    said
}

/// A small file system in memory, where this process may mount one.
struct Mount(Folder);

impl Mount {
    fn new(options: &str) -> Option<Self> {
        let folder = Folder::new();
        std::fs::create_dir_all(&folder.0).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder.0).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: only root may mount a small file system here");
        None
    }

    fn remount(&self, options: &str) {
        let mounted = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0.0).status().unwrap();
        assert!(mounted.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

/// What a notice says of the profile in force.
fn promised(notice: &Notice) -> Durability {
    assert_eq!(notice.reason, Reason::PROFILE_CHANGED);
    Profile::of_dictionary(&notice.dictionary.value::<Dictionary>(property::PROFILE).unwrap()).durability
}

#[test]
fn a_full_disk_is_refused_with_its_reason_told_to_all_and_mended_without_a_restart() {
    let Some(mount) = Mount::new("size=256k") else { return };
    let data_dir = mount.0.0.join("data");
    let process = Process::start(&data_dir);
    let mut sleeper = process.resume(Way::Plain, "sleeper", Parked::default());
    sleeper.subscribe("owed/#", Qos::ExactlyOnce);
    let asleep = sleeper.drop_connection();
    let mut observer = process.resume(Way::Offer, "observer", Parked::default());
    let mut publisher = process.resume(Way::Extended, "publisher", Parked::default());
    let mut drainer = process.resume(Way::Plain, "drainer", Parked::default());
    drainer.subscribe("drain", Qos::AtLeastOnce);
    let drainer = drainer.drop_connection();
    let drained: Vec<String> = (0..3).map(|n| format!("drain {n}")).collect();
    (0..3).for_each(|n| assert!(!publisher.publish("drain", &n.to_string(), Qos::AtLeastOnce).unwrap().reason.is_error()));
    let mut acknowledged = Vec::new();
    let message = |n: usize| format!("{n:04000}");
    let refusal = (0..1000).find_map(|n| {
        let outcome = publisher.publish("owed/a", &message(n), Qos::ALL[1 + n % 2]).unwrap();
        if !outcome.reason.is_error() {
            acknowledged.push(n);
        }
        outcome.refusal()
    });
    let refusal = refusal.expect("256 KiB are full at last");
    println!("publisher, after {} messages: {refusal:?}", acknowledged.len());
    assert_eq!((refusal.reason, refusal.problem.rule.as_deref()), (Reason::STORAGE_FAILED, Some("store")));
    for client in [&mut observer, &mut publisher] {
        client.until(|client| !client.notices.is_empty());
        println!("notice: {:?}", client.notices[0]);
        assert_eq!(promised(&client.notices[0]), Durability::None);
    }
    let mut plain = Client::resume(&process.1, Way::Plain.settings("plain"), Parked::default());
    plain.start_publish("owed/a", &message(9999), Qos::AtLeastOnce, false);
    println!("plain publisher: {:?}", plain.expect_close());
    assert!(plain.settled.is_empty(), "no success for what is not kept");
    let mut full = process.resume(Way::Plain, "drainer", drainer);
    assert_eq!(full.expect(3), drained, "what waits for a stored session can be taken from a full disk");
    full.settle_down();
    let drainer = full.drop_connection();
    mount.remount("size=16m");
    while publisher.publish("owed/a", &message(5000), Qos::AtLeastOnce).unwrap().refusal().is_some() {}
    observer.until(|client| client.notices.len() == 2);
    println!("notice: {:?}", observer.notices[1]);
    assert_eq!(promised(&observer.notices[1]), Durability::Disk);
    drop(process);
    let inspected = Command::new(env!("CARGO_BIN_EXE_candor-broker")).args(["inspect", "--data-dir"]).arg(&data_dir).output().unwrap();
    println!("{}", String::from_utf8_lossy(&inspected.stdout));
    assert!(inspected.status.success());
    let process = Process::start(&data_dir);
    let mut sleeper = process.resume(Way::Plain, "sleeper", asleep);
    let expected: Vec<String> = acknowledged.into_iter().chain([5000]).map(|n| format!("owed/a {}", message(n))).collect();
    assert!(sleeper.expect(expected.len()) == expected, "all that was acknowledged comes, in its order, and nothing else before its end");
    sleeper.expect_nothing();
    process.resume(Way::Plain, "drainer", drainer).expect_nothing();
}

#[test]
fn a_disk_that_is_full_at_the_start_is_named_and_what_it_holds_is_there_when_it_has_room() {
    let Some(mount) = Mount::new("size=256k") else { return };
    let data_dir = mount.0.0.join("data");
    let parked = {
        let process = Process::start(&data_dir);
        let mut sleeper = process.resume(Way::Plain, "sleeper", Parked::default());
        sleeper.subscribe("owed/#", Qos::ExactlyOnce);
        let parked = sleeper.drop_connection();
        let mut publisher = process.resume(Way::Plain, "publisher", Parked::default());
        (0..3).for_each(|n| assert!(publisher.publish("owed/a", &n.to_string(), Qos::ExactlyOnce).unwrap().refusal().is_none()));
        parked
    };
    let hog = mount.0.0.join("hog");
    let filled = std::fs::write(&hog, vec![0; 512 * 1024]);
    assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    for dir in [&data_dir, &mount.0.0.join("new")] {
        let said = why_not(dir);
        println!("{said}");
        assert!(said.contains(&*dir.to_string_lossy()) && said.contains("No space left"), "{said}");
    }
    std::fs::remove_file(hog).unwrap();
    let process = Process::start(&data_dir);
    let mut sleeper = process.resume(Way::Plain, "sleeper", parked);
    assert_eq!(sleeper.expect(3), ["owed/a 0", "owed/a 1", "owed/a 2"]);
    sleeper.expect_nothing();
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let Some(mount) = Mount::new("size=1m") else { return };
    let data_dir = mount.0.0.join("data");
    drop(Process::start(&data_dir));
    mount.remount("ro");
    let said = why_not(&data_dir);
    assert!(said.contains(&*data_dir.to_string_lossy()) && said.contains("Read-only"), "{said}");
    let said = why_not(&mount.0.0.join("new"));
    assert!(said.contains("new") && said.contains("Read-only"), "{said}");
}

#[test]
fn what_is_no_directory_or_somebody_elses_is_named_and_left_alone() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("novel.txt");
    std::fs::write(&file, "It was a dark and stormy night").unwrap();
    for (data_dir, expected) in [(&file, "novel.txt"), (&folder.0, "not a file of this broker")] {
        let said = why_not(data_dir);
        assert!(said.contains(expected) && said.contains("novel.txt"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "It was a dark and stormy night");
}

/// The segments of a broker that owes something, oldest first.
fn segments(data_dir: &Path) -> Vec<std::path::PathBuf> {
    {
        let process = Process::start(data_dir);
        process.resume(Way::Plain, "sleeper", Parked::default()).subscribe("owed/#", Qos::AtLeastOnce);
        let mut publisher = process.resume(Way::Plain, "publisher", Parked::default());
        for n in 0..20 {
            publisher.publish("owed/a", &n.to_string(), Qos::AtLeastOnce);
        }
    }
    // The next start begins a segment, which says how far the one before it is good.
    drop(Process::start(data_dir));
    let mut segments: Vec<_> = std::fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.sort();
    assert!(segments.len() > 1, "{segments:?}");
    segments
}

/// As if it had been written in another format.
fn of_format(bytes: &mut [u8], format: u8) {
    bytes[8] = format;
    let sum = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn a_segment_that_was_flipped_cut_or_written_by_another_version_refuses_the_start_by_name() {
    type Wrong = fn(&mut Vec<u8>);
    let wrongs: [(&str, Wrong); 4] = [
        ("damaged at byte", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        }),
        ("damaged at byte", |bytes| bytes.truncate(bytes.len() / 2)),
        ("newer", |bytes| of_format(bytes, 9)),
        ("older", |bytes| of_format(bytes, 0)),
    ];
    for (expected, wrong) in wrongs {
        let folder = Folder::new();
        let segments = segments(&folder.0);
        let mut bytes = std::fs::read(&segments[0]).unwrap();
        wrong(&mut bytes);
        std::fs::write(&segments[0], &bytes).unwrap();
        let said = why_not(&folder.0);
        println!("{said}");
        assert!(said.contains(expected) && said.contains(&*segments[0].to_string_lossy()), "{said}");
        assert_eq!(std::fs::read(&segments[0]).unwrap(), bytes, "nothing was changed");
    }
}

/// Bytes of all files.
fn bytes(data_dir: &Path) -> u64 {
    std::fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Many at a time, since each waits for the disk.
fn for_each_session(parked: Vec<Parked>, act: impl Fn(usize, Parked) -> Parked + Sync) -> Vec<Parked> {
    const THREADS: usize = 32;
    let (act, share) = (&act, parked.len().div_ceil(THREADS));
    std::thread::scope(|scope| {
        let shares = parked.chunks(share).enumerate();
        let threads = shares
            .map(|(at, mine)| scope.spawn(move || (at * share..).zip(mine).map(|(n, parked)| act(n, parked.clone())).collect::<Vec<_>>()));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_message_that_is_owed_to_a_thousand_sessions_stands_on_the_disk_once_until_the_last_has_it() {
    const SESSIONS: usize = 1000;
    const PAYLOAD: usize = 100_000;
    let folder = Folder::new();
    let process = Process::start(&folder.0);
    let parked = for_each_session(vec![Parked::default(); SESSIONS], |n, parked| {
        let mut session = process.resume(Way::Plain, &format!("session-{n}"), parked);
        session.subscribe("owed", Qos::AtLeastOnce);
        session.drop_connection()
    });
    let before = bytes(&folder.0);
    let mut publisher = Client::resume(&process.1, Way::Plain.settings("publisher"), Parked::default());
    assert!(publisher.publish("owed", &"x".repeat(PAYLOAD), Qos::AtLeastOnce).unwrap().refusal().is_none());
    let grown = bytes(&folder.0).saturating_sub(before) as usize;
    println!("a message of {PAYLOAD} bytes for {SESSIONS} sessions: {grown} bytes");
    assert!(grown < PAYLOAD + 64 * SESSIONS, "{grown} bytes");
    let report = inspect(&folder.0).unwrap();
    assert_eq!((report.messages, report.sessions.iter().map(|session| session.owed).sum::<u64>()), (1, SESSIONS as u64));
    let take = |n: usize, parked: Parked| {
        let mut session = process.resume(Way::Plain, &format!("session-{n}"), parked);
        assert_eq!(session.expect(1)[0].len(), "owed ".len() + PAYLOAD);
        session.settle_down();
        session.drop_connection()
    };
    let mut parked = parked.into_iter();
    let last = parked.next_back().unwrap();
    for_each_session(parked.collect(), take);
    assert_eq!(inspect(&folder.0).unwrap().messages, 1, "one session is owed it");
    take(SESSIONS - 1, last);
    // It is settled when its acknowledgement is kept.
    let deadline = Instant::now() + Duration::from_secs(30);
    while inspect(&folder.0).unwrap().messages > 0 {
        assert!(Instant::now() < deadline, "nobody is owed it");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
