//! When a client that repeats what was refused is kept out.

use super::{Group, narrow, row};
use crate::config::kind::Kind::{Number, Seconds};
use crate::config::option::DefaultValue::Text;

pub(super) static GROUP: Group = Group {
    heading: "Quarantine",
    options: &[
        row(
            "quarantine_refusals",
            Number { min: 0, max: 1000, set: |d, n| d.config.quarantine.refusals = narrow(n) },
            Text("3"),
            "How often a client must be refused the same thing within the window; then a plain client is kept out for a time, and of an extended one the same publish is not looked at; 0: never.",
        )
        .why("Once is a mistake and twice a retry; the third time a program does not read the answer."),
        row(
            "quarantine_window_s",
            Seconds { min: 1, max: 86_400, forever: false, set: |d, s| d.config.quarantine.window_s = s },
            Text("1m"),
            "The window in which refusals are counted.",
        ),
        row(
            "quarantine_first_s",
            Seconds { min: 1, max: 86_400, forever: false, set: |d, s| d.config.quarantine.first_s = s },
            Text("10s"),
            "How long a client is kept out the first time; each further time is twice as long.",
        ),
        row(
            "quarantine_max_s",
            Seconds { min: 1, max: 604_800, forever: false, set: |d, s| d.config.quarantine.max_s = s },
            Text("1h"),
            "The longest time that a client is kept out.",
        ),
    ],
};
