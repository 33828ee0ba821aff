//! Runs cases: one trial is one case on one pair of peers, and its verdict is the outcome held against the known gaps.

use crate::case::client_statements::{CLIENT_STATEMENTS, ClientStatement, Duel};
use crate::case::mixed::MIXED;
use crate::case::ours::{OURS, OurCase};
use crate::case::statements::{STATEMENTS, Statement};
use crate::case::{CASES, Case, Stage, Target};
use crate::client;
use crate::outcome::{Checked, Outcome, Stop};
use crate::peer::{Broker, Gap, Peers, Unavailable};
use crate::wire::with_patience;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The name of the client that is a raw socket: the tests of a broker byte for byte.
pub const WIRE: &str = "wire";

/// The name of the broker that is a script: the tests of a client byte for byte.
pub const SCRIPT: &str = "script";

/// The name of our own broker.
pub const OWN: &str = "candor";

/// How long is waited for what is known not to come.
const GAP_PATIENCE: Duration = Duration::from_secs(2);

/// How long is waited for what comes on some runs only.
const SOMETIMES_PATIENCE: Duration = Duration::from_secs(5);

/// How often a case is run that a known fault of its broker hits by chance, which is rare: more often in a row it is something else.
const HITS_MAX: usize = 3;

/// One case on one pair.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    pub client: &'static str,
    pub broker: &'static str,
    pub subject: Subject,
}

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub enum Subject {
    /// A client with a broker.
    Pair(&'static Case),
    /// A broker before a raw socket.
    Broker(&'static Statement),
    /// A client before a script.
    Client(&'static ClientStatement),
    /// What our client alone promises, with a broker.
    Ours(&'static OurCase),
}

impl Subject {
    pub fn name(&self) -> &'static str {
        match self {
            Subject::Pair(case) => case.name,
            Subject::Broker(statement) => statement.name,
            Subject::Client(statement) => statement.name,
            Subject::Ours(case) => case.name,
        }
    }
}

/// What became of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    /// It failed, as `peers.toml` says it does.
    KnownGap {
        reason: String,
    },
    /// It passed, although `peers.toml` says that it fails.
    ClosedGap {
        reason: String,
    },
    Unsupported(String),
    /// A peer is not installed.
    Missing(String),
}

impl Verdict {
    /// The word in reports.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::KnownGap { .. } => "known gap",
            Verdict::ClosedGap { .. } => "closed gap",
            Verdict::Unsupported(_) => "unsupported",
            Verdict::Missing(_) => "missing",
        }
    }

    /// What there is to say beside the word.
    pub fn why(&self) -> &str {
        match self {
            Verdict::Passed => "",
            Verdict::Failed(why) | Verdict::Unsupported(why) | Verdict::Missing(why) => why,
            Verdict::KnownGap { reason } | Verdict::ClosedGap { reason } => reason,
        }
    }

    /// Whether something is to be done about it.
    pub fn is_bad(&self) -> bool {
        matches!(self, Verdict::Failed(_) | Verdict::ClosedGap { .. })
    }
}

/// A trial with its verdict.
#[derive(Debug, Clone)]
pub struct Record {
    pub trial: Trial,
    pub verdict: Verdict,
    pub took_ms: u64,
}

/// Every trial there is: each client with each broker, and each alone before a script; other people's clients beside extended
/// ones on our broker; what our client alone promises.
///
/// # Errors
/// `peers.toml` is not as it should be.
pub fn trials() -> Checked<Vec<Trial>> {
    let peers = Peers::load()?;
    let mut trials = vec![];
    for peer in &peers.broker {
        let broker = peer.name.as_str();
        for client in peers.client.iter().filter(|client| client.goes_with(broker)) {
            let mixed = if broker == OWN && !is_own(&client.name) { MIXED } else { &[] };
            let cases = CASES.iter().chain(mixed).map(|case| Trial { client: &client.name, broker, subject: Subject::Pair(case) });
            trials.extend(cases);
        }
        trials.extend(STATEMENTS.iter().map(|statement| Trial { client: WIRE, broker, subject: Subject::Broker(statement) }));
        let ours = OURS.iter().filter(|case| case.against.holds(broker));
        trials.extend(ours.map(|case| Trial { client: case.about, broker, subject: Subject::Ours(case) }));
    }
    for client in peers.client.iter().filter(|client| client.goes_with(SCRIPT)) {
        let client = client.name.as_str();
        trials.extend(CLIENT_STATEMENTS.iter().map(|statement| Trial { client, broker: SCRIPT, subject: Subject::Client(statement) }));
    }
    Ok(trials)
}

/// Whether this is our own client, with whichever policy.
pub fn is_own(client: &str) -> bool {
    client.split('-').next() == Some(OWN)
}

/// The names of all cases.
pub fn case_names() -> impl Iterator<Item = &'static str> {
    let (pairs, brokers) = (CASES.iter().chain(MIXED).map(|case| case.name), STATEMENTS.iter().map(|statement| statement.name));
    pairs.chain(brokers).chain(CLIENT_STATEMENTS.iter().map(|statement| statement.name)).chain(OURS.iter().map(|case| case.name))
}

impl Trial {
    /// Runs it.
    pub fn run(&self) -> Record {
        let since = Instant::now();
        let gap = self.gap();
        let attempt = || self.attempt();
        let outcome = match gap {
            Some(gap) => with_patience(if gap.sometimes { SOMETIMES_PATIENCE } else { GAP_PATIENCE }, attempt),
            None => attempt(),
        };
        let verdict = match outcome {
            Ok(outcome) => held_against(outcome, gap),
            Err(Unavailable::Missing(what)) => Verdict::Missing(what),
            Err(Unavailable::Broken(stop)) => Verdict::Failed(stop.to_string()),
        };
        Record { trial: *self, verdict, took_ms: since.elapsed().as_millis() as u64 }
    }

    fn gap(&self) -> Option<&'static Gap> {
        let name = self.subject.name();
        let of_broker = Peers::broker(self.broker).ok().and_then(|peer| peer.gap(name, self.client));
        of_broker.or_else(|| Peers::client(self.client).ok().and_then(|peer| peer.gap(name, self.broker)))
    }

    fn attempt(&self) -> Result<Outcome, Unavailable> {
        match self.subject {
            Subject::Client(statement) => {
                drop(client::open(self.client)?);
                Ok(Duel::new(Peers::client(self.client)?).and_then(|duel| (statement.run)(&duel)).into())
            }
            Subject::Broker(statement) => on_broker(self.broker, |target| (statement.run)(&target)),
            Subject::Ours(case) => on_broker(self.broker, |target| (case.run)(&target)),
            Subject::Pair(case) => {
                drop(client::open(self.client)?);
                let client = Peers::client(self.client)?;
                on_broker(self.broker, |target| (case.run)(&Stage { target, client }))
            }
        }
    }
}

fn on_broker(name: &str, case: impl Fn(Target) -> Checked) -> Result<Outcome, Unavailable> {
    let once = || {
        let target = Target::new(Broker::for_case(name)?);
        Ok::<_, Unavailable>(case(target.clone()).map_err(|stop| target.with_log(stop)))
    };
    for _ in 1..HITS_MAX {
        match once()? {
            Err(Stop::Hit(why)) => eprintln!("run again: {why}"),
            ended => return Ok(ended.into()),
        }
    }
    Ok(once()?.into())
}

fn held_against(outcome: Outcome, gap: Option<&Gap>) -> Verdict {
    match (outcome, gap) {
        (Outcome::Passed, Some(gap)) if !gap.sometimes => Verdict::ClosedGap { reason: gap.reason.clone() },
        (Outcome::Passed, _) => Verdict::Passed,
        (Outcome::Failed(_), Some(gap)) => Verdict::KnownGap { reason: gap.reason.clone() },
        (Outcome::Failed(why), None) => Verdict::Failed(why),
        (Outcome::Unsupported(why), _) => Verdict::Unsupported(why),
    }
}

/// Runs trials on so many threads, and hears of each as it ends. The order of the records is that of the trials.
pub fn run_all(trials: &[Trial], threads: usize, heard: impl Fn(&Record) + Sync) -> Vec<Record> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(trial) = trials.get(at) else { break };
                    let record = trial.run();
                    heard(&record);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, record));
                }
            });
        }
    });
    let mut records = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    records.sort_by_key(|(at, _)| *at);
    records.into_iter().map(|(_, record)| record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::ours::{Against, COMMAND, NEGOTIATION};

    fn gap(sometimes: bool) -> Gap {
        Gap { reason: "known".into(), cases: vec![], with: vec![], sometimes }
    }

    #[test]
    fn a_known_gap_is_no_failure_and_a_closed_one_is() {
        let failed = || Outcome::Failed("why".into());
        assert_eq!(held_against(failed(), None), Verdict::Failed("why".into()));
        assert_eq!(held_against(failed(), Some(&gap(false))), Verdict::KnownGap { reason: "known".into() });
        assert!(held_against(Outcome::Passed, Some(&gap(false))).is_bad());
        assert_eq!(held_against(Outcome::Passed, Some(&gap(true))), Verdict::Passed);
        assert_eq!(held_against(Outcome::Unsupported("no".into()), Some(&gap(false))), Verdict::Unsupported("no".into()));
    }

    #[test]
    fn every_pair_and_every_statement_is_a_trial() {
        let peers = Peers::load().unwrap();
        let trials = trials().unwrap();
        let count = |broker: &str, client: &str| trials.iter().filter(|trial| trial.broker == broker && trial.client == client).count();
        for broker in &peers.broker {
            let is_old = broker.name != OWN;
            assert_eq!(count(&broker.name, WIRE), STATEMENTS.len());
            assert_eq!(count(&broker.name, "paho"), CASES.len() + if is_old { 0 } else { MIXED.len() });
            assert_eq!(count(&broker.name, "candor"), CASES.len());
            assert_eq!(count(&broker.name, "candor-require"), if is_old { 0 } else { CASES.len() });
            let ours: usize = [NEGOTIATION, COMMAND].iter().map(|about| count(&broker.name, about)).sum();
            assert_eq!(ours, OURS.iter().filter(|case| case.against == Against::Any || (case.against == Against::Old) == is_old).count());
        }
        assert_eq!(count(SCRIPT, "candor-plain"), CLIENT_STATEMENTS.len());
        assert_eq!(count(SCRIPT, "candor") + count(SCRIPT, "candor-require"), 0, "a script answers no offer and is no extended server");
    }
}
