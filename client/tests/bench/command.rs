//! `candor bench` as a user runs it.

use crate::Relay;
use candor_client::bench::Fault;
use serde_json::Value;
use std::process::{Command, Output};

fn candor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_candor")).arg("bench").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn targets_that_are_started_are_compared_with_the_first() {
    let command = format!("other='{}' bench floor --listen 127.0.0.1:{{port}}", env!("CARGO_BIN_EXE_candor"));
    let page = std::env::temp_dir().join(format!("candor-bench-test-{}.html", std::process::id()));
    let page_text = page.to_str().unwrap();
    let ran = candor(&["pairs", "-t", "floor", "-s", &command, "--count", "20000", "--runs", "2", "--json", "--html", page_text]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let rows: Vec<Value> = text(&ran.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = rows.iter().map(|row| row["target"].as_str().unwrap()).collect();
    assert_eq!(names, ["floor", "other"]);
    assert_eq!(rows[0]["ratio_to_first"], 1.0);
    for row in &rows {
        assert_eq!(row["runs"].as_array().unwrap().len(), 2);
        assert_eq!(row["runs"][1]["count"]["delivered"], 20_000);
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
    let cases: [(&[&str], &str); 9] = [
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
