//! What the operator reads: the log of the brokers of this process.

use std::io::Write;
use std::sync::{Mutex, OnceLock};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Debug, Clone, Copy)]
struct Lines;

static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        TEXT.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

/// Begins to listen, once.
pub fn listen() {
    static IS_ON: OnceLock<()> = OnceLock::new();
    IS_ON.get_or_init(|| tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO).with_writer(Lines).init());
}

/// The lines with all of these words, most of them `name=value`.
pub fn lines(words: &[&str]) -> Vec<String> {
    let text = String::from_utf8_lossy(&TEXT.lock().unwrap()).into_owned();
    text.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
}
