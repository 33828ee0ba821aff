//! One trial as an ordinary test.

// A helper's panic is the test's: clippy knows it only inside test functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use candor_compat::run::{Verdict, trials};

/// Runs one case on one pair. Without a peer the test says so and passes, but on a machine that is for testing (`CI=true`)
/// it fails.
#[allow(clippy::panic, reason = "this is how a test fails")]
pub(crate) fn run(broker: &str, client: &str, case: &str) {
    let all = trials().unwrap_or_else(|stop| panic!("{stop}"));
    let chosen = |trial: &&candor_compat::run::Trial| trial.broker == broker && trial.client == client && trial.subject.name() == case;
    let Some(trial) = all.iter().find(chosen) else { panic!("there is no {case} of {client} on {broker}") };
    match trial.run().verdict {
        Verdict::Passed => {}
        Verdict::KnownGap { reason } => println!("known gap of {client} on {broker}: {reason}"),
        Verdict::Unsupported(why) => println!("unsupported: {why}"),
        Verdict::Missing(what) => {
            assert!(std::env::var("CI").is_err(), "{what}");
            println!("skipped: {what}");
        }
        Verdict::ClosedGap { reason } => panic!("this passes now; take it out of the gaps in peers.toml ({reason})"),
        Verdict::Failed(why) => panic!("{client} on {broker}: {why}"),
    }
}
