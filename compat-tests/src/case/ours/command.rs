//! `candor` on the command line, with every broker.

use crate::case::Target;
use crate::ensure;
use crate::outcome::{Checked, Stop, Within};
use crate::peer::Unavailable;
use crate::peer::recipe::build;
use crate::run::OWN;
use crate::wire::patience;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const DONE: i32 = 0;
const NOT_AVAILABLE: i32 = 5;

/// What came of a run.
#[derive(Debug)]
struct Ran {
    exit: i32,
    out: String,
    error: String,
}

/// Our own, built by cargo so that it is never an old one.
fn candor() -> Checked<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, Unavailable>> = OnceLock::new();
    BUILT.get_or_init(|| build("candor-client", "candor")).clone().map_err(|unavailable| match unavailable {
        Unavailable::Missing(what) => Stop::failed(what),
        Unavailable::Broken(stop) => stop,
    })
}

/// Runs `candor COMMAND -L URL ...` to its end.
fn run(on: &Target, command: &str, arguments: &[&str]) -> Checked<Ran> {
    let url = format!("mqtt://{}", on.broker.address()?);
    let output = Command::new(candor()?).args([command, "-L", &url]).args(arguments).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { exit: output.status.code().unwrap_or(-1), out: text(&output.stdout), error: text(&output.stderr) })
}

/// Runs it, and sees it done.
fn done(on: &Target, command: &str, arguments: &[&str]) -> Checked<String> {
    let ran = run(on, command, arguments)?;
    ensure!(ran.exit == DONE, "candor {command} {arguments:?}: {ran:?}");
    Ok(ran.out)
}

fn object(line: &str) -> Checked<Value> {
    serde_json::from_str(line).map_err(|error| Stop::failed(format!("{error}: {line}")))
}

pub(super) fn pub_and_sub_carry_a_message_at_every_qos(on: &Target) -> Checked {
    let give_up = patience().as_secs().max(1).to_string();
    for qos in ["0", "1", "2"] {
        let (topic, payload) = (on.topic(&format!("café/{qos}")), format!("at {qos} ✓"));
        done(on, "pub", &["-t", &topic, "-m", &payload, "-q", qos, "-r", "-W", &give_up])?;
        let line = done(on, "sub", &["-t", &topic, "-q", "2", "-C", "1", "--json", "-W", &give_up]).within(&topic)?;
        let seen = object(&line)?;
        ensure!(seen["topic"] == json!(topic) && seen["payload"] == json!(payload) && seen["retain"] == json!(true), "got {line}");
    }
    Ok(())
}

pub(super) fn sub_drains_the_queue_of_its_stored_session(on: &Target) -> Checked {
    let (mut sleeper, _) = on.session("sleeper")?;
    sleeper.subscribed(&[(on.topic("q"), 1)])?;
    sleeper.disconnect()?;
    let give_up = patience().as_secs().max(1).to_string();
    for payload in ["one", "two", "three"] {
        done(on, "pub", &["-t", &on.topic("q"), "-m", payload, "-q", "1", "-W", &give_up])?;
    }
    let (id, topic) = (on.id("sleeper"), on.topic("q"));
    let out = done(on, "sub", &["-c", "-i", &id, "-t", &topic, "-q", "1", "-C", "3", "-W", &give_up])?;
    ensure!(out == "one\ntwo\nthree\n", "printed is {out:?}");
    Ok(())
}

pub(super) fn probe_says_which_dialects_there_are(on: &Target) -> Checked {
    let report = object(&done(on, "probe", &["--json"])?)?;
    let is_own = on.broker.peer.name == OWN;
    let expected = if is_own { "extended" } else { "3.1.1" };
    ensure!(report["dialect"] == expected && report["declares_profile"] == json!(is_own), "the report is {report}");
    Ok(())
}

pub(super) fn a_required_dialect_is_had_where_it_is(on: &Target) -> Checked {
    let arguments = ["-t", &on.topic("t"), "-m", "m", "-q", "1", "-V", "extended", "--require", "durability=memory", "--json"];
    let receipt = object(&done(on, "pub", &arguments)?)?;
    ensure!(receipt["dialect"] == "extended", "the receipt is {receipt}");
    Ok(())
}

pub(super) fn a_required_dialect_that_is_not_there_has_exit_state_5(on: &Target) -> Checked {
    let mut witness = on.subscriber("witness", &[("t", 1)])?;
    let ran = run(on, "pub", &["-t", &on.topic("t"), "-m", "m", "-q", "1", "-V", "extended"])?;
    ensure!(ran.exit == NOT_AVAILABLE && ran.error.contains("the extension is required"), "{ran:?}");
    let mut publisher = on.client("pub")?;
    on.fence(&mut publisher, &mut witness)
}
