//! Our broker, killed while it works. `candor-compat crash --kills 200` is the long form.

use candor_compat::crash::run::report;
use candor_compat::crash::{Plan, run};

#[test]
fn a_broker_that_is_killed_loses_nothing_doubles_nothing_and_forgets_nobody() {
    let mut sum = candor_compat::crash::ledger::Counts::default();
    for (seed, threads) in [(1, 1), (2, 3)] {
        let plan = Plan { seed, kills: 8, threads, rolls_back: false };
        let ledger = run(&plan).unwrap();
        println!("{}", report(&plan, &ledger));
        assert!(ledger.counts.is_clean(), "{}", report(&plan, &ledger));
        sum.add(&ledger.counts);
    }
    assert!(sum.kills >= 10 && sum.kills_in_exchange > 0 && sum.wills > 0 && sum.acknowledged > 100, "{sum}");
}

/// The harness itself: a broker whose disk gives back an older state is found out.
#[test]
fn a_broker_that_comes_back_with_an_older_disk_is_caught() {
    let plan = Plan { seed: 3, kills: 4, threads: 1, rolls_back: true };
    let counts = run(&plan).unwrap().counts;
    assert!(counts.lost > 0 || counts.retained_wrong > 0 || counts.sessions_missing > 0, "{counts}");
}
