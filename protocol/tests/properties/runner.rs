//! Runs a property over generated values, from a seed that is printed when it fails.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::hash::{BuildHasher, RandomState};

/// Runs `property`, which fails by panicking, over `cases` values.
pub(crate) fn for_all<S: Strategy>(cases: u32, strategy: S, property: impl Fn(S::Value)) {
    let seed = seed();
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed.to_le_bytes().repeat(4));
    let config = Config { cases, failure_persistence: None, max_global_rejects: 100 * cases, max_shrink_iters: 2000, ..Config::default() };
    let result = TestRunner::new_with_rng(config, rng).run(&strategy, |value| {
        property(value);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("repeat with CANDOR_SEED={seed}\n{failure}");
    }
}

fn seed() -> u64 {
    match std::env::var("CANDOR_SEED") {
        Ok(seed) => seed.parse().expect("CANDOR_SEED is a whole number below 2^64"),
        // The keys of a new hasher are random.
        Err(_) => RandomState::new().hash_one(()),
    }
}
