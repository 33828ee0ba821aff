//! Writes exchanges down while a test runs.
//!
//! A test that records compares what it saw with the file in the repository, and fails where they differ; with the
//! environment variable `CANDOR_RECORD` set to 1 it writes the file instead.

use crate::clause::is_name;
use crate::exchange::{Annotation, Exchange, Side, Step};
use candor_protocol::annotate;
use candor_protocol::dialect::Dialect;
use candor_protocol::sim;
use std::path::{Path, PathBuf};

/// Writes down an exchange while a test runs.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    exchange: Exchange,
}

impl Recorder {
    /// `folder` is `rfc/exchanges`; `test` is what [`test_path!`](crate::test_path) gives.
    pub fn new(folder: impl Into<PathBuf>, test: &str, title: &str) -> Self {
        Self { folder: folder.into(), exchange: Exchange { title: title.to_owned(), test: test.to_owned(), steps: Vec::new() } }
    }

    /// What a simulated pair said so far, with what every byte means, and with times where time has passed.
    pub fn of_pair(folder: impl Into<PathBuf>, test: &str, title: &str, said: &sim::Exchange) -> Self {
        let mut recorder = Self::new(folder, test, title);
        recorder.and_pair(said);
        recorder
    }

    /// What a simulated pair said on a further connection; the one before it has been [`closed`](Recorder::closed).
    pub fn and_pair(&mut self, said: &sim::Exchange) {
        let has_times = said.steps.iter().any(|step| step.at_ms > 0);
        for step in &said.steps {
            let sent = self.sent(step.from.into(), step.dialect, &step.bytes);
            sent.at_ms = has_times.then_some(step.at_ms);
            sent.annotations = meanings(step);
        }
    }

    /// A step that was written down, from 1 as the figure counts them.
    pub fn step_at(&mut self, number: usize) -> Option<&mut Step> {
        self.exchange.steps.get_mut(number.checked_sub(1)?)
    }

    /// One write of `from`.
    pub fn sent(&mut self, from: Side, dialect: Dialect, bytes: &[u8]) -> &mut Step {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.step(Step { hex, ..Step::new(from, dialect) })
    }

    /// `from` closes the connection.
    pub fn closed(&mut self, from: Side, dialect: Dialect) -> &mut Step {
        self.step(Step { closes: true, ..Step::new(from, dialect) })
    }

    fn step(&mut self, step: Step) -> &mut Step {
        let at = self.exchange.steps.len();
        self.exchange.steps.push(step);
        &mut self.exchange.steps[at]
    }

    /// Compares what was written down with the file `NAME.json`, or writes the file when `CANDOR_RECORD` is 1.
    ///
    /// # Errors
    /// The name or the exchange is not valid, the file is missing, or it differs: then it says from which line on.
    pub fn record(&self, name: &str) -> Result<(), String> {
        self.keep(name, std::env::var_os("CANDOR_RECORD").is_some_and(|value| value == "1"))
    }

    fn keep(&self, name: &str, overwrite: bool) -> Result<(), String> {
        if !is_name(name) {
            return Err(format!("`{name}` is not the name of an exchange: lower-case letters, digits and hyphens, a letter first"));
        }
        let seen = self.exchange.to_json().map_err(|error| format!("{name}: {error}"))?;
        let path = self.folder.join(format!("{name}.json"));
        if overwrite {
            return std::fs::write(&path, seen).map_err(|error| format!("{name}.json cannot be written: {error}"));
        }
        compare(&path, name, &seen)
    }
}

/// What the bytes of a step mean: one annotation a field, so that every byte stands in one.
fn meanings(step: &sim::Step) -> Vec<Annotation> {
    let packets = annotate::packets(step.dialect, step.from, &step.bytes);
    let leaves = packets.iter().flat_map(|packet| packet.leaves());
    leaves
        .filter(|leaf| !leaf.range.is_empty())
        .map(|leaf| Annotation {
            offset: leaf.range.start,
            len: leaf.range.len(),
            name: leaf.name.to_string(),
            // A draft is ASCII but for names.
            value: leaf.value.replace('…', "..."),
            source: String::new(),
        })
        .collect()
}

fn compare(path: &Path, name: &str, seen: &str) -> Result<(), String> {
    let hint = "run the test with CANDOR_RECORD=1 to write it, and look at the difference";
    let kept = std::fs::read_to_string(path).map_err(|error| format!("{name}.json cannot be read ({error}); {hint}"))?;
    if kept == seen {
        return Ok(());
    }
    let line = kept.lines().zip(seen.lines()).position(|(kept, seen)| kept != seen);
    let line = line.unwrap_or_else(|| kept.lines().count().min(seen.lines().count()));
    let of = |text: &str| text.lines().nth(line).unwrap_or("the end").trim().to_owned();
    Err(format!("{name}.json, line {}: the file has {}, the test saw {}; {hint}", line + 1, of(&kept), of(seen)))
}

/// The path of the test that it is called in, as cargo prints it.
#[macro_export]
macro_rules! test_path {
    () => {{
        fn here() {}
        fn name<T>(_: T) -> &'static str {
            ::std::any::type_name::<T>()
        }
        name(here).trim_end_matches("::here").trim_end_matches("::{{closure}}")
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_survives_its_file() {
        let mut recorder = Recorder::new("", "a::b", "A ping");
        recorder.sent(Side::Client, Dialect::Extended, &[0xC0, 0x00]).note("alive?").at_ms(7);
        recorder.closed(Side::Server, Dialect::Extended);
        let json = recorder.exchange.to_json().unwrap();
        assert!(json.contains("\"hex\": \"c000\"") && json.contains("\"dialect\": \"extended\""), "{json}");
        assert_eq!(Exchange::parse(&json).unwrap(), recorder.exchange);
    }

    #[test]
    fn a_recording_that_differs_says_where() {
        let folder = std::env::temp_dir().join(format!("candor-rfc-exchange-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut recorder = Recorder::new(&folder, "a::b", "A ping");
        recorder.sent(Side::Client, Dialect::Extended, &[0xC0, 0x00]);
        let missing = recorder.keep("ping", false).unwrap_err();
        assert!(missing.starts_with("ping.json cannot be read") && missing.contains("CANDOR_RECORD=1"), "{missing}");
        assert_eq!((recorder.keep("ping", true), recorder.keep("ping", false)), (Ok(()), Ok(())));
        recorder.sent(Side::Server, Dialect::Extended, &[0xD0, 0x00]);
        let differs = recorder.keep("ping", false).unwrap_err();
        assert!(differs.starts_with("ping.json, line 9: the file has }, the test saw },;"), "{differs}");
        assert!(recorder.keep("Ping", false).unwrap_err().starts_with("`Ping` is not the name of an exchange"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(recorder.keep("ping", true).unwrap_err().starts_with("ping.json cannot be written"));
    }

    #[test]
    fn a_test_knows_its_own_path() {
        assert_eq!(test_path!(), "candor_rfc::recorder::tests::a_test_knows_its_own_path");
        let in_a_closure = || test_path!();
        assert_eq!(in_a_closure(), test_path!());
    }
}
