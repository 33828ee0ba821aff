//! Connections that come and go: CONNECT, CONNACK, DISCONNECT, some at a time.

use super::Site;
use crate::bench::door::Opening;
use crate::bench::outcome::{Meter, Outcome};
use crate::bench::plan::Plan;
use crate::bench::tally::Count;
use crate::bench::tls::Resume;
use crate::bench::{BenchError, door};
use std::time::Instant;

/// Connections that are opened before the first of them is waited for.
const AT_ONCE: usize = 8;

pub(super) fn run(
    plan: &Plan,
    connections: usize,
    resume: bool,
    site: &Site<'_>,
    watch: &mut dyn FnMut(u64),
) -> Result<Outcome, BenchError> {
    if resume && !site.endpoint.is_tls() {
        return Err(BenchError::Usage("only over TLS a connection is resumed: give a URL with mqtts://, or --scheme mqtts".to_owned()));
    }
    let resume = if resume { Resume::Always } else { Resume::Never };
    let endpoint = &site.endpoint.resuming(resume);
    let prefix = format!("bench-{:08x}", crate::random::number() as u32);
    let open = |at: usize| Opening::begin(endpoint, plan.dialect, &format!("{prefix}-{at}"), true);
    if resume == Resume::Always {
        // The first handshake is always a full one; what it leaves behind is what the others resume.
        door::open(endpoint, plan.dialect, &prefix, true)?.leave()?;
    }
    let (start, meter) = (Instant::now(), Meter::start(site.pid));
    let (mut done, mut resumed) = (0, 0);
    while done < connections && start.elapsed() < plan.time {
        let batch = AT_ONCE.min(connections - done);
        let openings = (done..done + batch).map(open).collect::<Result<Vec<_>, _>>()?;
        for opening in openings {
            let door = opening.finish()?;
            resumed += usize::from(door.is_resumed());
            door.leave()?;
        }
        done += batch;
        watch(done as u64);
    }
    let count = Count { delivered: done as u64, ..Count::default() };
    let mut outcome =
        Outcome { count, sent: done as u64, seconds: start.elapsed().as_secs_f64(), cost: meter.stop(), ..Outcome::default() };
    if endpoint.is_tls() {
        outcome.facts.insert("resumed_share", resumed as f64 / done.max(1) as f64);
    }
    Ok(outcome)
}
