//! The exit statuses of `candor-broker`, each by what really leads to it, and `--check`, which changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::TcpListener;
use std::process::{Command, Output};
use support::Folder;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_candor-broker")).args(arguments).output().unwrap()
}

/// The status, and what was said on standard error.
fn ended(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_wrong_option_or_file_is_2() {
    for arguments in [&["--listen", "nonsense"][..], &["--packet-size-max", "1"], &["--config", "/nowhere/candor.toml"], &["--nonsense"]] {
        let (status, said) = ended(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {said}");
    }
}

#[test]
fn an_address_that_is_taken_is_4() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", taken.local_addr().unwrap());
    let (status, said) = ended(&["--listen", &url, "--durability", "memory"]);
    assert_eq!(status, Some(4), "{said}");
    assert!(said.contains(&url), "{said}");
}

#[test]
fn a_store_that_cannot_be_opened_is_5() {
    let folder = Folder::new();
    std::fs::create_dir_all(&folder.0).unwrap();
    let file = folder.0.join("novel.txt");
    std::fs::write(&file, "It was a dark and stormy night").unwrap();
    let (status, said) = ended(&["--listen", "mqtt://127.0.0.1:0", "--data-dir", file.to_str().unwrap()]);
    assert_eq!(status, Some(5), "{said}");
    assert!(said.contains("novel.txt"), "{said}");
}

#[test]
fn an_inspection_of_nothing_is_1() {
    let (status, said) = ended(&["inspect", "--data-dir", "/nowhere/at/all"]);
    assert_eq!(status, Some(1), "{said}");
}

#[test]
fn the_statuses_are_those_that_help_tells() {
    let output = run(&["--help"]);
    let help = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let told = help.split("Exit status:").nth(1).expect("help tells the statuses").split_whitespace().collect::<Vec<_>>().join(" ");
    for status in ["0 done", "1 other", "2 usage", "4 an address", "5 what durability"] {
        assert!(told.contains(status), "{told}");
    }
}

#[test]
fn a_check_says_what_would_be_served_and_leaves_nothing_behind() {
    let folder = Folder::new();
    let (certificates, data) = (folder.0.join("tls"), folder.0.join("data"));
    let arguments = [
        &["--listen", "mqtts://localhost:0", "--check"][..],
        &["--tls-development", certificates.to_str().unwrap(), "--data-dir", data.to_str().unwrap()],
    ]
    .concat();
    let output = run(&arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("listener mqtts://localhost:0") && said.contains("a development certificate in"), "{said}");
    assert!(!folder.0.exists(), "--check has made {:?}", std::fs::read_dir(&folder.0).map(Iterator::collect::<Vec<_>>));
}
