//! Random numbers from the system.

/// `N` random bytes. Should the system have none to give, what is mixed from the clock and an address serves: nonces and
/// jitter then are merely less random, and no secret is made here.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    if getrandom::fill(&mut out).is_err() {
        use std::hash::{BuildHasher, RandomState};
        let state = RandomState::new();
        for (at, byte) in out.iter_mut().enumerate() {
            *byte = state.hash_one((at, std::time::Instant::now())) as u8;
        }
    }
    out
}

/// A random number.
pub(crate) fn number() -> u64 {
    u64::from_le_bytes(bytes())
}
