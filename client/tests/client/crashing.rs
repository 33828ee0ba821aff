//! `candor pub` and `candor sub` with a state file, killed at any moment and run again.

use crate::command::{candor, finish, spawn};
use crate::support::{Act, Place, Script, Seen, Server};
use candor_client::{FileStore, Qos, SessionStore};
use std::collections::BTreeSet;
use std::path::Path;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

/// Random numbers that can be had again: xorshift64*.
struct Random(u64);

impl Random {
    /// `CANDOR_TEST_SEED` repeats a run.
    fn new() -> Self {
        let of_now = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
        let seed = std::env::var("CANDOR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(of_now);
        println!("CANDOR_TEST_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % end
    }
}

/// Serves one connection after the other.
fn alone() -> Script {
    Script { alone: true, ..Script::default() }
}

/// What a server saw of one run, which ended by itself with this state or was killed.
struct Run {
    exit: Option<i32>,
    seen: Vec<Seen>,
}

/// Kills a run at the `kill_at`th thing that the server sees, if it lives so long, and waits until the server has let it go.
async fn run(server: &mut Server, mut child: Child, kill_at: usize) -> Run {
    let (mut seen, mut open, mut exit) = (Vec::new(), 0, None);
    let mut running = true;
    while running || open > 0 {
        tokio::select! {
            biased;
            next = server.wait_for(Some) => {
                match next {
                    Seen::Arrived => open += 1,
                    Seen::Closed(_) => open -= 1,
                    _ => {}
                }
                seen.push(next);
                if running && seen.len() >= kill_at {
                    child.start_kill().unwrap();
                }
            }
            status = child.wait(), if running => {
                running = false;
                exit = status.unwrap().code();
            }
        }
    }
    Run { exit, seen }
}

/// Kills a publisher whose messages the server has; from then on the server takes everything.
async fn kill_what_was_taken(mut publisher: Child, server: &mut Server) {
    publisher.kill().await.unwrap();
    server.closed().await;
    server.settle_stored("device-1");
    server.now_follow(alone());
}

/// Whether a publisher has come to its end: then the same input would be new.
fn has_ended(state: &Path) -> bool {
    let kept = FileStore::open(state).unwrap().load();
    kept.mark.is_empty() && kept.messages.is_empty()
}

fn publisher<'a>(url: &'a str, state: &'a str, dialect: &'a str) -> Vec<&'a str> {
    vec!["pub", "-L", url, "-t", "a", "-l", "-q", "2", "-i", "device-1", "-V", dialect, "--state", state]
}

async fn lines(arguments: &[&str], input: &str) -> Child {
    let mut child = spawn(arguments);
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read it all has ended.
    let _ = stdin.write_all(input.as_bytes()).await;
    child
}

/// Runs a publisher again and again until it comes to its end; what the server took, in order, and how many runs it needed.
async fn publish_all(random: &mut Random, dialect: &str, input: &str) -> (Vec<String>, usize) {
    let place = Place::new();
    let state = place.file("session");
    let mut server = Server::start(alone()).await;
    let (url, mut taken, mut runs) = (server.url(), Vec::new(), 0);
    loop {
        runs += 1;
        let cut_after = (random.below(3) == 0).then(|| 1 + random.below(300) as usize);
        server.now_follow(Script { cut_after, ..alone() });
        let kill_at = 1 + random.below(40) as usize;
        let child = lines(&publisher(&url, state.to_str().unwrap(), dialect), input).await;
        let run = run(&mut server, child, kill_at).await;
        let payload = |seen| if let Seen::Publish(publish) = seen { Some(publish.message.payload().to_vec()) } else { None };
        taken.extend(run.seen.into_iter().filter_map(payload).map(|payload| String::from_utf8(payload).unwrap()));
        match run.exit {
            Some(0) => return (taken, runs),
            // Killed behind its last step, which is to forget how far it had come.
            None if taken.len() == input.lines().count() && has_ended(&state) => return (taken, runs),
            // Killed, or cut off before or behind the opening.
            None | Some(4 | 6) => assert!(runs < 300, "it does not come to its end"),
            Some(other) => panic!("exit state {other}"),
        }
    }
}

#[tokio::test]
async fn lines_of_a_publisher_that_is_killed_and_run_again_arrive_exactly_once() {
    let mut random = Random::new();
    let expected: Vec<_> = (0..400).map(|n| format!("line {n}")).collect();
    let input = expected.join("\n") + "\n";
    for dialect in ["extended", "3.1.1", "auto"] {
        let (taken, runs) = publish_all(&mut random, dialect, &input).await;
        assert_eq!(taken, expected, "{dialect}");
        println!("{dialect}: {runs} runs");
    }
}

#[tokio::test]
async fn messages_of_a_subscriber_that_is_killed_and_run_again_are_written_exactly_once() {
    let mut random = Random::new();
    let expected: String = (0..300).map(|n| format!("message {n}\n")).collect();
    for dialect in ["extended", "3.1.1", "auto"] {
        let place = Place::new();
        let (state, output) = (place.file("session"), place.file("output"));
        let mut server = Server::start(alone()).await;
        let url = server.url();
        let (state, file) = (state.to_str().unwrap(), output.to_str().unwrap());
        let arguments = ["sub", "-L", &url, "-t", "a", "-q", "2", "-i", "device-1", "-V", dialect, "--state", state, "--output", file];
        let mut child = spawn(&arguments);
        server.wait_for(|seen| matches!(seen, Seen::Subscribe(_)).then_some(())).await;
        for n in 0..300 {
            server.deliver("a", &format!("message {n}"), Qos::ExactlyOnce, n);
        }
        let mut settled = BTreeSet::new();
        server
            .wait_for(|seen| match seen {
                Seen::Settled { token, .. } => {
                    settled.insert(token);
                    None
                }
                Seen::Sent(299) => Some(()),
                _ => None,
            })
            .await;
        // The arrival of this first run has been passed over: it ends by hand.
        while settled.len() < random.below(100) as usize {
            settled.insert(server.settled().await.0);
        }
        child.kill().await.unwrap();
        server
            .wait_for(|seen| match seen {
                Seen::Settled { token, .. } => {
                    settled.insert(token);
                    None
                }
                Seen::Closed(_) => Some(()),
                _ => None,
            })
            .await;
        let mut runs = 1;
        while settled.len() < 300 {
            runs += 1;
            assert!(runs < 300, "it does not come to its end");
            // It arrives, connects, and settles what is left: there is no more to see.
            let left = 300 - settled.len() as u64;
            let kill_at = 1 + random.below(20.min(left + 2)) as usize;
            let run = run(&mut server, spawn(&arguments), kill_at).await;
            settled.extend(run.seen.into_iter().filter_map(|seen| if let Seen::Settled { token, .. } = seen { Some(token) } else { None }));
        }
        assert_eq!(written(&output), expected, "{dialect}");
        println!("{dialect}: {runs} runs");
    }
}

fn written(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_message_that_was_taken_before_the_kill_is_not_taken_again() {
    let place = Place::new();
    let state = place.file("session");
    let mut server = Server::start(Script { alone: true, ..Script::judging(|_| None) }).await;
    let url = server.url();
    let arguments = ["pub", "-L", &url, "-t", "a", "-m", "x", "-q", "2", "-i", "device-1", "--state", state.to_str().unwrap()];
    let child = spawn(&arguments);
    server.publish().await;
    kill_what_was_taken(child, &mut server).await;
    assert_eq!(candor(&arguments).await.exit, 0);
    assert_eq!(candor(&arguments).await.exit, 0, "behind an end in order it is a new message");
    let publishes = server.all_seen().into_iter().filter(|seen| matches!(seen, Seen::Publish(_))).count();
    assert_eq!(publishes, 1, "the second run had nothing to send, the third had");
}

#[tokio::test]
async fn a_state_that_cannot_be_used_is_told_with_what_to_do() {
    let place = Place::new();
    let state = place.file("session");
    let state = state.to_str().unwrap();
    let mut server = Server::start(alone()).await;
    let url = server.url();
    let arguments = |id: &'static str| vec!["pub", "-L", &url, "-t", "a", "-m", "x", "-q", "2", "-i", id, "--state", state];
    let without_id = candor(&["pub", "-L", &url, "-t", "a", "-m", "x", "-q", "2", "--state", state]).await;
    assert!(without_id.exit == 2 && without_id.error.contains("--id <ID>"), "{}", without_id.error);
    let at_qos_0 = candor(&["pub", "-L", &url, "-t", "a", "-m", "x", "-i", "me", "--state", state]).await;
    assert!(at_qos_0.exit == 2 && at_qos_0.error.contains("add -q 1 or -q 2"), "{}", at_qos_0.error);
    assert_eq!(candor(&arguments("me")).await.exit, 0);
    let other = candor(&arguments("you")).await;
    assert!(other.exit == 2 && other.error.contains("belongs to the client identifier `me`"), "{}", other.error);
    let mut user = spawn(&["sub", "-L", &url, "-t", "a", "-i", "me", "--state", state]);
    server.wait_for(|seen| matches!(seen, Seen::Subscribe(_)).then_some(())).await;
    let in_use = candor(&arguments("me")).await;
    assert!(in_use.exit == 1 && in_use.error.contains("in use by another process"), "{}", in_use.error);
    user.kill().await.unwrap();
    std::fs::write(state, "no session").unwrap();
    let foreign = candor(&arguments("me")).await;
    assert!(foreign.exit == 1 && foreign.error.contains("is not a session of this library"), "{}", foreign.error);
}

#[tokio::test]
async fn another_input_than_the_one_that_was_begun_is_refused() {
    let place = Place::new();
    let state = place.file("session");
    let state = state.to_str().unwrap();
    let mut server = Server::start(Script { alone: true, ..Script::judging(|_| None) }).await;
    let url = server.url();
    let child = lines(&publisher(&url, state, "auto"), "one\ntwo\n").await;
    server.publish().await;
    server.publish().await;
    kill_what_was_taken(child, &mut server).await;
    for input in ["one\nthree\n", "one\n"] {
        let ran = finish(lines(&publisher(&url, state, "auto"), input).await).await;
        assert!(ran.exit == 2 && ran.error.contains("2 lines of another input"), "{}", ran.error);
    }
    let ran = finish(lines(&publisher(&url, state, "auto"), "one\ntwo\nthree\n").await).await;
    assert_eq!(ran.exit, 0, "{}", ran.error);
    let publishes = server.all_seen().into_iter().filter_map(|seen| match seen {
        Seen::Publish(publish) => Some(publish.message.payload().to_vec()),
        _ => None,
    });
    assert_eq!(publishes.collect::<Vec<_>>(), [b"three"]);
}

#[tokio::test]
async fn what_a_killed_subscriber_had_not_accepted_is_cut_off_its_output() {
    let place = Place::new();
    let (state, output) = (place.file("session"), place.file("output"));
    let mut server = Server::start(alone()).await;
    let url = server.url();
    let (state, file) = (state.to_str().unwrap(), output.to_str().unwrap());
    std::fs::write(&output, "from before\n").unwrap();
    let arguments = ["sub", "-L", &url, "-t", "a", "-q", "2", "-i", "me", "--state", state, "--output", file, "-C", "1"];
    for (run, payload) in ["one", "two"].into_iter().enumerate() {
        let child = spawn(&arguments);
        // A resumed session has its subscription.
        let is_ready = |seen: &Seen| if run == 0 { matches!(seen, Seen::Subscribe(_)) } else { matches!(seen, Seen::Confirmed) };
        server.wait_for(|seen| is_ready(&seen).then_some(())).await;
        server.act(Act::deliver("a", payload, Qos::ExactlyOnce, 1));
        assert_eq!(finish(child).await.exit, 0);
        server.closed().await;
        // What a run leaves that is killed between writing and accepting.
        let text = written(&output);
        std::fs::write(&output, text + "half a mess").unwrap();
    }
    assert_eq!(written(&output), "from before\none\ntwo\nhalf a mess");
    std::fs::write(&output, "from").unwrap();
    let ran = candor(&arguments).await;
    assert!(ran.exit == 1 && ran.error.contains("it was changed or replaced"), "{}", ran.error);
}
