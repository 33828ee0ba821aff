//! The log: lines for an operator, on standard error.
//!
//! A peer can provoke lines, so each kind of line (each place in the code that writes one) has a rate: what goes beyond it is not
//! written but counted, and the count is told. Levels below `info` have none: who switches them on wants to see everything.

use crate::config::{Log, LogFormat};
use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// How many lines of one kind may come at once.
const BURST: u32 = 50;
/// How long it takes until one more may come.
const REFILL: Duration = Duration::from_secs(1);
/// How often at most it is told how many were left out.
const TELL: Duration = Duration::from_secs(10);

/// What of the log has to be told from time to time.
#[derive(Debug, Clone, Default)]
pub struct Rates(Arc<Mutex<Kinds>>);

#[derive(Debug, Default)]
struct Kinds {
    kinds: HashMap<Identifier, Kind>,
    told: Option<Instant>,
}

/// The lines that one place in the code writes.
#[derive(Debug)]
struct Kind {
    /// Where they come from, and what they say.
    name: String,
    left: u32,
    refilled: Instant,
    suppressed: u64,
}

impl Kind {
    /// Whether one more line may be written now.
    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.refilled).as_millis() / REFILL.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.refilled += REFILL.saturating_mul(earned);
        self.left = self.left.saturating_add(earned).min(BURST);
        let Some(left) = self.left.checked_sub(1) else {
            self.suppressed += 1;
            return false;
        };
        self.left = left;
        true
    }
}

impl Rates {
    /// Tells how many lines of each kind were left out since it was last told; at most every ten seconds, but at the end always.
    pub fn tell(&self, is_end: bool) {
        let now = Instant::now();
        let suppressed: Vec<(String, u64)> = {
            let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !is_end && kinds.told.is_some_and(|told| now.saturating_duration_since(told) < TELL) {
                return;
            }
            kinds.told = Some(now);
            let counts = kinds.kinds.values_mut().filter(|kind| kind.suppressed > 0);
            counts.map(|kind| (kind.name.clone(), std::mem::take(&mut kind.suppressed))).collect()
        };
        for (kind, suppressed) in suppressed {
            tracing::warn!(target: TOLD, suppressed, "{suppressed} more lines like `{kind}` were suppressed");
        }
    }

    fn may_pass(&self, event: &Event<'_>, now: Instant) -> bool {
        let about = event.metadata();
        if *about.level() > Level::INFO || about.target() == TOLD {
            return true;
        }
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Kind { name: name_of(event), left: BURST, refilled: now, suppressed: 0 };
        kinds.kinds.entry(about.callsite()).or_insert_with(fresh).take(now)
    }
}

/// The target of the lines that tell of others.
const TOLD: &str = "candor_broker::log";

/// The first words of a line: its own text, without what it is about.
fn name_of(event: &Event<'_>) -> String {
    #[derive(Default)]
    struct Message(String);
    impl tracing::field::Visit for Message {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0 = candor_protocol::shown::Shown::cut(&format!("{value:?}"), 60).to_string();
            }
        }
    }
    let mut message = Message::default();
    event.record(&mut message);
    message.0
}

/// The layer that leaves lines out.
#[derive(Debug)]
struct Limiter(Rates);

impl<S: Subscriber> Layer<S> for Limiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.may_pass(event, Instant::now())
    }
}

/// Switches the log on.
///
/// # Errors
/// The filter is none, or a log is on already; what is wrong is in the text.
pub fn start(log: &Log) -> Result<Rates, String> {
    let rates = Rates::default();
    let subscriber = subscriber(log, &rates, io::stderr, io::stderr().is_terminal())?;
    tracing::dispatcher::set_global_default(subscriber).map_err(|error| error.to_string())?;
    Ok(rates)
}

fn subscriber<W>(log: &Log, rates: &Rates, writer: W, is_terminal: bool) -> Result<tracing::Dispatch, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wrong = |error: &dyn Display| format!("log `{}`: {error}", log.filter);
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| wrong(&error))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(is_terminal);
    let below = tracing_subscriber::registry().with(Limiter(rates.clone())).with(filter);
    Ok(match log.format {
        LogFormat::Text => below.with(lines).into(),
        LogFormat::Json => below.with(lines.json()).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(filter: &str, act: impl FnOnce(&Rates)) -> String {
        let (paper, rates) = (Paper::default(), Rates::default());
        let log = Log { filter: filter.to_owned(), ..Log::default() };
        let writer = paper.clone();
        let subscriber = subscriber(&log, &rates, move || writer.clone(), false).unwrap();
        tracing::dispatcher::with_default(&subscriber, || act(&rates));
        let bytes = paper.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_flood_of_one_kind_is_cut_told_and_hides_no_other() {
        let text = written("info", |rates| {
            for n in 0..1000 {
                tracing::info!(n, "refused");
            }
            tracing::warn!("at a limit");
            rates.tell(false);
        });
        assert_eq!(text.matches(" refused ").count() as u32, BURST, "{text}");
        assert!(text.contains("at a limit"), "{text}");
        assert!(text.contains(&format!("{} more lines like `refused` were suppressed", 1000 - BURST)), "{text}");
    }

    #[test]
    fn what_was_left_out_is_told_once_and_at_the_end_at_once() {
        let text = written("info", |rates| {
            let flood = || (0..BURST + 7).for_each(|n| tracing::info!(n, "refused"));
            rates.tell(false);
            flood();
            rates.tell(false);
            rates.tell(true);
            rates.tell(true);
        });
        assert_eq!(text.matches("were suppressed").count(), 1, "{text}");
        assert!(text.contains("7 more lines"), "{text}");
    }

    #[test]
    fn who_asks_for_everything_gets_everything() {
        let text = written("debug", |_| (0..1000).for_each(|n| tracing::debug!(n, "detail")));
        assert_eq!(text.matches(" detail ").count(), 1000);
    }

    #[test]
    fn a_kind_earns_a_line_a_second() {
        let start = Instant::now();
        let mut kind = Kind { name: String::new(), left: BURST, refilled: start, suppressed: 0 };
        let passed = |kind: &mut Kind, at: Duration| (0..200).filter(|_| kind.take(start + at)).count();
        assert_eq!(passed(&mut kind, Duration::ZERO), BURST as usize);
        assert_eq!(passed(&mut kind, Duration::from_millis(999)), 0);
        assert_eq!(passed(&mut kind, Duration::from_millis(2500)), 2);
        assert_eq!(passed(&mut kind, Duration::from_secs(1000)), BURST as usize);
    }
}
