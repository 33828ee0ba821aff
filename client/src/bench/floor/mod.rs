//! The floor: a relay that does the least that any broker must, so that a figure can be told from what the machine costs.
//!
//! One thread, one read of up to 256 KiB, frames passed on as the bytes they are by exact topic, one write a connection after
//! each batch of events. It answers CONNECT, SUBSCRIBE and PINGREQ and acknowledges QoS 1 itself. It has no sessions, no
//! wildcards, no QoS 2 and no checks: no broker for anything else than to be compared with.

mod relay;

pub use relay::{Fault, Floor};

use super::plan::{Beside, Kind, Plan};

/// The longest payload that the floor takes, with all that is before it.
const PAYLOAD_LEN_MAX: usize = 4 << 20;

/// Why the floor has no part in a load; `None` where it has.
pub(super) fn lacks(plan: &Plan) -> Option<String> {
    let missing = match plan.kind {
        Kind::Subs { .. } => "wildcards",
        Kind::Retained(_) => "retained messages",
        Kind::Durable { .. } | Kind::Offline { .. } | Kind::Restart { .. } => "sessions",
        _ if plan.qos > 1 => "QoS 2",
        _ if plan.beside != Beside::Nothing => "measures against those who disturb a load",
        _ if plan.dialect.is_extended() || plan.mixed => "extended dialect",
        _ if plan.payload_len > PAYLOAD_LEN_MAX => "room for a payload of more than 4 MiB",
        _ => return None,
    };
    Some(format!("the floor has no {missing}"))
}
