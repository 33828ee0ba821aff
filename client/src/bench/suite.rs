//! The named set of loads: what a broker is good at, and what it is not.

use super::plan::{Kind, Plan};
use std::time::Duration;

/// All loads of the suite; `quick`: smaller, for a first look; `time`: how long those last that no count bounds.
pub fn suite(quick: bool, time: Option<Duration>) -> Vec<Plan> {
    let few = |full: usize, less: usize| if quick { less } else { full };
    let time = time.unwrap_or(Duration::from_secs(if quick { 1 } else { 4 }));
    let base = Plan { time, ..Plan::default() };
    let plan = |name: &str, kind: Kind, qos: u8| Plan { name: name.to_owned(), kind, qos, ..base.clone() };
    let whole = |plan: Plan| Plan { time: Duration::from_secs(120), ..plan };
    // Each message travels alone: a window of one, over so many that the server is never idle.
    let alone = |plan: Plan| Plan { window: 1, ..plan };
    // One read of the server brings about ten messages for each of a hundred subscribers.
    let fan = |plan: Plan| Plan { window: 10, ..plan };
    let at = |rate: f64, plan: Plan| Plan { rate: Some(rate), window: 10_000, ..plan };
    vec![
        plan("qos0", Kind::Pairs(10), 0),
        Plan { payload_len: 1024, ..plan("qos0-1k", Kind::Pairs(10), 0) },
        alone(plan("qos0-w1", Kind::Pairs(100), 0)),
        plan("qos1", Kind::Pairs(10), 1),
        alone(plan("qos1-w1", Kind::Pairs(100), 1)),
        plan("qos2", Kind::Pairs(10), 2),
        fan(plan("fanout", Kind::FanOut(100), 0)),
        fan(plan("fanout-q1", Kind::FanOut(100), 1)),
        Plan { window: 20, ..plan("fanin", Kind::FanIn(50), 0) },
        plan("subs", Kind::Subs { filters: few(200_000, 20_000), connections: 20 }, 0),
        whole(plan("retained", Kind::Retained(few(100_000, 10_000)), 0)),
        whole(plan("durable", Kind::Durable { messages: few(50_000, 10_000), publishers: 1 }, 1)),
        whole(plan("storm", Kind::Storm { connections: few(20_000, 2_000), resume: false }, 0)),
        plan("idle", Kind::Idle(few(15_000, 1_000)), 0),
        at(20_000.0, plan("latency0", Kind::Pairs(10), 0)),
        at(10_000.0, plan("latency1", Kind::Pairs(10), 1)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_of_the_suite_makes_sense() {
        for plan in suite(true, None).into_iter().chain(suite(false, None)) {
            plan.check().unwrap_or_else(|error| panic!("{}: {error}", plan.name));
        }
    }
}
