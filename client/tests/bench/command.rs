//! `candor bench` as a user runs it.

use crate::Relay;
use crate::place::Place;
use candor_client::bench::Fault;
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn candor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_candor")).arg("bench").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn targets_that_are_started_are_compared_with_the_first() {
    let command = started("other");
    let page = std::env::temp_dir().join(format!("candor-bench-test-{}.html", std::process::id()));
    let page_text = page.to_str().unwrap();
    let ran = candor(&["pairs", "-t", "floor", "-s", &command, "--count", "20000", "--runs", "2", "--json", "--html", page_text]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let rows: Vec<Value> = text(&ran.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = rows.iter().map(|row| row["target"].as_str().unwrap()).collect();
    assert_eq!(names, ["floor", "other"]);
    assert_eq!(rows[0]["ratio_to_first"], serde_json::json!({"median": 1.0, "min": 1.0, "max": 1.0}));
    for row in &rows {
        assert_eq!(row["runs"].as_array().unwrap().len(), 2);
        assert_eq!(row["runs"][1]["count"]["delivered"], 20_000);
        assert_eq!(row["runs"][1]["round"], 1);
        let spread = &row["ratio_to_first"];
        let [median, min, max] = ["median", "min", "max"].map(|part| spread[part].as_f64().unwrap());
        assert!(min > 0.0 && min <= median && median <= max, "{spread}");
        assert!(row["server_cpu_s_per_million"]["median"].as_f64().unwrap() > 0.0);
        assert!(row["runs"][0]["cost"]["rss_bytes"].as_u64().unwrap() > 0);
    }
    let html = std::fs::read_to_string(&page).unwrap();
    std::fs::remove_file(&page).unwrap();
    assert!(html.contains("<svg") && html.contains("other") && !html.contains("http"));
}

#[test]
fn a_violation_is_told_and_is_exit_1() {
    let relay = Relay::start(Fault::Swap(10));
    let url = format!("mine=mqtt://{}", relay.address);
    let ran = candor(&["pairs", "-t", &url, "-n", "1", "--count", "105"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stdout).contains("! pairs mine: 10 messages out of order"), "{}", text(&ran.stdout));
}

#[test]
fn wrong_flags_say_what_is_right() {
    let missing = u32::MAX.to_string();
    let (parent, missing) = (format!("it=mqtt://127.0.0.1,pid={}", std::process::id()), format!("it=mqtt://127.0.0.1,pid={missing}"));
    let (no_folder, no_file) = ("/nothing/here/page.html", "x=a {config:/nothing/here.conf}");
    let cases: [(&[&str], &str); 22] = [
        (&["pairs", "-t", "mqtt://127.0.0.1,pid=0"], "from 1 on"),
        (&["pairs", "-t", &parent], "is this load generator or what it was started from"),
        (&["pairs", "-t", "mqtt://127.0.0.1", "--pid", &std::process::id().to_string()], "what it was started from"),
        (&["pairs", "-t", &missing], "of it is not there, or may not be read"),
        (&["pairs", "-t", "floor", "-s", "floor=a {port}"], "NAME="),
        (&["pairs", "-s", "/x/a {port}", "-s", "/y/a -v {port}"], "NAME="),
        (&["pairs", "-t", "=mqtt://127.0.0.1"], "its name is empty"),
        (&["pairs", "-s", "=a {port}"], "its name is empty"),
        (&["pairs", "-t", "floor", "--name", ""], "--name"),
        (&["pairs", "-t", "floor", "--pin", "9999,0"], "there is no core 9999"),
        (&["pairs", "-t", "floor", "--html", no_folder], no_folder),
        (&["pairs", "-s", no_file], "/nothing/here.conf"),
        (&["restart", "-t", "mqtt://127.0.0.1", "-s", "a {port}"], "--start started it"),
        (&["pairs"], "--target"),
        (&["pairs", "-t", "here"], "mqtt://"),
        (&["pairs", "-t", "ws://127.0.0.1"], "mqtts://"),
        (&["pairs", "-s", "mosquitto"], "{port}"),
        (&["pairs", "-t", "floor", "--pid", "3"], "pid="),
        (&["pairs", "-t", "floor", "--pin", "0"], "CORE,CORE"),
        (&["pairs", "-t", "floor", "--payload", "3"], "16"),
        (&["suite", "-t", "floor", "--only", "nothing"], "qos0"),
        (&["pairs", "-s", "x=a 'b {port}"], "closed"),
    ];
    for (arguments, part) in cases {
        let ran = candor(arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        assert!(text(&ran.stderr).contains(part), "{arguments:?}: {}", text(&ran.stderr));
    }
}

#[test]
fn a_command_that_ends_at_once_says_its_last_words() {
    let ran = candor(&["pairs", "-s", "broken=sh -c 'echo no licence for {port} >&2; exit 3'"]);
    assert_eq!(ran.status.code(), Some(1));
    let said = text(&ran.stdout);
    assert!(said.contains("broken ended at once") && said.contains("no licence for"), "{said}");
}

#[test]
fn the_suite_leaves_out_what_the_relay_cannot() {
    let ran = candor(&["suite", "--quick", "-t", "floor", "--only", "storm", "--only", "qos2"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let said = text(&ran.stdout);
    assert!(said.contains("storm") && said.lines().any(|line| line.starts_with("qos2") && line.trim_end().ends_with('-')), "{said}");
}

/// A command that starts a relay.
fn started(name: &str) -> String {
    format!("{name}='{}' bench floor --listen 127.0.0.1:{{port}}", env!("CARGO_BIN_EXE_candor"))
}

#[test]
fn without_a_figure_of_the_first_target_nothing_is_compared() {
    let broken = "broken=sh -c 'exit 3; {port}'";
    let ran = candor(&["pairs", "-s", broken, "-s", &started("other"), "--count", "1000", "--json"]);
    assert_eq!(ran.status.code(), Some(1));
    let rows: Vec<Value> = text(&ran.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[1]["runs"][0]["count"]["delivered"], 1000);
    assert!(rows.iter().all(|row| row["ratio_to_first"].is_null()), "{rows:?}");
}

#[test]
fn where_nothing_can_be_measured_the_status_says_so() {
    let ran = candor(&["pairs", "-t", "floor", "--qos", "2"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(text(&ran.stdout).contains("pairs floor: not measured: the floor has no QoS 2"), "{}", text(&ran.stdout));
    let ran = candor(&["retained", "-t", "floor", "--json"]);
    assert_eq!(ran.status.code(), Some(2));
    let row: Value = serde_json::from_str(text(&ran.stdout).trim()).unwrap();
    assert!(row["not_measured"].as_str().unwrap().contains("the floor has no retained messages"), "{row}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure_and_a_reader_that_went_is_none() {
    let run = |out: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candor"));
        command.args(["bench", "pairs", "-t", "floor", "--count", "100", "--json"]).stdout(out).output().unwrap()
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = run(full.into());
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stderr).contains("standard output: No space left"), "{}", text(&ran.stderr));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run(writer.into()).status.code(), Some(0));
}

#[test]
fn a_page_is_replaced_only_by_another() {
    let place = Place::new();
    let page = place.file("page.html");
    std::fs::write(&page, "x".repeat(100_000)).unwrap();
    let arguments = ["--html", page.to_str().unwrap()];
    assert_eq!(candor(&[&["pairs", "-t", "nothing"][..], &arguments].concat()).status.code(), Some(2));
    assert_eq!(std::fs::read(&page).unwrap().len(), 100_000);
    assert_eq!(candor(&[&["pairs", "-t", "floor", "--count", "100"][..], &arguments].concat()).status.code(), Some(0));
    let page = std::fs::read_to_string(&page).unwrap();
    let ran = candor(&["pairs", "-t", "floor", "--count", "100", "--html", "/dev/full"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stdout).contains("0/0/0") && text(&ran.stderr).contains("/dev/full"), "the report is there all the same");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
}

#[test]
fn a_floor_without_descriptors_says_so() {
    let command = format!("few=sh -c 'ulimit -n 30; exec {} bench floor --listen 127.0.0.1:{{port}}'", env!("CARGO_BIN_EXE_candor"));
    let ran = candor(&["idle", "-n", "100", "-s", &command]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stdout).contains("raise `ulimit -n` of the floor"), "{}", text(&ran.stdout));
}

#[test]
fn too_many_connections_say_what_to_raise() {
    let relay = Relay::start(Fault::None);
    let ran = Command::new("sh")
        .args(["-c", "ulimit -n 30; exec \"$0\" bench idle -n 100 -t \"$1\"", env!("CARGO_BIN_EXE_candor")])
        .arg(format!("it=mqtt://{}", relay.address))
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(text(&ran.stdout).contains("raise `ulimit -n`"), "{}", text(&ran.stdout));
}

#[test]
fn a_signal_ends_what_was_started_and_tells_what_is_complete() {
    // Who runs the tests may have them ignore a signal, as `nohup` does; then what is measured ignores it too.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = u64::from_str_radix(own.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim(), 16).unwrap();
    let heeded = [("HUP", 129), ("INT", 130), ("TERM", 143)].into_iter().filter(|(_, status)| ignored >> (status - 129) & 1 == 0);
    for (signal, status) in heeded {
        let place = Place::new();
        let (pipe, flag) = (place.file("pipe"), place.file("flag"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // The first serves; the second tells that the first run is complete, and never takes a connection.
        let script = format!(
            "echo $$ {{dir}} > {pipe}; [ -e {flag} ] && exec sleep 600; touch {flag}; exec {} bench floor --listen 127.0.0.1:{{port}}",
            env!("CARGO_BIN_EXE_candor"),
            pipe = pipe.display(),
            flag = flag.display(),
        );
        let child = Command::new(env!("CARGO_BIN_EXE_candor"))
            .args(["bench", "pairs", "--runs", "3", "--count", "1000", "-s", &format!("it=sh -c '{script}'")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let servers = [(); 2].map(|()| {
            let mut said = String::new();
            std::fs::File::open(&pipe).unwrap().read_to_string(&mut said).unwrap();
            said
        });
        let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let ran = child.wait_with_output().unwrap();
        assert_eq!(ran.status.code(), Some(status), "{}", text(&ran.stderr));
        assert!(text(&ran.stderr).contains(&format!("ended by SIG{signal}")), "{}", text(&ran.stderr));
        assert!(text(&ran.stdout).lines().any(|line| line.starts_with("pairs") && line.ends_with("0/0/0")), "{}", text(&ran.stdout));
        for server in servers {
            let (pid, folder) = server.trim().split_once(' ').unwrap();
            assert!(!Path::new("/proc").join(pid).exists() && !Path::new(folder).exists(), "{server}");
        }
    }
}
