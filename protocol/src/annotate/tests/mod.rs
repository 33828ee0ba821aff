//! Whole packets and broken ones, with the reader of a connection as the witness.

mod agreement;
mod faults;
mod packets;
mod samples;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
