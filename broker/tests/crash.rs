//! The real process on a real folder, killed while it works: what was acknowledged is there, once, and what was not is no lie.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use candor_protocol::packet::{Publish, Qos};
use candor_protocol::session::Parked;
use candor_protocol::sim::Way;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use support::{Client, Folder, stored_everywhere, with_will};

/// A broker in a process of its own.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(folder: &Folder, threads: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor-broker"));
        command.args(["--listen", "mqtt://127.0.0.1:0", "--durability", "disk", "--threads", &threads.to_string(), "--data-dir"]);
        let mut child = command.arg(&folder.0).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening mqtt://").expect("the broker listens").to_owned();
        Self { child, address }
    }

    /// SIGKILL: no word, no flush.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn resume(&self, way: Way, id: &str, parked: Parked) -> Client {
        Client::resume(&self.address, stored_everywhere(way, id), parked)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads what is still there when the process is gone.
fn last_words(mut client: Client) -> (Client, Parked) {
    client.until(|client| client.closed.is_some());
    let parked = client.session.clone().park();
    (client, parked)
}

fn payloads(client: &Client) -> Vec<String> {
    client.messages.iter().map(|publish| String::from_utf8_lossy(publish.message.payload()).into_owned()).collect()
}

fn distinct<'a>(messages: impl Iterator<Item = &'a Publish>) -> usize {
    messages.map(|publish| (publish.message.topic(), publish.message.payload())).collect::<BTreeSet<_>>().len()
}

const MESSAGES: usize = 60;

#[test]
fn what_was_acknowledged_before_a_kill_is_delivered_after_it() {
    for (round, way) in Way::ALL.into_iter().enumerate() {
        let threads = [1, 3][round % 2];
        let folder = Folder::new();
        let mut process = Process::start(&folder, threads);
        let mut sleeper = process.resume(way, "sleeper", Parked::default());
        sleeper.subscribe("owed/#", Qos::ExactlyOnce);
        let asleep = sleeper.drop_connection();
        let mut reader = process.resume(way, "reader", Parked::default());
        reader.subscribe("owed/#", Qos::ExactlyOnce);
        let mut publishers: Vec<Client> = ["one", "two"].map(|id| process.resume(way, id, Parked::default())).into();
        for (index, publisher) in publishers.iter_mut().enumerate() {
            publisher.retain(&format!("kept/{index}"), "before");
            publisher.settled.clear();
        }
        let mut tokens = Vec::new();
        for n in 0..MESSAGES {
            for (index, publisher) in publishers.iter_mut().enumerate() {
                let qos = if n % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
                tokens.push((index, n, qos, publisher.start_publish(&format!("owed/{index}"), &n.to_string(), qos, false)));
            }
        }
        // It dies with acknowledgements, steps and deliveries under way.
        let enough = 10 + 7 * round;
        publishers[0].until(|client| client.settled.len() > enough);
        process.kill();
        let (reader, read) = last_words(reader);
        let (publishers, parked): (Vec<Client>, Vec<Parked>) = publishers.into_iter().map(last_words).unzip();
        let acknowledged: Vec<(usize, usize)> = tokens
            .iter()
            .filter(|(index, _, _, token)| publishers[*index].settled.iter().any(|(other, _)| other == token))
            .map(|(index, n, ..)| (*index, *n))
            .collect();
        assert!(acknowledged.len() > enough && acknowledged.len() < tokens.len(), "{way:?}: {}", acknowledged.len());

        let process = Process::start(&folder, threads);
        // The publishers say again what was not settled, and exactly once means once.
        let mut publishers: Vec<Client> =
            ["one", "two"].into_iter().zip(parked).map(|(id, parked)| process.resume(way, id, parked)).collect();
        for (index, publisher) in publishers.iter_mut().enumerate() {
            let open = tokens.iter().filter(|(of, n, ..)| *of == index && !acknowledged.contains(&(index, *n))).count();
            publisher.until(|client| client.settled.len() == open);
            assert!(publisher.settled.iter().all(|(_, outcome)| !outcome.reason.is_error()), "{way:?}");
        }
        let mut sleeper = process.resume(way, "sleeper", asleep);
        assert!(sleeper.opened.as_ref().unwrap().session_present, "{way:?}");
        sleeper.until(|client| client.messages.len() >= 2 * MESSAGES);
        sleeper.settle_down();
        let mut reader_again = process.resume(way, "reader", read);
        reader_again.until(|again| distinct(reader.messages.iter().chain(&again.messages)) == 2 * MESSAGES);
        reader_again.settle_down();
        let both = reader.messages.iter().chain(&reader_again.messages).cloned().collect::<Vec<_>>();
        for (who, messages) in [("sleeper", &sleeper.messages), ("reader", &both)] {
            for index in 0..2 {
                let topic = format!("owed/{index}");
                let of_qos = |odd: usize| {
                    let numbers = messages.iter().filter(|publish| publish.message.topic_str() == topic);
                    let numbers = numbers.map(|publish| String::from_utf8_lossy(publish.message.payload()).parse::<usize>().unwrap());
                    numbers.filter(|n| n % 2 == odd).collect::<Vec<_>>()
                };
                let expected: Vec<usize> = (0..MESSAGES).filter(|n| n % 2 == 1).collect();
                assert_eq!(of_qos(1), expected, "{way:?}, {who}, {topic}: QoS 2 comes once and in order");
                let at_least_once: BTreeSet<usize> = of_qos(0).into_iter().collect();
                assert_eq!(at_least_once.len(), MESSAGES / 2, "{way:?}, {who}, {topic}: QoS 1 comes");
            }
        }
        let mut late = process.resume(way, "late", Parked::default());
        late.subscribe("kept/#", Qos::AtLeastOnce);
        late.until(|client| client.messages.len() == 2);
        assert_eq!(payloads(&late), ["before", "before"]);
    }
}

#[test]
fn a_will_and_a_gap_of_time_survive_a_kill() {
    let folder = Folder::new();
    let mut process = Process::start(&folder, 3);
    let mut watcher = process.resume(Way::Plain, "watcher", Parked::default());
    watcher.subscribe("will/#", Qos::ExactlyOnce);
    let parked = watcher.drop_connection();
    let _lost = Client::resume(&process.address, with_will(Way::Extended.settings("lost"), "will/lost", true), Parked::default());
    process.kill();
    for _ in 0..2 {
        let process = Process::start(&folder, 1);
        let mut late = Client::resume(&process.address, Way::Extended.settings("late"), Parked::default());
        late.subscribe("will/#", Qos::AtLeastOnce);
        late.until(|client| !client.messages.is_empty());
        assert_eq!(payloads(&late), ["gone"], "retained");
    }
    let process = Process::start(&folder, 3);
    let mut watcher = process.resume(Way::Plain, "watcher", parked);
    assert_eq!(watcher.expect(1), ["will/lost gone"], "published once, by the first that came after");
    watcher.expect_nothing();
}

#[test]
fn two_brokers_do_not_share_a_folder() {
    let folder = Folder::new();
    let process = Process::start(&folder, 1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_candor-broker"));
    command.args(["--listen", "mqtt://127.0.0.1:0", "--durability", "disk", "--data-dir"]).arg(&folder.0);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&*folder.0.to_string_lossy()), "{said}");
    assert!(said.contains(&format!("in use by process {};", process.child.id())), "it says who holds it: {said}");
}

#[test]
fn what_a_folder_holds_can_be_looked_at_while_a_broker_runs() {
    let folder = Folder::new();
    let process = Process::start(&folder, 1);
    let mut sleeper = process.resume(Way::Plain, "sleeper", Parked::default());
    sleeper.subscribe("owed/#", Qos::AtLeastOnce);
    sleeper.lose_connection();
    let mut publisher = process.resume(Way::Plain, "publisher", Parked::default());
    publisher.retain("kept/a", "x");
    for n in 0..3 {
        publisher.publish("owed/a", &n.to_string(), Qos::AtLeastOnce);
    }
    let inspect = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor-broker"));
        let output = command.args(["inspect", "--data-dir"]).arg(&folder.0).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let report: serde_json::Value = serde_json::from_str(&inspect(&["--json"])).unwrap();
    let sessions: Vec<_> = report["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|session| (session["client_id"].as_str().unwrap(), session["owed"].clone()))
        .collect();
    assert_eq!(sessions, [("publisher", 0.into()), ("sleeper", 3.into())], "{report}");
    assert_eq!((&report["retained"], &report["messages"]), (&1.into(), &4.into()), "{report}");
    let oldest_ms = report["sessions"][1]["oldest_ms"].as_u64().expect("the oldest message has its time");
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    assert!(now_ms.abs_diff(oldest_ms) < 60_000, "{oldest_ms}, now {now_ms}");
    // For people, times are dates.
    let text = inspect(&[]);
    let sleeper = text.lines().find(|line| line.starts_with("sleeper")).expect("a line for the sleeper");
    let date = candor_protocol::annotate::instant(report["sessions"][1]["expires_at_ms"].as_u64().unwrap());
    assert!(date.starts_with("20") && sleeper.ends_with(&format!("parked until {date}")), "{date}: {text}");
}
